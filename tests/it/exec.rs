//! guest-exec and guest-exec-status: starting programs, feeding them, and learning how they ended; as reference §2.13 has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waga_tests::client::Client;

use crate::each;
use crate::table::Table;

/// Asks for a child's status until it has ended.
pub(crate) fn ended(client: &mut Client, pid: &Value) -> Value {
    loop {
        let status = client.run("guest-exec-status", json!({"pid": pid})).unwrap();
        if status["exited"] == true {
            return status;
        }
        assert_eq!(status, json!({"exited": false}));
        std::thread::yield_now();
    }
}

/// Runs a program to its end.
pub(crate) fn run(client: &mut Client, exec: Value) -> Value {
    let started = client.run("guest-exec", exec).unwrap();
    assert!(started["pid"].as_i64().unwrap() > 0 && started.as_object().unwrap().len() == 1, "{started}");
    ended(client, &started["pid"])
}

fn shell(script: &str, capture: Value) -> Value {
    json!({"path": "/bin/sh", "arg": ["-c", script], "capture-output": capture})
}

/// A whole status, of a child that exited by itself.
fn exited(code: i64, out: &str, err: &str) -> Value {
    let mut status = json!({"exited": true, "exitcode": code});
    for (name, text) in [("out", out), ("err", err)] {
        if !text.is_empty() {
            status[format!("{name}-data")] = json!(STANDARD.encode(text));
            status[format!("{name}-truncated")] = json!(false);
        }
    }
    status
}

#[track_caller]
fn check(cases: &[(Value, Value)]) {
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        for (exec, expected) in cases {
            assert_eq!(&run(&mut client, exec.clone()), expected, "{exec}");
        }
    });
}

#[test]
fn upstreams_exec() {
    let test = "\" test_str \"";
    check(&[
        (json!({"path": "/bin/echo", "arg": ["-n", test], "capture-output": true}), exited(0, test, "")),
        (json!({"path": "/bin/true", "capture-output": true}), exited(0, "", "")),
        (json!({"path": "/bin/false"}), exited(1, "", "")),
    ]);
}

#[test]
fn what_is_captured_is_what_was_asked_for() {
    let script = "for i in 1 2; do echo stdout; echo stderr 1>&2; done";
    let (out, err, both) = ("stdout\nstdout\n", "stderr\nstderr\n", "stdout\nstderr\nstdout\nstderr\n");
    check(&[
        (shell(script, json!(true)), exited(0, out, err)),
        (shell(script, json!(false)), exited(0, "", "")),
        (json!({"path": "/bin/sh", "arg": ["-c", script]}), exited(0, "", "")),
    ]);
    each(|program| {
        if !program.since(8) {
            return; // 7.2 knows true and false only.
        }
        let agent = program.agent();
        let mut client = agent.client();
        for (capture, expected) in
            [("none", exited(0, "", "")), ("separated", exited(0, out, err)), ("merged", exited(0, both, ""))]
        {
            assert_eq!(run(&mut client, shell(script, json!(capture))), expected, "{capture}");
        }
        if program.is_waga() {
            // After one of these the original's later captures go wrong (reference §5, 3).
            for _ in 0..3 {
                assert_eq!(run(&mut client, shell(script, json!("stdout"))), exited(0, out, ""));
                assert_eq!(run(&mut client, shell(script, json!("stderr"))), exited(0, "", err));
                assert_eq!(run(&mut client, shell(script, json!("separated"))), exited(0, out, err));
            }
        }
    });
    Table::new()
        .since(8)
        .all(&[
            (
                r#"{"execute":"guest-exec","arguments":{"path":"true","capture-output":"both"}}"#,
                r#"{"error": {"class": "GenericError", "desc": "Parameter 'capture-output' does not accept value 'both'"}}"#,
            ),
            (
                r#"{"execute":"guest-exec","arguments":{"path":"true","capture-output":1}}"#,
                r#"{"error": {"class": "GenericError", "desc": "Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput"}}"#,
            ),
        ])
        .check();
}

