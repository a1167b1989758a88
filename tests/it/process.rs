//! The program as a process: its options, its exit codes, its signals, its log.

use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{each, program, waga};

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn version_and_help_are_printed() {
    each(|program| {
        for option in ["-V", "--version"] {
            let output = program.run([option]);
            let (out, _) = text(&output);
            assert!(
                output.status.success() && out.contains("QEMU Guest Agent ") && out.ends_with('\n'),
                "{out}"
            );
        }
        for option in ["-h", "--help"] {
            let output = program.run([option]);
            let (out, _) = text(&output);
            assert!(output.status.success(), "{out}");
            for option in
                ["-m", "-p", "-l", "-t", "-v", "-V", "-b", "-h", "--method", "--statedir", "--logfile"]
            {
                assert!(out.contains(option), "{option} is not in the help: {out}");
            }
        }
    });
}

#[test]
fn the_commands_are_listed() {
    each(|program| {
        for options in [&["-b", "help"][..], &["-b", "?"], &["-bhelp"], &["-a", "help"], &["--allow-rpcs=?"]]
        {
            if options[0].contains('a') && !program.since(9) {
                continue;
            }
            let output = program.run(options);
            let (out, _) = text(&output);
            assert!(output.status.success(), "{options:?}: {out}");
            assert!(out.starts_with("guest-sync-delimited\nguest-sync\nguest-ping\n"), "{out}");
            assert!(out.lines().any(|line| line == "guest-exec"), "{out}");
        }
    });
}

#[test]
fn what_is_not_understood_ends_with_one() {
    each(|program| {
        for options in
            [&["--nope"][..], &["-Z"], &["-m"], &["-m", "carrier-pigeon", "-p", "x"], &["-m", "unix-listen"]]
        {
            let output = program.run(options);
            assert_eq!(output.status.code(), Some(1), "{options:?}: {:?}", text(&output));
            let (out, err) = text(&output);
            assert!(!(out + &err).is_empty(), "{options:?} is refused without a word");
        }
    });
}

#[test]
fn a_channel_that_cannot_be_opened_ends_with_one() {
    each(|program| {
        let (status, said) = program.setup().options(["-p", "/nonexistent/folder/sock"]).fails();
        assert_eq!(status.code(), Some(1), "{said}");
        let (status, said) =
            program.setup().options(["-m", "virtio-serial", "-p", "/nonexistent/port"]).fails();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("/nonexistent/port") || !program.is_waga(), "{said}");
    });
}

#[test]
fn a_log_file_that_cannot_be_opened_ends_with_one() {
    each(|program| {
        let (status, said) = program.setup().options(["-l", "/nonexistent/folder/log"]).fails();
        if program.is_waga() {
            assert!(status.code() == Some(1) && said.contains("/nonexistent/folder/log"), "{said}");
        } else {
            assert!(
                said.contains("unable to open"),
                "the original says so and, before 11, exits with 0: {said}"
            );
        }
    });
}

#[test]
fn a_wrong_configuration_is_told_with_its_place() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    for (file, expected) in [
        ("[policy]\nblok = []\n", &[":2:1: ", "blok", "did you mean `block`?"][..]),
        ("\n\nchannel = 5\n", &[":3:11: "]),
        ("[[channel]]\nmethod = \"tcp\"\n", &[":2:10: ", "tcp"]),
        ("[policy\n", &[":1:8: "]),
        ("[frost]\n", &[":1:2: ", "frost"]),
    ] {
        let setup = program.setup();
        let path = setup.dir().join("agent.toml");
        std::fs::write(&path, file).unwrap();
        let (status, said) = setup.options(["-c".into(), path.clone()]).fails();
        assert_eq!(status.code(), Some(1), "{said}");
        for expected in expected.iter().chain(&[path.to_str().unwrap()]) {
            assert!(said.contains(expected), "{expected} is not in: {said}");
        }
    }
    let (status, said) = program.setup().options(["-c", "/nonexistent/agent.toml"]).fails();
    assert!(status.code() == Some(1) && said.contains("/nonexistent/agent.toml"), "{said}");
}

