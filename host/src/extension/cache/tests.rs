//! A cache that is as it should be, and one that somebody or something spoilt.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use super::super::compiled::Intake;
use super::*;

const ENGINE: &str = "wasmtime-1 stack=512KiB";

struct Place {
    dir: tempfile::TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("a/cache")).unwrap();
        Self { dir, cache }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.cache.path().join(name)
    }

    fn store(&self, artifact: &[u8]) -> Entry {
        self.cache.try_store(module(), Kind::Pulley, ENGINE, &compiled(artifact)).unwrap()
    }

    fn find(&self) -> Option<Entry> {
        self.cache.find(module(), Kind::Pulley, ENGINE)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cache.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn module() -> Digest {
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap()
}

fn compiled(artifact: &[u8]) -> Compiled {
    let description = r#"{"format":2,"commands":[],"imports":["waga:extension/log@1.0.0"],"memory":65536}"#;
    let mut intake = Intake::new(1 << 20).unwrap();
    writeln!(intake, "{{\"artifact\":{},\"description\":{}}}", artifact.len(), description.len()).unwrap();
    intake.write_all(artifact).unwrap();
    intake.write_all(description.as_bytes()).unwrap();
    intake.finish().unwrap()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn what_is_stored_is_found() {
    let place = Place::new();
    // Nothing is made before it is needed.
    assert!(place.find().is_none() && !place.cache.path().exists());
    let artifact = vec![9; 200_000];
    let entry = place.store(&artifact);
    assert_eq!(fs::metadata(place.cache.path()).unwrap().mode() & 0o7777, 0o700);
    let name = format!("{}-pulley", module());
    assert_eq!(place.names(), [format!("{name}.cwasm"), format!("{name}.json")]);
    for file in place.names() {
        assert_eq!(fs::metadata(place.file(&file)).unwrap().mode() & 0o7777, 0o600);
    }
    assert_eq!(place.find(), Some(entry.clone()));
    assert_eq!((entry.description.memory, entry.size), (65536, 200_000));
    let mut text = Vec::new();
    place.cache.artifact(&entry).unwrap().read_to_end(&mut text).unwrap();
    assert_eq!(text, artifact);
    // Another engine, another kind, another module: nothing.
    assert!(place.cache.find(module(), Kind::Pulley, "wasmtime-2").is_none());
    assert!(place.cache.find(module(), Kind::Native, ENGINE).is_none());
    let other = module().to_string().replace('b', "c").parse().unwrap();
    assert!(place.cache.find(other, Kind::Pulley, ENGINE).is_none());
}

#[test]
fn an_artifact_that_is_not_what_was_made_is_not_opened() {
    let place = Place::new();
    let entry = place.store(&[9; 1000]);
    let path = place.file(&format!("{}-pulley.cwasm", module()));
    let fault = |place: &Place| {
        let fault = place.cache.artifact(&entry).unwrap_err().to_string();
        fault.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&fault).to_owned()
    };
    let mut flipped = vec![9; 1000];
    flipped[500] ^= 1;
    fs::write(&path, flipped).unwrap();
    assert_eq!(fault(&place), "its digest is not the one that was noted when it was made");
    fs::write(&path, [9; 999]).unwrap();
    assert_eq!(fault(&place), "has 999 bytes instead of 1000");
    fs::write(&path, [9; 1000]).unwrap();
    assert!(place.cache.artifact(&entry).is_ok());
    mode(&path, 0o620);
    assert!(fault(&place).starts_with("others than its owner may write to it"));
    mode(&path, 0o600);
    if is_root() {
        chown(&path, Some(65534), None).unwrap();
        assert!(fault(&place).starts_with("belongs to user 65534"));
    }
    let moved = place.file("moved");
    fs::rename(&path, &moved).unwrap();
    assert_eq!(fault(&place), "there is no such file");
    symlink(&moved, &path).unwrap();
    assert_eq!(fault(&place), "is a link");
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(fault(&place), "is not a regular file");
    // Made again, all is well.
    let entry = place.store(&[9; 1000]);
    assert!(place.cache.artifact(&entry).is_ok());
}

#[test]
fn an_entry_that_is_not_understood_is_as_if_it_were_not_there() {
    let place = Place::new();
    place.store(b"x");
    let path = place.file(&format!("{}-pulley.json", module()));
    let right = fs::read_to_string(&path).unwrap();
    assert!(place.find().is_some());
    for end in [0, 1, right.len() / 2, right.len() - 1] {
        fs::write(&path, &right[..end]).unwrap();
        assert!(place.find().is_none(), "{end}");
    }
    for (what, with) in [
        ("\"format\":2", "\"format\":1"),
        ("\"engine\"", "\"motor\""),
        ("\"size\":1", "\"size\":-1"),
        ("\"sha256\":\"", "\"sha256\":\"0"),
        ("\"memory\"", "\"more\":1,\"memory\""),
        ("{", "\u{0}"),
    ] {
        let wrong = right.replace(what, with);
        assert_ne!(wrong, right);
        fs::write(&path, wrong).unwrap();
        assert!(place.find().is_none(), "{what}");
    }
    fs::write(&path, right.clone() + &" ".repeat(9 << 20)).unwrap();
    assert!(place.find().is_none());
    fs::write(&path, &right).unwrap();
    mode(&path, 0o606);
    assert!(place.find().is_none());
    mode(&path, 0o600);
    assert!(place.find().is_some());
}

#[test]
fn nothing_is_loaded_from_a_folder_of_others() {
    let place = Place::new();
    let entry = place.store(b"x");
    let path = place.cache.path();
    let fault = || Cache::open(path).map(|_| ()).unwrap_err().to_string();
    for bits in [0o720, 0o702, 0o1777] {
        mode(path, bits);
        assert!(fault().contains("others than its owner may write to it"), "{bits:o}");
        assert!(place.find().is_none() && place.cache.artifact(&entry).is_err());
        assert!(place.cache.try_store(module(), Kind::Native, ENGINE, &compiled(b"x")).is_err());
    }
    mode(path, 0o700);
    let above = place.dir.path().join("a");
    mode(&above, 0o777);
    assert!(fault().starts_with(&format!("{}: others", above.display())));
    mode(&above, 0o755);
    if is_root() {
        chown(path, Some(65534), None).unwrap();
        assert!(fault().contains("belongs to user 65534; it has to belong to root (chown)"));
        chown(path, Some(0), None).unwrap();
    }
    assert!(place.find().is_some());
    fs::remove_dir_all(path).unwrap();
    symlink("/nonexistent", path).unwrap();
    assert!(fault().ends_with("is a link that leads nowhere"));
    fs::remove_file(path).unwrap();
    fs::write(path, "").unwrap();
    assert!(fault().ends_with("is no folder"));
}

#[test]
fn a_module_is_known_as_long_as_nothing_about_it_changes() {
    let place = Place::new();
    let path = place.dir.path().join("m.wasm");
    fs::write(&path, "abc").unwrap();
    assert!(place.cache.known("x", &path).is_none());
    let note = || {
        let opened = Module::open(&path, 100).unwrap();
        let digest = opened.digest().unwrap();
        place.cache.note("x", &opened, digest);
        digest
    };
    assert_eq!(note(), module());
    assert_eq!(place.cache.known("x", &path).map(|(digest, _)| digest), Some(module()));
    assert!(place.cache.known("y", &path).is_none());
    // The same file by another path, or another with the same bytes.
    let link = place.dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(place.cache.known("x", &link).is_none());
    let copy = place.dir.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    assert!(place.cache.known("x", &path).is_none());
    note();
    // Written to, with its old time of change put back: the system's own time tells.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let before = Fingerprint::of(&path).unwrap();
    while Fingerprint::of(&path).unwrap() == before {
        fs::write(&path, "abd").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    }
    assert!(place.cache.known("x", &path).is_none());
    note();
    assert!(place.cache.known("x", &path).is_some());
    fs::remove_file(&path).unwrap();
    assert!(place.cache.known("x", &path).is_none());
}

#[test]
fn several_may_write_at_the_same_time() {
    let place = Place::new();
    let artifacts = [vec![1; 100_000], vec![2; 100_000]];
    std::thread::scope(|scope| {
        for artifact in &artifacts {
            scope.spawn(|| (0..20).for_each(|_| drop(place.store(artifact))));
        }
        scope.spawn(|| {
            for _ in 0..100 {
                // The entry of one with the artifact of the other is nothing; half of anything never is.
                if let Some(entry) = place.find()
                    && let Ok(mut file) = place.cache.artifact(&entry)
                {
                    let mut text = Vec::new();
                    file.read_to_end(&mut text).unwrap();
                    assert!(artifacts.contains(&text));
                }
            }
        });
    });
    let entry = place.store(b"last");
    assert_eq!(place.find(), Some(entry.clone()));
    assert!(place.cache.artifact(&entry).is_ok());
    assert_eq!(place.names().len(), 2);
}

#[test]
fn where_nothing_can_be_written_nothing_is_kept_and_all_else_works() {
    // No folder can be made in a file, by nobody.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let path = dir.path().join("file/cache");
    let cache = Cache { path, told: AtomicBool::new(false) };
    assert!(cache.store(module(), Kind::Pulley, ENGINE, &compiled(b"x")).is_none());
    // Root writes wherever permissions are concerned, but not to a file system that has no files.
    let cache = Cache::open(Path::new("/proc/sys/waga-cache")).unwrap();
    let error = cache.try_store(module(), Kind::Pulley, ENGINE, &compiled(b"x")).unwrap_err().to_string();
    assert!(error.starts_with("/proc/sys/waga-cache: "), "{error}");
    if !is_root() {
        let place = Place::new();
        let entry = place.store(b"x");
        mode(place.cache.path(), 0o500);
        assert!(place.cache.store(module(), Kind::Native, ENGINE, &compiled(b"x")).is_none());
        assert!(place.cache.artifact(&entry).is_ok());
    }
}

#[test]
fn what_cannot_be_written_to_its_end_is_removed() {
    let place = Place::new();
    let folder = place.cache.made().unwrap();
    let full = place.cache.write(&folder, "x", |new| {
        new.write_all(b"half")?;
        Err(Errno::NOSPC.into())
    });
    assert!(full.unwrap_err().to_string().ends_with("cache/x: No space left on device (os error 28)"));
    assert!(place.names().is_empty());
}

#[test]
fn what_was_left_behind_goes_when_it_is_old() {
    let place = Place::new();
    place.store(b"x");
    let [old, new] = ["1", "2"].map(|end| place.file(&format!("{UNFINISHED}{end}")));
    fs::write(&old, "").unwrap();
    fs::write(&new, "").unwrap();
    let long_ago = SystemTime::now() - LEFT_BEHIND * 2;
    File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    place.store(b"x");
    assert!(!old.exists() && new.exists());
}

#[test]
fn what_is_of_no_module_any_more_goes_after_a_while() {
    let place = Place::new();
    let age = |name: &str| {
        let long_ago = SystemTime::now() - UNUSED * 2;
        File::options().write(true).open(place.file(name)).unwrap().set_modified(long_ago).unwrap();
    };
    let source = place.dir.path().join("x.wasm");
    fs::write(&source, "abc").unwrap();
    let used = Module::open(&source, 1 << 20).unwrap();
    let digest = used.digest().unwrap();
    place.cache.try_store(digest, Kind::Native, ENGINE, &compiled(b"x")).unwrap();
    place.cache.note("x", &used, digest);
    let other: Digest = "00".repeat(32).parse().unwrap();
    place.cache.try_store(other, Kind::Native, ENGINE, &compiled(b"x")).unwrap();
    fs::write(place.file("notes.txt"), "an operator's").unwrap();
    place.names().iter().for_each(|name| age(name));
    let recent: Digest = "11".repeat(32).parse().unwrap();
    place.cache.try_store(recent, Kind::Native, ENGINE, &compiled(b"x")).unwrap();
    let mut left = vec!["notes.txt".to_owned(), "x.module.json".to_owned()];
    for digest in [digest, recent] {
        left.extend(["cwasm", "json"].map(|end| format!("{digest}-native.{end}")));
    }
    left.sort();
    assert_eq!(place.names(), left);
}
