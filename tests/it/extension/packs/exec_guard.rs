//! `exec-guard` around the real `guest-exec`: what passes, what does not, and how often, whoever comes and however.

use std::fs;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use toml::Table;
use waga_tests::agent::{Agent, Setup};
use waga_tests::client::Client;

use super::super::hostile::in_step;
use super::super::{failure, told};
use super::{config, started, table, with};

const EXEC: &str = "guest-exec";

fn guarded(settings: Value) -> Option<Setup> {
    let mut own = table("exec-guard");
    own.insert("config".into(), config(settings));
    with(&[("exec-guard", own)], &[])
}

fn agent(settings: Value) -> Option<Agent> {
    Some(started(guarded(settings)?, &["exec-guard"]))
}

/// What a program that was let through wrote.
fn output(client: &mut Client, arguments: Value) -> String {
    let pid = client.run(EXEC, arguments).unwrap()["pid"].clone();
    loop {
        let told = client.run("guest-exec-status", json!({"pid": pid})).unwrap();
        if told["exited"] == true {
            let bytes = STANDARD.decode(told["out-data"].as_str().unwrap_or_default()).unwrap();
            return String::from_utf8(bytes).unwrap();
        }
        thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn echo(words: &[&str]) -> Value {
    json!({"path": "/bin/echo", "arg": words, "capture-output": true})
}

#[test]
fn what_is_allowed_passes_as_it_came_and_nothing_else_does() {
    let Some(agent) = agent(json!({"allow": [
        {"program": "/bin/echo", "args": ["a*", "?"]},
        {"program": "/usr/bin/wc", "args": ["-c"], "input": true},
        {"program": "/usr/bin/env", "env": ["ONE", "TWO"]},
    ]})) else {
        return;
    };
    let mut client = agent.client();
    assert_eq!(output(&mut client, echo(&["a \"b\" ü", "é"])), "a \"b\" ü é\n");
    assert_eq!(output(&mut client, echo(&["a; id", "$"])), "a; id $\n");
    // As it came, however much that is: three quarters of what a message may hold.
    let input = STANDARD.encode(vec![b'x'; 2_300_000]);
    let wc =
        json!({"path": "/usr/bin/wc", "arg": ["-c"], "input-data": input, "capture-output": "separated"});
    assert_eq!(output(&mut client, wc).trim(), "2300000");
    let env = json!({"path": "/usr/bin/env", "env": ["TWO=2", "ONE=a=b"], "capture-output": true});
    assert_eq!(output(&mut client, env), "TWO=2\nONE=a=b\n");

    for (arguments, expected) in [
        (json!({"path": "/bin/sh", "arg": ["-c", "id"]}), "does not allow '/bin/sh'"),
        (echo(&["b", "c"]), "does not allow these arguments of '/bin/echo'"),
        (echo(&["a", "bc"]), "does not allow these arguments of '/bin/echo'"),
        (echo(&["a", "b", "c"]), "does not allow these arguments of '/bin/echo'"),
        (echo(&["a\0", "b"]), "does not allow a NUL in the request"),
        (json!({"path": "/bin/echo"}), "does not allow these arguments of '/bin/echo'"),
        (
            json!({"path": "echo", "arg": ["a", "b"]}),
            "does not allow 'echo': programs are named by their whole path",
        ),
        (json!({"path": "/bin/../bin/echo", "arg": ["a", "b"]}), "does not allow '/bin/../bin/echo'"),
        (json!({"path": "/bin//echo", "arg": ["a", "b"]}), "does not allow '/bin//echo'"),
        (json!({"path": "/bin/ECHO", "arg": ["a", "b"]}), "does not allow '/bin/ECHO'"),
        (json!({"path": "/bin/echo\0", "arg": ["a", "b"]}), "does not allow a NUL in the request"),
        (
            json!({"path": "/bin/echo", "arg": ["a", "b"], "input-data": "eA=="}),
            "does not allow input-data for '/bin/echo'",
        ),
        (
            json!({"path": "/usr/bin/env", "env": ["ONE=1", "LD_PRELOAD=/tmp/x.so"]}),
            "does not allow the variable 'LD_PRELOAD' for '/usr/bin/env'",
        ),
        (
            json!({"path": "/usr/bin/env", "env": ["ONE=1", "ONE=2"]}),
            "does not allow the variable 'ONE' for '/usr/bin/env'",
        ),
        (
            json!({"path": "/usr/bin/env", "unknown": 1}),
            "does not understand the request: unknown field `unknown`, expected one of `path`, `arg`, `env`, `input-data`, \
             `capture-output` at line 1 column 32",
        ),
    ] {
        assert_eq!(failure(&mut client, EXEC, arguments), format!("exec-guard {expected}"));
    }
    // What is below it has its own words, as without a guard.
    let missing = json!({"path": "/usr/bin/wc", "arg": ["-c"], "input-data": "?"});
    let said = failure(&mut client, EXEC, missing);
    assert!(!said.contains("exec-guard"), "{said}");
    // The log has programs and reasons, and no arguments, which may be secrets.
    agent.until("its words in the log", |agent| agent.log().contains("refused: does not allow '/bin/sh'"));
    assert!(!agent.log().contains("a; id") && !agent.log().contains("/tmp/x.so"), "{}", agent.log());
    assert_eq!(told(&mut client, "exec-guard")["failures"], 0);
    in_step(&agent);
}

/// However a request is made, it is not taken for another one by the guard than by the agent, and it costs the guard little.
#[test]
fn hostile_requests_are_refused_and_cost_little() {
    let slow = format!("*{}b", "a".repeat(60));
    let Some(agent) = agent(json!({"allow": [
        {"program": "/bin/true"},
        {"program": "/bin/echo", "args": [slow, slow, "**"]},
    ]})) else {
        return;
    };
    let mut client = agent.client();
    let mut raw = |arguments: &str| {
        client.send(format!("{{\"execute\": \"{EXEC}\", \"arguments\": {arguments}}}\n")).unwrap();
        let line = client.line().unwrap().unwrap();
        let answer: Value = serde_json::from_slice(&line).unwrap();
        assert!(answer.get("error").is_some(), "{answer} {arguments:.100}");
        answer["error"]["desc"].as_str().unwrap().to_owned()
    };
    for arguments in [
        r#"{"path": "/bin/true", "path": "/bin/sh"}"#,
        r#"{"path": "/bin/sh", "path": "/bin/true"}"#,
        r#"{"path": "/bin/true", "p\u0061th": "/bin/sh"}"#,
        r#"{"path": "/bin/true", "arg": [], "arg": ["x"]}"#,
        r#"{"path": "/bin/true", "PATH": "/bin/sh"}"#,
        r#"{"path": "/bin/true", "arg": {"0": "x"}}"#,
        r#"{"path": ["/bin/true"]}"#,
        r#"{"path": null}"#,
        r#"{"path": "/bin/tru\ud800e"}"#,
        r#"{"path": "/bin/true", "arg": [null]}"#,
        r#"{"path": "\/bin\/true\u0000"}"#,
        "{}",
    ] {
        raw(arguments);
    }
    let many = vec!["\"\""; 1_000_000].join(",");
    let too_much = "exec-guard does not understand the request: it is too much to be looked at";
    assert!(raw(&format!("{{\"path\": \"/bin/echo\", \"arg\": [{many}]}}")).starts_with(too_much));
    let long = "a".repeat(3_900_000);
    assert!(raw(&format!("{{\"path\": \"/bin/echo\", \"arg\": [\"{long}\"]}}")).starts_with(too_much));
    assert!(raw(&format!("{{\"path\": \"/{long}\"}}")).starts_with("exec-guard does not allow '/aaa"));
    // What takes longest to find out: a pattern that nearly fits everywhere.
    let nearly = "a".repeat(127_000);
    let before = told(&mut agent.client(), "exec-guard")["cpu-us"].as_u64().unwrap();
    assert_eq!(
        raw(&format!("{{\"path\": \"/bin/echo\", \"arg\": [\"{nearly}\", \"{nearly}\"]}}")),
        "exec-guard does not allow these arguments of '/bin/echo'"
    );
    let told = told(&mut agent.client(), "exec-guard");
    let cpu = told["cpu-us"].as_u64().unwrap() - before;
    assert!(cpu < 250_000, "{cpu}");
    assert_eq!(told["failures"], 0, "{told}");
    in_step(&agent);
}

#[test]
fn a_rate_holds_over_restarts_and_counts_what_was_started() {
    let Some(agent) = agent(json!({
        "allow": [
            {"program": "/bin/true", "rate": {"calls": 3, "seconds": 86400}},
            {"program": "/bin/false"},
            {"program": "/no/such", "rate": {"calls": 1, "seconds": 86400}},
        ],
        "rate": {"calls": 5, "seconds": 86400},
    })) else {
        return;
    };
    let run = |agent: &Agent, path: &str| agent.client().run(EXEC, json!({"path": path})).map(|_| ());
    run(&agent, "/bin/true").unwrap();
    // What is refused, or does not start, is not counted.
    for _ in 0..4 {
        failure(&mut agent.client(), EXEC, json!({"path": "/bin/sh"}));
        let said = failure(&mut agent.client(), EXEC, json!({"path": "/no/such"}));
        assert!(said.contains("Failed to execute child process"), "{said}");
    }
    run(&agent, "/bin/true").unwrap();
    let agent = agent.restart(Signal::SIGKILL);
    run(&agent, "/bin/true").unwrap();
    let said = failure(&mut agent.client(), EXEC, json!({"path": "/bin/true"}));
    let (start, wait) = said.rsplit_once("try again in ").unwrap();
    assert_eq!(start, "exec-guard allows '/bin/true' 3 times in 86400 seconds: ");
    let wait: u64 = wait.strip_suffix(" s").unwrap().parse().unwrap();
    assert!(wait > 86000 && wait <= 86400, "{wait}");
    // Two more of all.
    run(&agent, "/bin/false").unwrap();
    run(&agent, "/bin/false").unwrap();
    let said = failure(&mut agent.client(), EXEC, json!({"path": "/bin/false"}));
    assert!(said.starts_with("exec-guard allows any program 5 times in 86400 seconds: "), "{said}");
    // A rate that is changed is one of the same program: what was started stays counted.
    let path = agent.dir().join("agent.toml");
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("calls = 5", "calls = 6")
        .replace("calls = 3", "calls = 4");
    fs::write(&path, text).unwrap();
    let agent = agent.restart(Signal::SIGTERM);
    run(&agent, "/bin/true").unwrap();
    let said = failure(&mut agent.client(), EXEC, json!({"path": "/bin/true"}));
    assert!(said.starts_with("exec-guard allows '/bin/true' 4 times"), "{said}");
}

/// One after another, as its `pack.toml` has it; and side by side, where each of those that are looked at together may be the last one.
#[test]
fn of_many_at_once_as_many_pass_as_a_rate_allows() {
    let settings = json!({"allow": [{"program": "/bin/true", "rate": {"calls": 5, "seconds": 86400}}]});
    for (side_by_side, most) in [(1, 5), (4, 8)] {
        let mut own = table("exec-guard");
        own.insert("config".into(), config(settings.clone()));
        own["limits"].as_table_mut().unwrap().insert("concurrency".into(), side_by_side.into());
        let Some(setup) = with(&[("exec-guard", own)], &[]) else { return };
        let agent = started(setup, &["exec-guard"]);
        let passed: usize = thread::scope(|scope| {
            let clients: Vec<_> = (0..16)
                .map(|_| {
                    let mut client = agent.client();
                    scope.spawn(move || {
                        (0..3).filter(|_| client.run(EXEC, json!({"path": "/bin/true"})).is_ok()).count()
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        assert!((5..=most).contains(&passed), "{side_by_side}: {passed}");
        assert_eq!(told(&mut agent.client(), "exec-guard")["failures"], 0);
    }
}

/// A guard that cannot be asked lets nobody past; and what the agent's own policy refuses stays refused below one that allows it.
#[test]
fn it_fails_closed_and_the_policy_holds_below_it() {
    for (settings, expected) in [
        (json!({"allowed": []}), "unknown field `allowed`, expected `allow` or `rate` at line 1 column 10"),
        (json!({"allow": [{"program": "true"}]}), "'true' is not the whole, plain path of a program"),
        (
            json!({"allow": [{"program": "/bin/true"}], "rate": {"calls": 0, "seconds": 1}}),
            "rate: calls = 0, seconds = 1",
        ),
    ] {
        let Some(agent) = agent(settings) else { return };
        let said = failure(&mut agent.client(), EXEC, json!({"path": "/bin/true"}));
        assert!(said.starts_with(&format!("exec-guard allows nothing: config: {expected}")), "{said}");
    }
    let settings = json!({"allow": [{"program": "/bin/true", "args": ["**"]}]});
    let Some(setup) = guarded(settings) else { return };
    let path = setup.dir().join("agent.toml");
    let mut text: Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    text.insert(
        "policy".into(),
        config(json!({"exec": {"allow": [{"program": "/bin/true", "args": ["a"]}]}})),
    );
    // A module that traps, and one that is not there.
    let own = text["extension"]["exec-guard"].as_table_mut().unwrap();
    own["limits"].as_table_mut().unwrap().insert("host-calls".into(), 1.into());
    fs::write(&path, text.to_string()).unwrap();
    let trapping = started(setup, &["exec-guard"]);
    let said = failure(&mut trapping.client(), EXEC, json!({"path": "/bin/true", "arg": ["a"]}));
    assert_eq!(said, "extension exec-guard: guest-exec called the agent too often (limits.host-calls = 1)");
    let text = text.to_string().replace("host-calls = 1", "host-calls = 100");
    fs::write(trapping.dir().join("agent.toml"), text).unwrap();
    let agent = trapping.restart(Signal::SIGTERM);
    agent.client().run(EXEC, json!({"path": "/bin/true", "arg": ["a"]})).unwrap();
    let said = failure(&mut agent.client(), EXEC, json!({"path": "/bin/true", "arg": ["b"]}));
    assert_eq!(said, "guest-exec: the policy does not allow these arguments of '/bin/true'");
    fs::remove_file(agent.dir().join("exec-guard.wasm")).unwrap();
    let agent = agent.restart(Signal::SIGTERM);
    let (class, desc) = agent.client().refused(EXEC, json!({"path": "/bin/true", "arg": ["a"]})).unwrap();
    assert!(class == "CommandNotFound" && desc.contains("there is no such file"), "{desc}");
}
