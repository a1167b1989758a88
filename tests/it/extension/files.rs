//! Files that were granted, through a component's libc, the sandbox and the real daemon: what a guest sees, and what it does not.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use waga_tests::agent::Agent;
use waga_tests::client::Client;

use super::examples::{build, example};
use super::hostile::in_step;
use super::{agent, disabled, failure, settled, setup, told};
use crate::program;

const MINUTE: &str = "limits = { cpu = '60s', time = '60s' }";

/// `tests/components/files`, which does what it is told; built once. `None` where there is nothing to build it with.
fn files() -> Option<&'static [u8]> {
    static BUILT: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    BUILT.get_or_init(|| build("tests/components/files")).as_deref()
}

/// A folder to be granted, or to lie beside what is.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> String {
        self.0.path().canonicalize().unwrap().join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.at(name);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

/// An agent whose one extension has these files.
fn with(read: &[&str], write: &[&str]) -> Option<Agent> {
    let lines = format!("read = {}\nwrite = {}\n{MINUTE}", json!(read), json!(write));
    agent(&[("files", files()?, &lines)])
}

fn act(client: &mut Client, what: &str, path: &str, other: &str) -> Result<String, String> {
    let arguments = json!({"what": what, "path": path, "other": other});
    let reply = client.ask(&json!({"execute": "guest-test-file", "arguments": arguments})).unwrap();
    match (reply["return"].as_str(), reply["error"]["desc"].as_str()) {
        (Some(text), _) => Ok(text.to_owned()),
        (None, Some(desc)) => Err(desc.to_owned()),
        _ => panic!("{reply}"),
    }
}

fn read(client: &mut Client, path: &str) -> Result<String, String> {
    act(client, "read", path, "")
}

fn error<T>(text: &str) -> Result<T, String> {
    Err(text.to_owned())
}

#[test]
fn a_rust_guest_reads_a_granted_file_with_its_standard_library() {
    let Some(memory) = example("memory-usage") else { return };
    let lines = "read = ['/proc/meminfo']\nlimits = { time = '10s' }";
    let Some(granted) = agent(&[("memory-usage", &memory, lines)]) else { return };
    let mut client = granted.client();
    let usage = client.run("guest-get-memory-usage", json!({})).unwrap();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let total: u64 = total.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert_eq!(usage["total"], total * 1024);
    let available = usage["available"].as_u64().unwrap();
    assert!(available > 0 && available < total * 1024, "{usage}");
    let grants = told(&mut client, "memory-usage")["grants"].clone();
    let grants: Vec<_> = grants.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(grants.contains(&"read /proc/meminfo"), "{grants:?}");
    assert!(grants.iter().any(|grant| grant.starts_with("wasi:filesystem/types@0.2.")), "{grants:?}");

    let Some(denied) = agent(&[("memory-usage", &memory, "limits = { time = '10s' }")]) else { return };
    let desc = failure(&mut denied.client(), "guest-get-memory-usage", json!({}));
    assert!(desc.starts_with("cannot read /proc/meminfo: No such file or directory"), "{desc}");
    // Its own word, and no fault of the extension.
    assert_eq!(told(&mut denied.client(), "memory-usage")["failures"], 0);
}

