//! The audit: a line for each request, whatever became of it, member by member.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use waga_tests::agent::{Agent, Program, Setup};

use crate::program;

/// An agent with an audit file, set up further; none when the original is under test.
fn audited(more: impl FnOnce(Setup) -> Setup) -> Option<Agent> {
    configured("", more)
}

/// The same, with more in its configuration.
fn configured(tables: &str, more: impl FnOnce(Setup) -> Setup) -> Option<Agent> {
    let setup = Some(program()).filter(Program::is_waga)?.setup();
    let config = setup.dir().join("agent.toml");
    fs::write(&config, format!("[audit]\nfile = {:?}\n{tables}", setup.dir().join("audit"))).unwrap();
    Some(more(setup.options(["-c".into(), config])).start())
}

fn file(agent: &Agent) -> PathBuf {
    agent.dir().join("audit")
}

/// The lines there are when there are so many, each without its time and duration, which are checked.
fn lines(agent: &Agent, count: usize) -> Vec<Value> {
    let read = |agent: &Agent| fs::read_to_string(file(agent)).unwrap();
    agent.until("the audit's lines", |agent| read(agent).lines().count() >= count);
    let text = read(agent);
    assert!(text.lines().count() == count && text.ends_with('\n'), "{text}");
    let line = |line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let members = line.as_object_mut().unwrap();
        let time = members.shift_remove("time").unwrap();
        // 2026-11-24T10:00:00.123456Z
        let shape: String =
            time.as_str().unwrap().chars().map(|c| if c.is_numeric() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
        assert!(members.shift_remove("duration-us").unwrap().is_u64());
        assert_eq!(members.shift_remove("channel").unwrap(), "unix-listen");
        assert_eq!(members.shift_remove("callers").unwrap(), json!(["unix-listen"]));
        line
    };
    text.lines().map(line).collect()
}

#[test]
fn each_request_is_a_line_with_its_outcome() {
    let Some(agent) = audited(|setup| setup.options(["-b", "guest-get-time"])) else { return };
    let mut client = agent.client();
    let path = agent.dir().join("f");
    let mut ask = |request: Value| client.ask(&request).unwrap();
    ask(json!({"execute": "guest-ping"}));
    ask(json!({"execute": "guest-file-open", "arguments": {"mode": "w", "path": path}, "id": "secret"}));
    ask(json!({"execute": "guest-file-write", "arguments": {"handle": 1000, "buf-b64": "c2VjcmV0"}}));
    ask(json!({"execute": "guest-file-write", "arguments": {"handle": 7, "buf-b64": "c2VjcmV0", "zzz": 1}}));
    ask(json!({"execute": "guest-file-open", "arguments": {"path": "/nonexistent/x"}}));
    ask(json!({"execute": "guest-get-time", "arguments": {"path": "/x"}}));
    ask(json!({"execute": "guest-no-such", "arguments": {"path": "/x", "b": 2}}));
    ask(json!({"execute": format!("guest-{}", "x".repeat(100))}));
    ask(json!({"execute": "Secret!"}));
    ask(json!({"execute": 7}));
    ask(json!(["secret"]));
    ask(json!({"execute": "guest-ping", "secret": 1}));
    client.send("{\"execute\":\"guest-ping\"]\n").unwrap();
    client.line().unwrap();
    let malformed = json!({"command": null, "outcome": "malformed", "class": "GenericError"});
    let unknown = |command: Value, unexpected: usize| {
        let mut line = json!({"command": command, "arguments": [], "values": {}, "outcome": "unknown", "class": "CommandNotFound"});
        if unexpected > 0 {
            line["unexpected"] = json!(unexpected);
        }
        line
    };
    let expected = [
        json!({"command": "guest-ping", "arguments": [], "values": {}, "outcome": "ok"}),
        json!({"command": "guest-file-open", "arguments": ["mode", "path"], "values": {"mode": "w", "path": path}, "outcome": "ok", "result": 1000}),
        json!({"command": "guest-file-write", "arguments": ["handle", "buf-b64"], "values": {"handle": 1000}, "outcome": "ok"}),
        json!({"command": "guest-file-write", "arguments": ["handle", "buf-b64"], "values": {"handle": 7}, "unexpected": 1, "outcome": "error", "class": "GenericError"}),
        json!({"command": "guest-file-open", "arguments": ["path"], "values": {"path": "/nonexistent/x"}, "outcome": "error", "class": "GenericError"}),
        json!({"command": "guest-get-time", "arguments": [], "values": {}, "unexpected": 1, "outcome": "refused", "by": "policy", "class": "CommandNotFound"}),
        unknown(json!("guest-no-such"), 2),
        unknown(json!(format!("guest-{}", "x".repeat(58))), 0),
        unknown(json!(null), 0),
        malformed.clone(),
        malformed.clone(),
        malformed.clone(),
        malformed,
    ];
    assert_eq!(lines(&agent, expected.len()), expected);
    let text = fs::read_to_string(file(&agent)).unwrap();
    assert!(!text.to_lowercase().contains("secret") && !text.contains("c2VjcmV0"), "{text}");
}