#[test]
fn a_configuration_is_followed() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let setup = program.setup();
    let path = setup.dir().join("agent.toml");
    std::fs::write(&path, "[policy]\nallow = [\"guest-ping\", \"guest-sync\"]\nblock = [\"guest-ping\"]\n")
        .unwrap();
    let agent = setup.options(["-c".into(), path]).start();
    let mut client = agent.client();
    assert_eq!(client.run("guest-sync", json!({"id": 1})).unwrap(), json!(1));
    for command in ["guest-ping", "guest-info"] {
        assert_eq!(client.refused(command, json!({})).unwrap().0, "CommandNotFound");
    }
}

#[test]
fn signals_end_it_well() {
    each(|program| {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let agent = program.agent();
            let mut client = agent.client();
            client.run("guest-ping", json!({})).unwrap();
            let agent = agent.restart(signal);
            assert_eq!(client.line().unwrap(), None);
            agent.client().run("guest-ping", json!({})).unwrap();
        }
    });
}

#[test]
fn a_signal_right_after_a_clients_end_is_heard() {
    let Some(mut agent) = waga() else { return };
    for _ in 0..50 {
        let mut client = agent.client();
        client.run("guest-ping", json!({})).unwrap();
        drop(client);
        agent = agent.restart(Signal::SIGTERM);
    }
}

#[test]
fn a_signal_amid_work_is_heard() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    client.run("guest-exec", json!({"path": "sleep", "arg": ["1000"], "capture-output": true})).unwrap();
    client.send("{\"execute\":\"guest-pi").unwrap();
    let children = agent.children();
    agent.stop();
    for child in children {
        // It outlives the agent, as with qemu-ga.
        let child = nix::unistd::Pid::from_raw(child.parse().unwrap());
        nix::sys::signal::kill(child, Signal::SIGKILL).unwrap();
    }
}

#[test]
fn what_is_left_after_a_clean_end_is_what_the_original_leaves() {
    each(|program| {
        let agent = program.agent();
        let handle = agent.client().run("guest-file-open", json!({"path": "foo", "mode": "w"})).unwrap();
        assert_eq!(handle, json!(1000));
        let agent = agent.restart(Signal::SIGTERM);
        let mut left: Vec<_> =
            std::fs::read_dir(agent.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        // Upstream's tests remove the first four and then the folder; the log and stderr are this test's own.
        assert_eq!(left, ["foo", "log", "qga.state", "sock", "stderr"]);
    });
}

#[test]
fn the_log_goes_on_where_it_was() {
    each(|program| {
        let agent = program.agent();
        // A line is written when its thread gets its turn.
        agent.client().run("guest-file-open", json!({"path": "/dev/null"})).unwrap();
        agent.until("the first line", |agent| agent.log().contains("/dev/null"));
        let first = agent.log();
        let agent = agent.restart(Signal::SIGTERM);
        agent.client().run("guest-file-open", json!({"path": "/dev/zero"})).unwrap();
        agent.until("the second line", |agent| agent.log().contains("/dev/zero"));
        let second = agent.log();
        assert!(
            second.len() > first.len() && second.contains("/dev/null") && second.contains("/dev/zero"),
            "{second}"
        );
        let line = second.lines().find(|line| line.contains("/dev/null")).unwrap();
        let (time, rest) = line.split_once(": ").unwrap();
        assert!(time.split_once('.').is_some_and(|(_, micros)| micros.len() == 6), "{line}");
        assert!(["info: ", "debug: "].iter().any(|level| rest.starts_with(level)), "{line}");
    });
}

/// `waga --help | head -1` is no accident; a full disk is one, and is said.
#[test]
fn output_that_nobody_takes_is_no_panic() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    for args in [&["--help"][..], &["-V"], &["-D"], &["-b", "help"], &["check"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program.command().args(args).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), text(&output).1.as_str()), (Some(0), ""), "{args:?}");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = program.command().args(args).stdout(full).output().unwrap();
        assert_eq!(
            (output.status.code(), text(&output).1.as_str()),
            (Some(1), "cannot write to stdout: No space left on device\n"),
            "{args:?}"
        );
    }
}

#[test]
fn a_want_of_descriptors_at_the_start_is_said() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -n 4; exec \"$@\"", "sh"]).arg(program.path());
    let output = shell.args(["-m", "unix-listen", "-p", "/nonexistent/sock"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output).1;
    assert!(said.contains("Too many open files"), "{said}");
}