#[test]
fn the_end_is_told_by_code_or_signal() {
    let killed = |signal: i32| json!({"exited": true, "signal": signal});
    check(&[
        (shell("exit 0", json!(false)), exited(0, "", "")),
        (shell("exit 7", json!(true)), exited(7, "", "")),
        (shell("exit 255", json!(false)), exited(255, "", "")),
        (shell("kill -9 $$", json!(false)), killed(9)),
        (shell("kill -15 $$", json!(true)), killed(15)),
    ]);
}

#[test]
fn input_is_given_to_the_program() {
    let cat = |input: &str| json!({"path": "cat", "input-data": input, "capture-output": true});
    check(&[
        (cat("aGVsbG8="), exited(0, "hello", "")),
        (cat("aGVs\nbG8="), exited(0, "hello", "")),
        (cat(""), exited(0, "", "")),
        // What is not whole is dropped, as in guest-file-write.
        (cat("aGVsYQ"), exited(0, "hel", "")),
        // Without any it reads /dev/null.
        (json!({"path": "cat", "capture-output": true}), exited(0, "", "")),
        (shell("readlink /proc/self/fd/0", json!(true)), exited(0, "/dev/null\n", "")),
        // Nobody minds a program that does not want it.
        (json!({"path": "true", "input-data": STANDARD.encode(vec![b'x'; 1 << 20])}), exited(0, "", "")),
    ]);
    Table::new()
        .ask(
            r#"{"execute":"guest-exec","arguments":{"path":"cat","input-data":"a b"}}"#,
            r#"{"error": {"class": "GenericError", "desc": "Base64 data contains invalid characters"}}"#,
        )
        .check();
}

#[test]
fn large_input_comes_through_while_output_does() {
    each(|program| {
        let agent = program.setup().quiet().start();
        let mut client = agent.client();
        let input: Vec<u8> = (0..2_000_003_u32).map(|byte| byte.wrapping_mul(17).to_le_bytes()[1]).collect();
        let input = STANDARD.encode(input);
        let status = run(&mut client, json!({"path": "cat", "input-data": input, "capture-output": true}));
        assert!(status["out-data"] == input && status["out-truncated"] == false, "what went in comes out");
    });
}

#[test]
fn arguments_and_environment_are_taken_as_they_are() {
    let print = |script: &str, env: Value| json!({"path": "/bin/sh", "arg": ["-c", script, "zero", "a b", "", "$HOME", "é\n"], "env": env, "capture-output": true});
    check(&[
        (print("printf '%s|' \"$0\" \"$@\"", json!([])), exited(0, "zero|a b||$HOME|é\n|", "")),
        (
            json!({"path": "/usr/bin/env", "env": ["A=1", "B=two words", "C="], "capture-output": true}),
            exited(0, "A=1\nB=two words\nC=\n", ""),
        ),
        (json!({"path": "/usr/bin/env", "env": [], "capture-output": true}), exited(0, "", "")),
    ]);
    each(|program| {
        let agent = program.setup().env("WAGA_SAYS", Some("hello")).start();
        let mut client = agent.client();
        let exec = shell("echo $WAGA_SAYS", json!(true));
        assert_eq!(run(&mut client, exec), exited(0, "hello\n", ""), "without `env` it is the agent's own");
        let folder = format!("{}\n", agent.dir().display());
        assert_eq!(run(&mut client, shell("pwd -P", json!(true))), exited(0, &folder, ""));
    });
}