#[test]
fn a_guest_sees_what_was_granted_and_the_way_there() {
    let place = Place::new();
    let (file, folder) = (place.file("a/file", "one"), place.at("b"));
    place.file("b/inner/x", "two");
    let secret = place.file("a/secret", "secret");
    symlink("inner/x", place.at("b/link")).unwrap();
    let Some(agent) = with(&["/proc/meminfo", &file, &folder], &[]) else { return };
    let mut client = agent.client();
    assert!(read(&mut client, "/proc/meminfo").unwrap().starts_with("MemTotal:"));
    assert_eq!(read(&mut client, &file), Ok("one".into()));
    assert_eq!(read(&mut client, &format!("{folder}/link")), Ok("two".into()));
    assert_eq!(read(&mut client, &format!("{folder}/./inner//x")), Ok("two".into()));
    let missing = error("No such file or directory");
    for path in
        [&*secret, "/proc/cpuinfo", "/proc/self/mem", "/etc/passwd", "/etc", &format!("{folder}/none")]
    {
        assert_eq!(read(&mut client, path), missing, "{path}");
        assert_eq!(act(&mut client, "stat", path, ""), missing, "{path}");
    }
    let sorted = |text: Result<String, String>| {
        let text = text.unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(act(&mut client, "list", "/", "")), ["folder proc", "folder tmp"]);
    assert_eq!(sorted(act(&mut client, "list", "/proc", "")), ["file meminfo"]);
    assert_eq!(sorted(act(&mut client, "list", &place.at("a"), "")), ["file file"]);
    assert_eq!(sorted(act(&mut client, "list", &folder, "")), ["folder inner", "link link"]);
    assert_eq!(act(&mut client, "list", &file, ""), error("Not a directory"));
    assert_eq!(act(&mut client, "stat", &file, ""), Ok("file 3 1".into()));
    assert!(act(&mut client, "stat", "/proc", "").unwrap().starts_with("folder "));
    assert!(act(&mut client, "lstat", &format!("{folder}/link"), "").unwrap().starts_with("link "));
    assert_eq!(act(&mut client, "readlink", &format!("{folder}/link"), ""), Ok("inner/x".into()));
    // A folder with more names than are read at once.
    (0..500).for_each(|number| drop(place.file(&format!("b/many/{number}"), "")));
    assert_eq!(act(&mut client, "list", &format!("{folder}/many"), "").unwrap().lines().count(), 500);
}

/// Whatever a guest tries, it is answered at once, and the next request is.
#[test]
fn nothing_leads_out_and_nothing_hangs() {
    let place = Place::new();
    let folder = place.at("in");
    place.file("in/x", "mine");
    place.file("out", "secret");
    for (target, name) in [
        ("../out", "relative"),
        (&*place.at("out"), "absolute"),
        ("/proc/self/mem", "memory"),
        ("..", "up"),
        ("/", "root"),
    ] {
        symlink(target, place.at(&format!("in/{name}"))).unwrap();
    }
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::unistd::mkfifo(Path::new(&place.at("in/fifo")), mode).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.at("in/socket")).unwrap();
    let device = nix::sys::stat::makedev(1, 5);
    let has_device =
        nix::sys::stat::mknod(Path::new(&place.at("in/zero")), nix::sys::stat::SFlag::S_IFCHR, mode, device);
    let Some(agent) = with(&[], &[&folder]) else { return };
    let mut client = agent.client();
    assert_eq!(read(&mut client, &format!("{folder}/x")), Ok("mine".into()));
    let mut hostile = vec![
        "../out",
        "x/../../out",
        "../../../../../../etc/passwd",
        "relative",
        "absolute",
        "memory",
        "up/out",
        "root/etc/passwd",
        "root/proc/self/mem",
        "fifo",
        "socket",
    ];
    if has_device.is_ok() {
        hostile.push("zero");
    }
    for name in hostile {
        let path = format!("{folder}/{name}");
        for what in ["read", "write", "append", "truncate", "list"] {
            let begun = Instant::now();
            let text = act(&mut client, what, &path, "x").expect_err(&path);
            assert!(
                [
                    "Operation not permitted",
                    "Not a directory",
                    "Symbolic link loop",
                    "Permission denied",
                    "Is a directory",
                    "Capabilities insufficient",
                    "No such file or directory"
                ]
                .contains(&&*text),
                "{what} {name}: {text}"
            );
            assert!(begun.elapsed() < Duration::from_secs(2), "{what} {name}: {:?}", begun.elapsed());
        }
    }
    assert_eq!(fs::read_to_string(place.at("out")).unwrap(), "secret");
    let told = told(&mut client, "files");
    assert_eq!(
        (&told["state"], &told["failures"], &told["last-error"]),
        (&json!("ready"), &json!(0), &Value::Null)
    );
    in_step(&agent);
}

#[test]
fn a_folder_that_is_swapped_stays_the_one_that_was_granted() {
    let place = Place::new();
    let (folder, single) = (place.at("in"), place.file("single", "old"));
    place.file("in/x", "mine");
    let Some(agent) = with(&[&single], &[&folder]) else { return };
    let mut client = agent.client();
    assert_eq!(read(&mut client, &format!("{folder}/x")), Ok("mine".into()));
    fs::rename(&folder, place.at("away")).unwrap();
    symlink("/etc", &folder).unwrap();
    assert_eq!(read(&mut client, &format!("{folder}/x")), Ok("mine".into()));
    assert_eq!(read(&mut client, &format!("{folder}/passwd")), error("No such file or directory"));
    let new = format!("waga-test-{}", std::process::id());
    assert_eq!(act(&mut client, "write", &format!("{folder}/{new}"), "x"), Ok(String::new()));
    assert!(Path::new(&place.at("away")).join(&new).exists() && !Path::new("/etc").join(&new).exists());
    // A single file is looked up each time, and a link in its place is none.
    place.file("new", "new");
    fs::rename(place.at("new"), &single).unwrap();
    assert_eq!(read(&mut client, &single), Ok("new".into()));
    fs::remove_file(&single).unwrap();
    symlink("/etc/passwd", &single).unwrap();
    assert_eq!(read(&mut client, &single), error("Symbolic link loop"));
}

