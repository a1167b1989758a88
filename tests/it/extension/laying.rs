//! Commands laid over others: what takes a command's place, what runs around it, in which order, and what is done where that fails.

use serde_json::{Value, json};
use waga_tests::component::component;

use super::hostile::in_step;
use super::{agent, disabled, failure, settled, setup, told};

/// A component whose handler has these commands, and answers with what this code leaves at 16: a `result<string, error>`. `$at` and
/// `$length` are where the arguments are; `next` gives what is below into 16.
pub(super) fn handler(commands: &[&str], data: &[(u32, &str)], code: &str) -> Vec<u8> {
    let mut listed = String::new();
    let mut names = String::new();
    for (number, name) in commands.iter().enumerate() {
        let at = 4096 + 128 * number;
        names += &format!("(data (i32.const {at}) \"{name}\")");
        let entry = 1024 + 8 * number;
        listed += &format!(
            "(i32.store (i32.const {entry}) (i32.const {at})) (i32.store (i32.const {}) (i32.const {}))",
            entry + 4,
            name.len()
        );
    }
    for (at, text) in data {
        names += &format!("(data (i32.const {at}) \"{}\")", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let wat = format!(
        r#"(import "waga:extension/next@1.0.0" "next" (func $next (param i32 i32 i32)))
           (import "waga:extension/call@1.0.0" "call" (func $call (param i32 i32 i32 i32 i32)))
           {names}
           (func (export "waga:extension/handler@1.0.0#commands") (result i32)
                {listed}
                (i32.store8 (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 1024))
                (i32.store (i32.const 8) (i32.const {})) (i32.const 0))
           (func $answer (param $at i32) (param $length i32)
                (i32.store8 (i32.const 16) (i32.const 0))
                (i32.store (i32.const 20) (local.get $at)) (i32.store (i32.const 24) (local.get $length)))
           (func (export "waga:extension/handler@1.0.0#handle") (param i32 i32) (param $at i32) (param $length i32) (result i32)
                {code} (i32.const 16))"#,
        commands.len()
    );
    let wit = "package test:it; world w { import waga:extension/next@1.0.0; import waga:extension/call@1.0.0; export waga:extension/handler@1.0.0; }";
    component(wit, &wat)
}

/// Passes on what it is given, and what comes back.
const PASS: &str = "(call $next (local.get $at) (local.get $length) (i32.const 16))";

/// Answers with this text.
pub(super) fn says(command: &str, text: &str) -> Vec<u8> {
    handler(
        &[command],
        &[(8192, text)],
        &format!("(call $answer (i32.const 8192) (i32.const {}))", text.len()),
    )
}

/// Lays `text` around what is below: only its own text, if there is none.
fn around(command: &str, text: &str) -> Vec<u8> {
    let (before, after) = (format!("{{\"{text}\": "), "}");
    // The pieces one after another, at 16384.
    let code = format!(
        "(call $next (local.get $at) (local.get $length) (i32.const 16))
         (if (i32.eqz (i32.load8_u (i32.const 16))) (then
            (memory.copy (i32.const 16384) (i32.const 8192) (i32.const {0}))
            (memory.copy (i32.const {1}) (i32.load (i32.const 20)) (i32.load (i32.const 24)))
            (memory.copy (i32.add (i32.const {1}) (i32.load (i32.const 24))) (i32.const 8960) (i32.const 1))
            (call $answer (i32.const 16384) (i32.add (i32.const {2}) (i32.load (i32.const 24))))))",
        before.len(),
        16384 + before.len(),
        before.len() + 1
    );
    handler(&[command], &[(8192, &before), (8960, after)], &code)
}

pub(super) const GRANT: &str = "commands = ['guest-get-host-name']";

fn mode(extension: &Value, command: &str) -> (Value, Value, Value) {
    let commands = extension["commands"].as_array().unwrap();
    let found = commands.iter().find(|it| it["name"] == command).unwrap();
    (found["mode"].clone(), found["enabled"].clone(), found["reason"].clone())
}

#[test]
fn an_override_takes_the_place_and_a_wrap_runs_around_it() {
    let name = "guest-get-host-name";
    let over = format!("override = ['{name}']\n{GRANT}");
    let wrap = format!("wrap = ['{name}']\n{GRANT}");
    let Some(agent) = agent(&[
        ("outer", &handler(&[name], &[], PASS), &wrap),
        ("over", &says(name, r#"{"host-name": "over", "new": 1}"#), &over),
        ("late", &says(name, r#"{"host-name": "late"}"#), &format!("{over}\non-failure = 'builtin'")),
    ]) else {
        return;
    };
    let mut client = agent.client();
    assert_eq!(client.run(name, json!({})).unwrap(), json!({"host-name": "over", "new": 1}));
    assert_eq!(mode(&told(&mut client, "outer"), name), (json!("wrap"), json!(true), Value::Null));
    assert_eq!(mode(&told(&mut client, "over"), name), (json!("override"), json!(true), Value::Null));
    let late = (json!("override"), json!(false), json!("extension over overrides it"));
    assert_eq!(mode(&told(&mut client, "late"), name), late);
    assert_eq!(told(&mut client, "outer")["calls"], 1);
    assert_eq!(told(&mut client, "over")["calls"], 1);
    assert_eq!(told(&mut client, "late")["calls"], 0);
    // What clients see of it is what it was: once in the list, and with the builtin's arguments.
    let info = client.run("guest-info", json!({})).unwrap();
    let named = info["supported_commands"].as_array().unwrap().iter().filter(|it| it["name"] == name);
    assert_eq!(named.count(), 1);
    in_step(&agent);
}

#[test]
fn wraps_stand_in_the_order_of_the_file_the_first_outermost() {
    let (added, lines) = ("guest-test-x", format!("wrap = ['guest-test-x']\n{GRANT}"));
    let Some(agent) = agent(&[
        ("one", &around(added, "one"), &lines),
        ("base", &says(added, r#""x""#), GRANT),
        ("two", &around(added, "two"), &lines),
        ("three", &around(added, "three"), &lines),
    ]) else {
        return;
    };
    let mut client = agent.client();
    let nested = json!({"one": {"two": {"three": "x"}}});
    assert_eq!(client.run(added, json!({"whatever": [1, 2]})).unwrap(), nested);
    in_step(&agent);
}

#[test]
fn what_passes_through_next_stays_the_clients() {
    let (exec, status) = ("guest-exec", "guest-exec-status");
    let Some(agent) =
        agent(&[("watch", &handler(&[exec], &[], PASS), &format!("wrap = ['{exec}']\n{GRANT}"))])
    else {
        return;
    };
    let mut client = agent.client();
    let started =
        client.run(exec, json!({"path": "/bin/echo", "arg": ["a b"], "capture-output": true})).unwrap();
    let ended = loop {
        let told = client.run(status, json!({"pid": started["pid"]})).unwrap();
        if told["exited"] == true {
            break told;
        }
    };
    assert_eq!((&ended["exitcode"], &ended["out-data"]), (&json!(0), &json!("YSBiCg==")));
    // Its errors are the command's own.
    let (class, desc) = client.refused(exec, json!({"path": "/no/such"})).unwrap();
    assert_eq!(class, "GenericError");
    assert!(desc.contains("/no/such"), "{desc}");
    assert_eq!(client.refused(exec, json!({})).unwrap().1, "Parameter 'path' is missing");
    in_step(&agent);
}

#[test]
fn a_reply_that_clients_do_not_know_is_none() {
    let (name, time) = ("guest-get-host-name", "guest-get-time");
    let over = |name: &str| format!("override = ['{name}']\n{GRANT}");
    let Some(agent) = agent(&[
        ("name", &says(name, r#"{"host": "x"}"#), &over(name)),
        ("time", &says(time, r#""soon""#), &over(time)),
    ]) else {
        return;
    };
    let mut client = agent.client();
    assert_eq!(
        failure(&mut client, name, json!({})),
        "extension name: guest-get-host-name gave no valid answer in the place of the agent's own: it has no member 'host-name'"
    );
    assert_eq!(
        failure(&mut client, time, json!({})),
        "extension time: guest-get-time gave no valid answer in the place of the agent's own: it is no integer"
    );
    in_step(&agent);
}

#[test]
fn a_function_that_is_laid_over_a_command_has_to_be_like_it() {
    let typed = |command: &str, function: &str, wat: &str| {
        let wit = format!(
            "package test:it; interface i {{ record r {{ host-name: string }} {command}: {function}; }} world w {{ export i; }}"
        );
        component(&wit, &format!("(func (export \"test:it/i#{command}\") {wat})"))
    };
    let name = "guest-get-host-name";
    let right = typed(
        name,
        "func() -> r",
        "(result i32) (i32.store (i32.const 8) (i32.const 64)) (i32.store (i32.const 12) (i32.const 4)) (i32.const 8)) (data (i32.const 64) \"wasm\"",
    );
    let zone =
        typed("guest-get-timezone", "func(zone: string) -> r", "(param i32 i32) (result i32) (i32.const 8)");
    let time = typed("guest-get-time", "func() -> u32", "(result i32) (i32.const 8)");
    let Some(agent) = agent(&[
        ("right", &right, &format!("override = ['{name}']")),
        ("zone", &zone, "override = ['guest-get-timezone']"),
        ("time", &time, "override = ['guest-get-time']"),
        ("none", &time, "wrap = ['guest-get-users']"),
        ("nobody", &time, "wrap = ['guest-acme-x']\nadd = []"),
    ]) else {
        return;
    };
    let mut client = agent.client();
    assert_eq!(client.run(name, json!({})).unwrap(), json!({"host-name": "wasm"}));
    let zone = "extension zone: argument 'zone': no client gives it, so it has to be an option";
    assert_eq!(disabled(&mut client, "guest-get-timezone"), zone);
    // A narrower number is one that clients know.
    assert_eq!(client.run("guest-get-time", json!({})).unwrap(), 8);
    assert_eq!(disabled(&mut client, "guest-get-users"), "extension none: its component has no such command");
    let nobody = told(&mut client, "nobody");
    assert_eq!(
        mode(&nobody, "guest-acme-x"),
        (json!("wrap"), json!(false), json!("there is no such command to be laid over"))
    );
    assert_eq!(client.refused("guest-acme-x", json!({})).unwrap().0, "CommandNotFound");
    in_step(&agent);
}

/// Nothing to load, a trap, a rest, a reply that is none: each with each of the operator's words for it.
#[test]
fn where_it_fails_the_operator_says_what_is_done() {
    let name = "guest-get-host-name";
    let trap = handler(&[name], &[], "unreachable");
    let breach = says(name, "{}");
    let lines = |word: &str| format!("wrap = ['{name}']\non-failure = '{word}'\n{GRANT}");
    for (word, what, component) in [
        ("error", "trap", &trap),
        ("builtin", "trap", &trap),
        ("builtin-always", "trap", &trap),
        ("builtin-always", "breach", &breach),
        ("error", "missing", &trap),
        ("builtin", "missing", &trap),
        ("builtin-always", "missing", &trap),
    ] {
        let Some(setup) = setup(&[("bad", component, &lines(word))]) else { return };
        if what == "missing" {
            std::fs::remove_file(setup.dir().join("bad.wasm")).unwrap();
        }
        let agent = setup.start();
        settled(&agent, "bad");
        let mut client = agent.client();
        let serves = word == "builtin-always" || (word == "builtin" && what == "missing");
        let info = client.run("guest-info", json!({})).unwrap();
        let named = info["supported_commands"].as_array().unwrap().iter().find(|it| it["name"] == name);
        assert_eq!(named.unwrap()["enabled"], what != "missing" || serves, "{word} {what}");
        // Also while it rests.
        for _ in 0..5 {
            let answer = client.ask(&json!({"execute": name})).unwrap();
            assert_eq!(answer["return"]["host-name"].is_string(), serves, "{word} {what}: {answer}");
        }
        in_step(&agent);
    }
}

/// Each may be there to restrict the command, so what is below serves nobody, unless the operator says so.
#[test]
fn a_second_override_and_a_ninth_wrap_let_nobody_past() {
    let (name, added) = ("guest-get-host-name", "guest-test-x");
    let (pass, base) = (handler(&[added], &[], PASS), says(added, r#""x""#));
    let over = format!("override = ['{name}']\n{GRANT}");
    let wrap = format!("wrap = ['{added}']\n{GRANT}");
    let wraps: Vec<String> = (1..=9).map(|number| format!("wrap-{number}")).collect();
    for (word, serves) in [("error", false), ("builtin", true), ("builtin-always", true)] {
        let last = |lines: &str| format!("{lines}\non-failure = '{word}'");
        let (early, late) = (says(name, r#"{"host-name": "over"}"#), says(name, r#"{"host-name": "late"}"#));
        let (late_lines, ninth) = (last(&over), last(&wrap));
        let mut all: Vec<(&str, &[u8], &str)> =
            vec![("over", &early, &over), ("late", &late, &late_lines), ("base", &base, GRANT)];
        all.extend(
            wraps.iter().map(|wrap_name| {
                (&**wrap_name, &*pass, if wrap_name == "wrap-9" { &*ninth } else { &*wrap })
            }),
        );
        let Some(agent) = agent(&all) else { return };
        let mut client = agent.client();
        for (command, extension, answer, reason) in [
            (name, "late", json!({"host-name": "over"}), "extension over overrides it"),
            (added, "wrap-9", json!("x"), "8 extensions wrap it, and that is the most"),
        ] {
            if serves {
                assert_eq!(client.run(command, json!({})).unwrap(), answer);
            } else {
                assert_eq!(disabled(&mut client, command), format!("extension {extension}: {reason}"));
            }
            let (_, enabled, told_reason) = mode(&told(&mut client, extension), command);
            assert_eq!((enabled, told_reason), (json!(false), json!(reason)));
            let info = client.run("guest-info", json!({})).unwrap();
            let named =
                info["supported_commands"].as_array().unwrap().iter().find(|it| it["name"] == command);
            assert_eq!(named.unwrap()["enabled"], serves, "{word} {command}");
            // Whom it concerns is told, with the way out.
            let warning = format!("extension {extension}: is not laid over {command} ({reason})");
            assert!(agent.log().contains(&warning), "{}", agent.log());
        }
        // None of the eight is run for what the ninth refuses; and all other commands are as they were.
        assert_eq!(told(&mut client, "wrap-1")["calls"], u64::from(serves));
        assert!(client.run("guest-get-osinfo", json!({})).unwrap()["id"].is_string());
        in_step(&agent);
    }
}

#[test]
fn a_command_with_nothing_below_it_is_told_so() {
    let Some(agent) = agent(&[("x", &handler(&["guest-test-x"], &[], PASS), GRANT)]) else { return };
    let mut client = agent.client();
    assert_eq!(client.refused("guest-test-x", json!({})).unwrap().1, "there is nothing below guest-test-x");
    in_step(&agent);
}
