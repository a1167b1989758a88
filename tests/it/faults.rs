//! Faults of qemu-ga (reference §5) that must not come back and are not held down by the test of their subject:
//! 1, 5: `clients`; 3, 4: `exec`; 6: `channel`, and `serial` on a line; 7: `serial`; 15, 17 (reads), 21: `file_state`; 16: `file`;
//! 23: `network`; 27: `process`; 28: `channel`, and `retry` with `--retry-path`; 30: `wire`. 8 and 25 need a virtual machine: `tests/vm`.

use std::io::Read;
use std::time::Instant;

use serde_json::json;
use waga_tests::client::PATIENCE;

use crate::{program, waga};

/// 9: one slow command held up every client.
#[test]
fn a_command_that_hangs_keeps_nobody_else_waiting() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let setup = program.setup();
    let path = setup.dir().join("os-release");
    // Opened for reading it waits for a writer.
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let agent = setup.env("QGA_OS_RELEASE", path.to_str()).start();
    let mut hanging: Vec<_> = (0..20).map(|_| agent.client()).collect();
    for client in &mut hanging {
        client.send("{\"execute\":\"guest-get-osinfo\"}\n").unwrap();
    }
    let mut other = agent.client();
    std::fs::write(agent.dir().join("f"), "abc").unwrap();
    for _ in 0..20 {
        assert_eq!(other.run("guest-sync", json!({"id": 1})).unwrap(), json!(1));
        other.run("guest-get-time", json!({})).unwrap();
        other.run("guest-info", json!({})).unwrap();
        let handle = other.run("guest-file-open", json!({"path": "f"})).unwrap();
        assert_eq!(other.run("guest-file-read", json!({"handle": handle})).unwrap()["count"], 3);
        let pid = other.run("guest-exec", json!({"path": "true"})).unwrap()["pid"].clone();
        crate::exec::ended(&mut other, &pid);
    }
}

/// 17: memory that messages with a key twice leaked, for one.
#[test]
fn broken_messages_leave_no_memory_behind() {
    let Some(agent) = waga() else { return };
    let agent = agent.program().setup().quiet().start();
    let mut client = agent.client();
    let filler = "x".repeat(2000);
    let broken = [
        format!(r#"{{"a":["{filler}"],"a":1}}"#),
        format!(r#"{{"execute":"guest-ping","arguments":{{"{filler}":1}}}}"#),
        format!(r#"{{"execute":"{filler}"}}"#),
        format!(r#"["{filler}" 1]"#),
        format!("{{\"id\":\"{filler}\u{1}\"}}"),
        format!(r#"{{"execute":"guest-exec","arguments":{{"path":"/nonexistent/{filler}"}}}}"#),
    ];
    let mut round = || {
        for message in &broken {
            client.send(format!("{message}\n")).unwrap();
            assert!(client.text().unwrap().contains("error"));
        }
    };
    (0..50).for_each(|_| round());
    let before = agent.memory("VmRSS");
    (0..500).for_each(|_| round());
    let grown = agent.memory("VmRSS").saturating_sub(before);
    assert!(grown < 1 << 20, "{} KiB after 3,000 broken messages of 2 kB", grown >> 10);
}

/// 24: values in single quotes kept a quote and lost what came after the first space.
#[test]
fn os_release_is_read_as_a_shell_reads_it() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let setup = program.setup();
    let path = setup.dir().join("os-release");
    let text =
        "NAME='A B'\nID=x\nVERSION=\"open\nVERSION_ID='1;2'\nVARIANT=\"a\\\"b\"\nID=last\nnonsense\n=\n";
    std::fs::write(&path, text).unwrap();
    let agent = setup.env("QGA_OS_RELEASE", path.to_str()).start();
    let info = agent.client().run("guest-get-osinfo", json!({})).unwrap();
    for (member, expected) in [("name", "A B"), ("id", "last"), ("version-id", "1;2"), ("variant", "a\"b")] {
        assert_eq!(info[member], expected, "{member} in {info}");
    }
}

/// 2: what comes after an early leaver is answered, again and again; with `--retry-path` too, where the original was deaf, or aborted.
#[test]
fn connections_come_and_go_for_ever() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    for options in [&[][..], &["-r"]] {
        let agent = program.setup().options(options).start();
        let until = Instant::now() + PATIENCE;
        for number in 0..1000 {
            let mut client = agent.client();
            client.send(format!("{{\"execute\":\"guest-sync\",\"arguments\":{{\"id\":{number}}}}}")).unwrap();
            match number % 3 {
                0 => assert_eq!(client.text().unwrap(), format!("{{\"return\": {number}}}")),
                // Part of the reply stays unread, and the kernel resets the connection.
                1 => client.stream().read_exact(&mut [0]).unwrap(),
                _ => {}
            }
            assert!(Instant::now() < until, "it gets slower and slower");
        }
        assert!(!agent.log().contains("failed"), "{}", agent.log());
    }
}