#[test]
fn what_may_be_read_is_not_written() {
    let place = Place::new();
    let (folder, single) = (place.at("in"), place.file("single", "old"));
    let inside = place.file("in/x", "old");
    let out = place.at("out");
    fs::create_dir(&out).unwrap();
    let Some(agent) = with(&[&folder, &single], &[&out]) else { return };
    let mut client = agent.client();
    let denied = error("Permission denied");
    for path in [&*single, &inside, &format!("{folder}/new"), "/etc/new", "/new"] {
        for what in ["write", "create"] {
            assert_eq!(act(&mut client, what, path, "x"), denied, "{what} {path}");
        }
        assert_eq!(act(&mut client, "mkdir", &format!("{path}.d"), ""), denied, "{path}");
    }
    for path in [&*single, &inside] {
        for what in ["append", "truncate", "touch", "unlink"] {
            assert_eq!(act(&mut client, what, path, "x"), denied, "{what} {path}");
        }
        assert_eq!(act(&mut client, "rename", path, &format!("{out}/x")), denied, "{path}");
    }
    assert_eq!(act(&mut client, "write", &format!("{out}/x"), "mine"), Ok(String::new()));
    assert_eq!(act(&mut client, "rename", &format!("{out}/x"), &inside), denied);
    for what in ["link", "symlink"] {
        let text = act(&mut client, what, &format!("{out}/link"), &format!("{out}/x")).unwrap_err();
        assert_eq!(text, "Operation not permitted", "{what}");
    }
    assert_eq!(act(&mut client, "rmdir", &folder, ""), denied);
    for path in [&single, &inside] {
        assert_eq!(
            (fs::read_to_string(path).unwrap(), fs::metadata(path).unwrap().nlink()),
            ("old".into(), 1)
        );
    }
    assert_eq!((fs::read_dir(&folder).unwrap().count(), fs::read_dir(&out).unwrap().count()), (1, 1));
}

#[test]
fn what_may_be_written_is_made_changed_and_removed() {
    let place = Place::new();
    let (folder, single) = (place.at("out"), place.at("not-there-yet"));
    fs::create_dir(&folder).unwrap();
    let Some(agent) = with(&[], &[&folder, &single]) else { return };
    let mut client = agent.client();
    let done = Ok(String::new());
    let (file, sub) = (format!("{folder}/x"), format!("{folder}/sub"));
    assert_eq!(act(&mut client, "create", &file, "one"), done);
    assert_eq!(act(&mut client, "create", &file, "one"), error("File exists"));
    assert_eq!(act(&mut client, "append", &file, " two"), done);
    assert_eq!(read(&mut client, &file), Ok("one two".into()));
    assert_eq!(act(&mut client, "truncate", &file, ""), done);
    assert_eq!(act(&mut client, "touch", &file, ""), done);
    assert_eq!((fs::read_to_string(&file).unwrap(), fs::metadata(&file).unwrap().mtime()), ("o".into(), 0));
    assert_eq!(act(&mut client, "mkdir", &sub, ""), done);
    assert_eq!(act(&mut client, "rename", &file, &format!("{sub}/y")), done);
    assert_eq!(act(&mut client, "rmdir", &sub, ""), error("Directory not empty"));
    assert_eq!(act(&mut client, "unlink", &format!("{sub}/y"), ""), done);
    assert_eq!(act(&mut client, "rmdir", &sub, ""), done);
    assert_eq!(act(&mut client, "rmdir", &folder, ""), error("Permission denied"));
    assert_eq!(act(&mut client, "write", &single, "made"), done);
    assert_eq!(fs::read_to_string(&single).unwrap(), "made");
    // More than is taken at once.
    let long = "0123456789abcdef".repeat(20_000);
    assert_eq!(act(&mut client, "write", &file, &long), done);
    assert_eq!(fs::read_to_string(&file).unwrap(), long);
}