#[test]
fn a_program_without_a_slash_is_looked_for() {
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        let folder = agent.dir().join("bin");
        std::fs::create_dir(&folder).unwrap();
        let script = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        script("waga-says", "#!/bin/sh\necho \"says $1\"\n");
        script("waga-shrugs", "echo \"shrugs $1\"\n");
        let path = format!("PATH={}", folder.display());
        let exec = |program: &str, env: &str| json!({"path": program, "arg": ["x"], "env": [env], "capture-output": true});
        assert_eq!(
            run(&mut client, exec("waga-says", &path)),
            exited(0, "says x\n", ""),
            "in the PATH of `env`"
        );
        assert_eq!(
            run(&mut client, exec("waga-shrugs", &path)),
            exited(0, "shrugs x\n", ""),
            "without #!, by sh"
        );
        assert_eq!(
            run(&mut client, exec("bin/waga-says", "A=")),
            exited(0, "says x\n", ""),
            "relative to the folder"
        );
        assert_eq!(run(&mut client, exec("echo", "A=")), exited(0, "x\n", ""), "in the agent's own PATH");
        client.refused("guest-exec", exec("waga-says", "A=")).unwrap();
    });
}

#[test]
fn what_cannot_be_started_says_why() {
    const FRAME: &str = "7.2 wraps the text in one of its own";
    let error = |desc: String| format!(r#"{{"error": {{"class": "GenericError", "desc": "{desc}"}}}}"#);
    let exec = |program: &str| format!(r#"{{"execute":"guest-exec","arguments":{{"path":"{program}"}}}}"#);
    let missing = "No such file or directory";
    let mut table = Table::new();
    for (program, why) in [
        ("/nonexistent/program", missing),
        ("waga-no-such-program", missing),
        ("", missing),
        ("/etc/passwd", "Permission denied"),
        ("/", "Permission denied"),
        ("/etc/passwd/x", "Not a directory"),
    ] {
        let desc = format!(r"Failed to execute child process \u201C{program}\u201D ({why})");
        let framed = error(format!("Guest agent command failed, error was '{desc}'"));
        table = table.differs(FRAME, exec(program), error(desc.clone()), &[&error(desc), &framed]);
    }
    table.check();
}

#[test]
fn a_status_is_told_once() {
    const DIGITS: &str = "the number is told, where the original says `ld` whatever it is";
    let unknown = |pid: &str| {
        format!(r#"{{"error": {{"class": "GenericError", "desc": "PID {pid} does not exist"}}}}"#)
    };
    // Reference §5, 4; older ones know no better.
    let original = [
        unknown("ld"),
        r#"{"error": {"class": "GenericError", "desc": "Invalid parameter 'pid'"}}"#.to_owned(),
    ];
    let original: Vec<&str> = original.iter().map(String::as_str).collect();
    let mut table = Table::new();
    for pid in ["0", "-1", "1", "4294967297", "9223372036854775807", "-9223372036854775808"] {
        let request = format!(r#"{{"execute":"guest-exec-status","arguments":{{"pid":{pid}}}}}"#);
        table = table.differs(DIGITS, request, unknown(pid), &original);
    }
    table.check();
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        let pid = client.run("guest-exec", json!({"path": "true"})).unwrap()["pid"].clone();
        drop(client);
        let mut client = agent.client();
        ended(&mut client, &pid);
        client.refused("guest-exec-status", json!({"pid": pid})).unwrap();
    });
}

#[test]
fn a_grandchild_that_holds_the_output_holds_the_end() {
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        let fifo = agent.dir().join("go");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let pid =
            client.run("guest-exec", shell("(cat go; echo late) & echo early", json!(true))).unwrap()["pid"]
                .clone();
        let status = |client: &mut Client| client.run("guest-exec-status", json!({"pid": pid})).unwrap();
        assert_eq!(status(&mut client), json!({"exited": false}));
        let process = format!("/proc/{pid}");
        let stat = || std::fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
        while !stat().is_empty() && !stat().contains(") Z") {
            std::thread::yield_now();
        }
        assert_eq!(status(&mut client), json!({"exited": false}), "its child still writes");
        std::fs::write(&fifo, "now\n").unwrap();
        assert_eq!(ended(&mut client, &pid), exited(0, "early\nnow\nlate\n", ""));
    });
}