#[test]
fn what_is_refused_within_a_command_is_told_so() {
    let rules = "[policy.exec]\nallow = [{ program = \"/usr/bin/uptime\" }]\n";
    let Some(agent) = configured(rules, |setup| setup) else { return };
    agent.client().refused("guest-exec", json!({"path": "/bin/ls", "arg": ["secret"]})).unwrap();
    let expected = json!({"command": "guest-exec", "arguments": ["path", "arg"], "values": {"path": "/bin/ls"}, "outcome": "refused", "by": "limits", "class": "GenericError"});
    assert_eq!(lines(&agent, 1), [expected]);
}

/// A member stands where it stands in every line, for whoever reads them by eye.
#[test]
fn members_have_an_order_and_the_file_one_reader() {
    use std::os::unix::fs::PermissionsExt;
    let Some(agent) = audited(|setup| setup) else { return };
    agent.client().refused("guest-file-close", json!({"handle": 7, "x": 1})).unwrap();
    lines(&agent, 1);
    let text = fs::read_to_string(file(&agent)).unwrap();
    let line: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    let names: Vec<_> = line.keys().collect();
    assert_eq!(
        names,
        [
            "time",
            "channel",
            "callers",
            "command",
            "arguments",
            "values",
            "unexpected",
            "outcome",
            "class",
            "duration-us"
        ]
    );
    assert_eq!(fs::metadata(file(&agent)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn large_arguments_are_looked_through_and_not_kept() {
    let Some(agent) = audited(|setup| setup) else { return };
    let mut client = agent.client();
    let path = "p".repeat(1 << 20);
    client.refused("guest-file-open", json!({"path": path, "mode": "r"})).unwrap();
    client
        .refused("guest-file-write", json!({"buf-b64": "A".repeat(6 << 20), "handle": 5, "zzz": {"a": [1]}}))
        .unwrap();
    let expected = [
        json!({"command": "guest-file-open", "arguments": ["path", "mode"], "values": {"path": "p".repeat(256), "mode": "r"}, "cut": ["path"], "outcome": "error", "class": "GenericError"}),
        json!({"command": "guest-file-write", "arguments": ["buf-b64", "handle"], "values": {"handle": 5}, "unexpected": 1, "outcome": "error", "class": "GenericError"}),
    ];
    assert_eq!(lines(&agent, 2), expected);
}

#[test]
fn what_was_asked_before_the_end_is_there_after_it() {
    let Some(agent) = audited(|setup| setup) else { return };
    let mut client = agent.client();
    for id in 0..100 {
        client.run("guest-sync", json!({"id": id})).unwrap();
    }
    let agent = agent.restart(Signal::SIGTERM);
    let lines = lines(&agent, 100);
    assert!(lines.iter().enumerate().all(|(id, line)| line["values"]["id"] == json!(id)), "{lines:?}");
}

/// A password may have been changed by a command that the end found at work.
#[test]
fn what_was_under_way_at_the_end_is_told_too() {
    let hangs = |setup: Setup| {
        let path = setup.dir().join("os-release");
        // Opened for reading it waits for a writer.
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        setup.env("QGA_OS_RELEASE", path.to_str())
    };
    let Some(mut agent) = audited(hangs) else { return };
    let mut client = agent.client();
    client.send("{\"execute\":\"guest-get-osinfo\"}\n").unwrap();
    agent.until("its being called", |agent| agent.log().contains("called command=\"guest-get-osinfo\""));
    agent.signal(Signal::SIGTERM);
    agent.await_end();
    assert_eq!(
        lines(&agent, 1),
        [json!({"command": "guest-get-osinfo", "arguments": [], "values": {}, "outcome": "abandoned"})]
    );
}

/// Whole lines, the oldest, and all but the last few, which were on their way.
#[test]
fn a_killed_agent_loses_only_what_was_queued() {
    let Some(agent) = audited(|setup| setup) else { return };
    let mut client = agent.client();
    for id in 0..50 {
        client.run("guest-sync", json!({"id": id})).unwrap();
    }
    agent.until("the audit's lines", |agent| fs::read_to_string(file(agent)).unwrap().lines().count() == 50);
    let agent = agent.restart(Signal::SIGKILL);
    assert_eq!(lines(&agent, 50)[49]["values"], json!({"id": 49}));
}

#[test]
fn an_audit_that_cannot_be_written_stops_nobody() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let setup = program.setup();
    let config = setup.dir().join("agent.toml");
    fs::write(&config, "[audit]\nfile = \"/dev/full\"\n").unwrap();
    let agent = setup.options(["-c".into(), config]).start();
    let mut client = agent.client();
    for id in 0..1000 {
        client.run("guest-sync", json!({"id": id})).unwrap();
    }
}

#[test]
fn an_audit_file_that_cannot_be_opened_ends_it_with_one() {
    let Some(program) = Some(program()).filter(Program::is_waga) else { return };
    let setup = program.setup();
    let config = setup.dir().join("agent.toml");
    fs::write(&config, "[audit]\nfile = \"/nonexistent/folder/audit\"\n").unwrap();
    let (status, said) = setup.options(["-c".into(), config]).fails();
    assert!(status.code() == Some(1) && said.contains("audit file /nonexistent/folder/audit"), "{said}");
}