#[test]
fn large_files_are_read_in_pieces_and_few_are_open() {
    let place = Place::new();
    let folder = place.at("in");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
    fs::create_dir(&folder).unwrap();
    fs::write(place.at("in/large"), &bytes).unwrap();
    let Some(agent) = with(&[&folder], &[]) else { return };
    let mut client = agent.client();
    let path = format!("{folder}/large");
    for piece in [1_000, 65_536, 1_000_000] {
        let read = client.run("guest-test-sum", json!({"path": path, "piece": piece})).unwrap();
        assert_eq!(read, json!([bytes.len(), sum]), "{piece}");
    }
    let before = agent.descriptors();
    for _ in 0..3 {
        assert_eq!(act(&mut client, "hold", &path, ""), Ok("32, then Out of memory".into()));
    }
    assert_eq!(agent.descriptors(), before, "all are closed");
    // Each call of the agent counts.
    let Some(few) = self::agent(&[(
        "files",
        files().unwrap(),
        &format!("read = ['{folder}']\nlimits = {{ host-calls = 60, time = '10s' }}"),
    )]) else {
        return;
    };
    let desc = failure(&mut few.client(), "guest-test-sum", json!({"path": path, "piece": 1000}));
    assert_eq!(desc, "extension files: guest-test-sum called the agent too often (limits.host-calls = 60)");
}

#[test]
fn what_must_not_be_granted_is_refused_by_name() {
    let place = Place::new();
    let Some(files) = files() else { return };
    let folder = place.at("open/in");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(place.at("open"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    // The agent's own folder is made for each: `@`.
    let cases = [
        ("/proc", "is proc, the kernel's: grant other folders, or single files of it"),
        ("/proc/self/mem", "belongs to a process"),
        (&*folder, "is below a folder that others may write to; "),
        ("@/cache", "is the agent's own, its cache: no extension is granted that"),
        ("@/agent.toml", "is the agent's own, its configuration: no extension is granted that"),
        ("@", "holds what is the agent's own, "),
    ];
    for (path, reason) in cases {
        let Some(setup) = setup(&[("files", files, MINUTE)]) else { return };
        let path = path.replace('@', setup.dir().canonicalize().unwrap().to_str().unwrap());
        let config = setup.dir().join("agent.toml");
        let text = fs::read_to_string(&config).unwrap() + &format!("\nread = ['{path}', '/proc/meminfo']\n");
        fs::write(&config, text).unwrap();
        let expected = format!("read \"{path}\" {reason}");

        let checked = program().run(["check".as_ref(), "-c".as_ref(), config.as_os_str()]);
        let checked = String::from_utf8(checked.stdout).unwrap();
        assert!(checked.contains(&format!("): off: {expected}")), "{checked}");

        let agent = setup.start();
        agent.until("it is refused", |agent| told(&mut agent.client(), "files")["state"] == "refused");
        let mut client = agent.client();
        let told = told(&mut client, "files");
        assert!(told["reason"].as_str().unwrap().starts_with(&expected), "{told}");
        assert_eq!(told["grants"], json!([]));
        assert!(
            disabled(&mut client, "guest-test-file").starts_with(&format!("extension files: {expected}"))
        );
        // The log is written by a thread of its own.
        agent.until("it is in the log", |agent| agent.log().contains(&expected));
    }
}

/// What is to be granted may come later than the agent; a component that asks for nothing of it does as before.
#[test]
fn what_is_not_there_yet_is_found_when_it_comes() {
    let place = Place::new();
    let (folder, file) = (place.at("later/"), place.at("deep/er/file"));
    let Some(agent) = with(&[&file], &[&folder]) else { return };
    settled(&agent, "files");
    let mut client = agent.client();
    let inside = place.at("later/x");
    assert_eq!(read(&mut client, &file), error("No such file or directory"));
    assert_eq!(act(&mut client, "list", &place.at("later"), ""), error("No such file or directory"));
    place.file("deep/er/file", "came");
    fs::create_dir(&folder).unwrap();
    assert_eq!(read(&mut client, &file), Ok("came".into()));
    assert_eq!(act(&mut client, "write", &inside, "made"), Ok(String::new()));
    assert_eq!(fs::read_to_string(&inside).unwrap(), "made");
}
