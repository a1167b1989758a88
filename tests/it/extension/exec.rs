//! Programs that extensions run: those that are granted, as they are granted, and nothing of them is left when the call is over.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waga_tests::agent::{Agent, request};
use waga_tests::client::Client;
use waga_tests::component::component;

use super::hostile::in_step;
use super::{agent, disabled, failure, settled, setup, told};

/// Passes on what `waga:extension/exec` has.
fn running() -> Vec<u8> {
    component(
        "package test:it;
        interface i {
            record output { exit-code: option<s32>, signal: option<s32>, stdout: list<u8>, stderr: list<u8> }
            guest-test-run: func(program: string, args: list<string>, input: option<list<u8>>) -> result<output, string>;
        }
        world w { import waga:extension/exec@1.0.0; export i; }",
        r#"(import "waga:extension/exec@1.0.0" "run" (func $run (param i32 i32 i32 i32 i32 i32 i32 i32)))
        (func (export "test:it/i#guest-test-run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
            (call $run (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6) (i32.const 1024))
            (i32.const 1024))"#,
    )
}

/// One that may run any shell script; `SHELL` also stands for a path that needs no search.
const SHELL: &str =
    "exec = [{ program = '/bin/sh', args = ['-c', '*'], env = ['PATH=/usr/bin:/bin', 'N=1'] }]";

fn sh(script: &str) -> Value {
    json!({"program": "/bin/sh", "args": ["-c", script]})
}

/// What came of a program: exit code, signal, standard output and error.
fn ran(client: &mut Client, arguments: Value) -> (Value, Value, String, String) {
    let output = client.run("guest-test-run", arguments).unwrap();
    let text = |key: &str| {
        let bytes = STANDARD.decode(output[key].as_str().unwrap()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    (output["exit-code"].clone(), output["signal"].clone(), text("stdout"), text("stderr"))
}

fn refused(client: &mut Client, arguments: Value) -> String {
    failure(client, "guest-test-run", arguments)
}

fn wait_until_gone(pid_file: &Path) {
    let begun = Instant::now();
    let pid = fs::read_to_string(pid_file).unwrap();
    while fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{pid} lives");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_program_is_run_and_how_it_ended_is_told() {
    let Some(agent) = agent(&[("run", &running(), SHELL)]) else { return };
    let mut client = agent.client();
    let none = || Value::Null;
    let told_of = ran(&mut client, sh("echo out; echo err >&2; exit 3"));
    assert_eq!(told_of, (json!(3), none(), "out\n".into(), "err\n".into()));
    assert_eq!(ran(&mut client, sh("kill -15 $$")), (none(), json!(15), String::new(), String::new()));
    let mut with_input = sh("cat; echo; wc -c </dev/null");
    with_input["input"] = json!(STANDARD.encode("what it reads"));
    assert_eq!(ran(&mut client, with_input).2, "what it reads\n0\n");
    // Without any it reads nothing.
    assert_eq!(ran(&mut client, sh("readlink /proc/$$/fd/0; cat")).2, "/dev/null\n");
    // It has a session of its own, is in the root, and gets no descriptor and no variable of the agent's.
    let script = "pwd; ps -o sid= -p $$ | tr -d ' '; echo $$
        for number in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$number ] && echo $number is open; done; env";
    let text = ran(&mut client, sh(script)).2;
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("/"), "{text}");
    assert_eq!(lines.next(), lines.next(), "{text}");
    for line in lines {
        let shells = ["PWD=", "_=", "SHLVL=", "OLDPWD="].iter().any(|own| line.starts_with(own));
        let granted = ["PATH=/usr/bin:/bin", "N=1"].contains(&line);
        assert!(shells || granted || line.starts_with("WAGA_HELPER="), "{text}");
    }
    let told = told(&mut client, "run");
    assert_eq!(told["grants"], json!(["waga:extension/exec@1.0.0", "exec /bin/sh -c *"]));
    // Programs compute for themselves: a second of it costs the extension nothing.
    assert!(told["cpu-us"].as_u64().unwrap() < 100_000, "{told}");
}

#[test]
fn what_is_not_granted_is_not_run() {
    for (lines, reason) in [("", true), ("exec = []", true), (SHELL, false)] {
        let Some(agent) = agent(&[("run", &running(), lines)]) else { return };
        let line = "exec = [{ program = \"/…\" }], with each program that it may run";
        if reason {
            let told = disabled(&mut agent.client(), "guest-test-run");
            assert!(told.contains("imports waga:extension/exec@1.0.0, which is not granted"), "{told}");
            assert!(told.ends_with(line), "{told}");
        } else {
            ran(&mut agent.client(), sh("true"));
        }
    }
    let rules = "exec = [{ program = '/bin/echo' }, { program = '/bin/echo', args = ['a*', '?', 'x'] }, { program = '/bin/printf', args = ['%s', '**'] }]";
    let Some(agent) = agent(&[("run", &running(), rules)]) else { return };
    let mut client = agent.client();
    for (program, args, output) in [
        ("/bin/echo", &[][..], "\n"),
        ("/bin/echo", &["abc; rm -rf /", "$", "x"], "abc; rm -rf / $ x\n"),
        ("/bin/printf", &["%s"], ""),
        ("/bin/printf", &["%s", "a", "b"], "ab"),
    ] {
        assert_eq!(
            ran(&mut client, json!({"program": program, "args": args})).2,
            output,
            "{program} {args:?}"
        );
    }
    for (program, args) in [
        ("/bin/echo", &["a"][..]),
        ("/bin/echo", &["b", "b", "x"]),
        ("/bin/echo", &["a", "bb", "x"]),
        ("/bin/echo", &["a", "b", "x", ""]),
        ("/bin/echo", &["a\0", "b", "x"]),
        ("/bin/printf", &[]),
        ("/bin/printf", &["%d", "a"]),
    ] {
        let told = refused(&mut client, json!({"program": program, "args": args}));
        assert_eq!(told, format!("the key exec does not grant '{program}' with these arguments"), "{args:?}");
    }
    for program in ["echo", "/bin/../bin/echo", "/bin//echo", "/bin/sh", "", "/usr/bin/echo\0"] {
        let told = refused(&mut client, json!({"program": program, "args": []}));
        assert_eq!(told, format!("the key exec does not grant '{program}'"));
    }
    in_step(&agent);
}

#[test]
fn what_others_could_have_written_is_not_run() {
    let Some(setup) = setup(&[(
        "run",
        &running(),
        "exec = [{ program = '@/tool' }, { program = '@/none' }, { program = '@/link' }]",
    )]) else {
        return;
    };
    let dir = setup.dir().to_owned();
    let path = dir.join("agent.toml");
    let text = fs::read_to_string(&path).unwrap().replace('@', &dir.display().to_string());
    fs::write(&path, text).unwrap();
    let tool = dir.join("tool");
    let mode = |mode| fs::set_permissions(&tool, Permissions::from_mode(mode)).unwrap();
    fs::write(&tool, "#!/bin/sh\necho ran\n").unwrap();
    mode(0o755);
    let agent = setup.start();
    settled(&agent, "run");
    let mut client = agent.client();
    let run = |name: &str| json!({"program": dir.join(name), "args": []});
    assert_eq!(ran(&mut client, run("tool")).2, "ran\n");
    let shown = |name: &str| dir.join(name).display().to_string();
    assert_eq!(
        refused(&mut client, run("none")),
        format!("'{}' does not start: No such file or directory", shown("none"))
    );
    symlink(&tool, dir.join("link")).unwrap();
    assert_eq!(ran(&mut client, run("link")).2, "ran\n");
    mode(0o777);
    for name in ["tool", "link"] {
        let told = refused(&mut client, run(name));
        assert!(
            told.starts_with("not trusted: ") && told.ends_with("take that away with chmod go-w"),
            "{told}"
        );
    }
    mode(0o644);
    assert_eq!(refused(&mut client, run("tool")), format!("'{}' is no program", shown("tool")));
    // At a start it is not even loaded, and the reason says what is wrong with which.
    mode(0o777);
    let agent = agent.restart(nix::sys::signal::Signal::SIGTERM);
    let (class, desc) = agent.client().refused("guest-test-run", run("tool")).unwrap();
    assert_eq!(class, "CommandNotFound");
    let start = format!(
        "Command guest-test-run has been disabled: extension run: exec: not trusted: {}",
        shown("tool")
    );
    assert!(desc.starts_with(&start), "{desc}");
}

#[test]
fn what_it_gets_and_what_it_writes_is_bounded() {
    let lines = format!("{SHELL}\nlimits = {{ message = '64KiB', time = '20s', cpu = '5s' }}");
    let Some(agent) = agent(&[("run", &running(), &lines)]) else { return };
    let mut client = agent.client();
    let much = format!("echo $$ >{}; exec cat /dev/zero", agent.dir().join("pid").display());
    for stream in ["", " >&2"] {
        assert_eq!(
            refused(&mut client, sh(&format!("{much}{stream}"))),
            "'/bin/sh' wrote more than a message may hold (limits.message = \"64KiB\")"
        );
        wait_until_gone(&agent.dir().join("pid"));
    }
    let mut input = sh("wc -c");
    input["input"] = json!(STANDARD.encode(vec![0; 10_000]));
    assert_eq!(ran(&mut client, input).2.trim(), "10000");
    // Nobody has to read it.
    let mut unread = sh("echo done");
    unread["input"] = json!(STANDARD.encode(vec![0; 10_000]));
    assert_eq!(ran(&mut client, unread).2, "done\n");
    in_step(&agent);
}

/// At the deadline, when its client leaves and when the agent ends: itself, its group, and who went into a session of his own.
#[test]
fn nothing_of_it_outlives_the_call() {
    let lines = format!("{SHELL}\nlimits = {{ time = '5s' }}");
    let Some(agent) = agent(&[("run", &running(), &lines), ("other", &running(), "")]) else { return };
    settled(&agent, "run");
    let files: [PathBuf; 3] = ["own", "group", "session"].map(|name| agent.dir().join(name));
    let begin = format!(
        "sh -c 'echo $$ >{1}; exec sleep 1000' & setsid sh -c 'echo $$ >{2}; exec sleep 1000' & echo $$ >{0};
        while ! [ -s {1} ] || ! [ -s {2} ]; do sleep 0.01; done;",
        files[0].display(),
        files[1].display(),
        files[2].display()
    );
    let gone = || files.iter().for_each(|file| wait_until_gone(file));
    let clear = || files.iter().for_each(|file| drop(fs::remove_file(file)));
    let mut client = agent.client();
    let late = refused(&mut client, sh(&format!("{begin} sleep 1000")));
    assert_eq!(late, "extension run: guest-test-run did not answer in time (limits.time = \"5s\")");
    gone();
    clear();
    // It ends by itself, and leaves two behind, one of which holds its output.
    assert_eq!(ran(&mut client, sh(&format!("{begin} echo done"))).2, "done\n");
    gone();
    clear();
    let mut leaving = agent.client();
    leaving.send(request("guest-test-run", &sh(&format!("{begin} sleep 1000")))).unwrap();
    agent.until("its start", |_| files.iter().all(|file| fs::read(file).is_ok_and(|text| !text.is_empty())));
    drop(leaving);
    gone();
    in_step(&agent);
    let children = |agent: &Agent| agent.children().len();
    agent.until("no child left", |agent| children(agent) == 0);
}
