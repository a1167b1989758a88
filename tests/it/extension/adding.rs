//! Commands that are added: called, listed, kept from one start to the next, and refused by name where they must not be.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use waga_tests::component::component;

use super::{agent, disabled, failure, settled, setup, told};

/// Doubles a number.
fn double() -> Vec<u8> {
    component(
        "package test:it; interface i { guest-test-double: func(number: u32) -> u32; } world w { export i; }",
        r#"(func (export "test:it/i#guest-test-double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))"#,
    )
}

fn listed(client: &mut waga_tests::client::Client, name: &str) -> Value {
    let info = client.run("guest-info", json!({})).unwrap();
    let commands = info["supported_commands"].as_array().unwrap();
    commands.iter().find(|command| command["name"] == name).cloned().unwrap_or(Value::Null)
}

#[test]
fn a_command_is_added_and_called_at_once() {
    let lines = "add = ['guest-test-double']\nlimits = { time = '60s' }";
    let Some(setup) = setup(&[("double", &double(), lines)]) else { return };
    let agent = setup.start();
    let mut client = agent.client();
    // Nothing was compiled before: the first call waits for that.
    assert_eq!(client.run("guest-test-double", json!({"number": 21})).unwrap(), 42);
    let entry = listed(&mut client, "guest-test-double");
    assert_eq!(entry, json!({"enabled": true, "name": "guest-test-double", "success-response": true}));
    for (arguments, expected) in [
        (json!({}), "Parameter 'number' is missing"),
        (json!({"number": -1}), "Parameter 'number' expects uint32"),
        (json!({"number": 1, "x": 2}), "Parameter 'x' is unexpected"),
    ] {
        assert_eq!(failure(&mut client, "guest-test-double", arguments), expected);
    }
    let told = told(&mut client, "double");
    assert_eq!(told["state"], "ready");
    assert_eq!(told["calls"], 4);
    assert_eq!(told["failures"], 0);
    assert_eq!(told["commands"], json!([{"name": "guest-test-double", "mode": "add", "enabled": true}]));
    assert_eq!(told["runtime"], "native");
    assert_eq!(told["digest"].as_str().unwrap().len(), 64);
}

#[test]
fn what_was_compiled_serves_the_next_start_and_a_changed_module_does_not() {
    let Some(setup) = setup(&[("double", &double(), "limits = { time = '60s' }")]) else { return };
    let agent = setup.start();
    settled(&agent, "double");
    assert_eq!(agent.client().run("guest-test-double", json!({"number": 1})).unwrap(), 2);
    let compiled = || agent_log(&agent).matches("compiling").count();
    assert_eq!(compiled(), 1);
    let agent = agent.restart(Signal::SIGTERM);
    let mut client = agent.client();
    // Known from its description before anything is loaded.
    assert_eq!(told(&mut client, "double")["state"], "ready");
    assert_eq!(told(&mut client, "double")["runtime"], Value::Null);
    assert_eq!(client.run("guest-test-double", json!({"number": 2})).unwrap(), 4);
    assert_eq!(agent_log(&agent).matches("compiling").count(), 1, "{}", agent.log());
    // One byte of what was compiled is another: it is not run, but compiled again.
    let agent = damaged(agent, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let agent = damaged(agent, |bytes| bytes.truncate(100));
    let agent = damaged(agent, |bytes| bytes.fill(b'x'));
    // A new module in the place of the old one is found out about at its first call.
    let module = agent.dir().join("double.wasm");
    let triple = component(
        "package test:it; interface i { guest-test-double: func(number: u32) -> u32; } world w { export i; }",
        r#"(func (export "test:it/i#guest-test-double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))"#,
    );
    let agent = agent.restart(Signal::SIGTERM);
    fs::write(&module, triple).unwrap();
    assert_eq!(agent.client().run("guest-test-double", json!({"number": 2})).unwrap(), 6);
}

/// Restarts it with something else in the place of each artifact, which must change nothing.
fn damaged(agent: waga_tests::agent::Agent, damage: impl Fn(&mut Vec<u8>)) -> waga_tests::agent::Agent {
    let before = agent_log(&agent).matches("compiling").count();
    for entry in fs::read_dir(agent.dir().join("cache")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "cwasm") {
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
        }
    }
    let agent = agent.restart(Signal::SIGTERM);
    assert_eq!(agent.client().run("guest-test-double", json!({"number": 2})).unwrap(), 4);
    assert_eq!(agent_log(&agent).matches("compiling").count(), before + 1, "{}", agent.log());
    agent
}

fn agent_log(agent: &waga_tests::agent::Agent) -> String {
    agent.log()
}

#[test]
fn damaged_descriptions_are_made_again() {
    let Some(setup) = setup(&[("double", &double(), "")]) else { return };
    let mut agent = setup.start();
    settled(&agent, "double");
    assert_eq!(agent.client().run("guest-test-double", json!({"number": 1})).unwrap(), 2);
    for contents in [&b""[..], b"{", b"\xff\xfe random", b"[]", &[b'['; 10_000]] {
        for entry in fs::read_dir(agent.dir().join("cache")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                fs::write(&path, contents).unwrap();
            }
        }
        agent = agent.restart(Signal::SIGTERM);
        settled(&agent, "double");
        assert_eq!(agent.client().run("guest-test-double", json!({"number": 2})).unwrap(), 4);
    }
}

#[test]
fn components_are_interpreted_where_the_operator_says_so() {
    let Some(setup) = setup(&[("double", &double(), "")]) else { return };
    let path = setup.dir().join("agent.toml");
    let text = fs::read_to_string(&path).unwrap().replace("[extensions]", "[extensions]\nruntime = 'pulley'");
    fs::write(&path, text).unwrap();
    let agent = setup.start();
    settled(&agent, "double");
    let mut client = agent.client();
    assert_eq!(client.run("guest-test-double", json!({"number": 21})).unwrap(), 42);
    assert_eq!(told(&mut client, "double")["runtime"], "pulley");
}

#[test]
fn only_listed_commands_are_added_and_each_name_once() {
    let two = component(
        "package test:it; interface i { guest-test-double: func() -> u32; guest-test-other: func() -> u32; } world w { export i; }",
        r#"(func (export "test:it/i#guest-test-double") (result i32) (i32.const 1))
           (func (export "test:it/i#guest-test-other") (result i32) (i32.const 2))"#,
    );
    let extensions: &[(&str, &[u8], &str)] = &[
        ("double", &double(), ""),
        ("two", &two, ""),
        ("some", &two, "add = ['guest-test-third', 'guest-test-other']"),
    ];
    let Some(agent) = agent(extensions) else { return };
    for name in ["double", "two", "some"] {
        settled(&agent, name);
    }
    let mut client = agent.client();
    assert_eq!(client.run("guest-test-double", json!({"number": 1})).unwrap(), 2);
    assert_eq!(client.run("guest-test-other", json!({})).unwrap(), 2);
    assert_eq!(
        told(&mut client, "two")["commands"],
        json!([
            {"name": "guest-test-double", "mode": "add", "enabled": false, "reason": "extension double has a command of this name"},
            {"name": "guest-test-other", "mode": "add", "enabled": true},
        ])
    );
    assert_eq!(
        disabled(&mut client, "guest-test-third"),
        "extension some: its component has no such command"
    );
    assert_eq!(listed(&mut client, "guest-test-third")["enabled"], false);
    assert_eq!(
        told(&mut client, "some")["commands"][1]["reason"],
        "extension two has a command of this name"
    );
}

#[test]
fn the_agents_own_names_are_its_own() {
    let taken = component(
        "package test:it; interface i { guest-ping: func(); guest-fsfreeze-thaw: func(); guest-get-time: func(); guest-test-x: func(); } world w { export i; }",
        r#"(func (export "test:it/i#guest-ping") unreachable) (func (export "test:it/i#guest-fsfreeze-thaw") unreachable)
           (func (export "test:it/i#guest-get-time") unreachable) (func (export "test:it/i#guest-test-x"))"#,
    );
    let Some(agent) = agent(&[("taken", &taken, "")]) else { return };
    let told = settled(&agent, "taken");
    let mut client = agent.client();
    client.run("guest-ping", json!({})).unwrap();
    client.run("guest-get-time", json!({})).unwrap();
    assert_eq!(client.run("guest-test-x", json!({})).unwrap(), json!({}));
    let reasons: Vec<_> =
        told["commands"].as_array().unwrap().iter().map(|it| it["reason"].clone()).collect();
    let protected = "only the agent may have a command of this name";
    assert_eq!(
        reasons,
        [
            json!(protected),
            json!(protected),
            json!("the agent has a command of this name; override or wrap would say what this is to it"),
            Value::Null
        ]
    );
}

#[test]
fn a_name_that_the_agent_got_later_stays_the_extensions() {
    let time = component(
        "package test:it; interface i { guest-get-time: func() -> u64; } world w { export i; }",
        r#"(func (export "test:it/i#guest-get-time") (result i64) (i64.const 7))"#,
    );
    let Some(agent) = agent(&[("time", &time, "add = ['guest-get-time']")]) else { return };
    assert_eq!(agent.client().run("guest-get-time", json!({})).unwrap(), 7);
    let warning =
        "extension time: adds guest-get-time, which the agent has itself; the extension's is called";
    agent.until("a warning", |agent| agent.log().contains(warning));
}

#[test]
fn a_missing_module_and_policy_leave_everything_else_alone() {
    let Some(setup) = setup(&[("double", &double(), ""), ("gone", &double(), "add = ['guest-test-gone']")])
    else {
        return;
    };
    fs::remove_file(setup.dir().join("gone.wasm")).unwrap();
    let path = setup.dir().join("agent.toml");
    let text = fs::read_to_string(&path).unwrap() + "[policy]\nblock = ['guest-test-double']\n";
    fs::write(&path, text).unwrap();
    let agent = setup.start();
    let told = settled(&agent, "gone");
    settled(&agent, "double");
    let mut client = agent.client();
    let module = agent.dir().join("gone.wasm");
    assert_eq!(told["state"], "missing");
    assert_eq!(told["reason"], format!("{}: there is no such file", module.display()));
    let reason = disabled(&mut client, "guest-test-gone");
    assert_eq!(reason, format!("extension gone: {}: there is no such file", module.display()));
    assert_eq!(disabled(&mut client, "guest-test-double"), "the command is not allowed");
    assert_eq!(listed(&mut client, "guest-test-double")["enabled"], false);
}

#[test]
fn a_handler_names_its_commands_and_speaks_json() {
    // Everything that it returns stands in its memory from the start: one name, and one answer for each way to call it.
    let handler = component(
        "package test:it; world w { export waga:extension/handler@1.0.0; }",
        r#"(data (i32.const 64) "guest-test-json") (data (i32.const 128) "{ \"a\" : [1, null, \"\\u00e9\"] }") (data (i32.const 192) "not JSON")
           (func (export "waga:extension/handler@1.0.0#commands") (result i32)
                (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 15))
                (i32.store8 (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 16)) (i32.store (i32.const 8) (i32.const 1))
                (i32.const 0))
           (func (export "waga:extension/handler@1.0.0#handle") (param i32 i32 i32 i32) (result i32)
                (i32.store8 (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 128)) (i32.store (i32.const 8) (i32.const 29))
                ;; Longer arguments than {}: something that is no JSON.
                (if (i32.gt_u (local.get 3) (i32.const 2))
                    (then (i32.store (i32.const 4) (i32.const 192)) (i32.store (i32.const 8) (i32.const 8))))
                (i32.const 0))"#,
    );
    let Some(agent) = agent(&[("json", &handler, "")]) else { return };
    let mut client = agent.client();
    client.send("{\"execute\": \"guest-test-json\"}\n").unwrap();
    assert_eq!(client.text().unwrap(), r#"{"return": {"a": [1, null, "\u00E9"]}}"#);
    assert_eq!(
        failure(&mut client, "guest-test-json", json!({"x": 1})),
        "extension json: guest-test-json gave no valid answer: it is not JSON"
    );
}

#[test]
fn what_cannot_be_loaded_keeps_its_commands() {
    let Some(agent) = agent(&[("double", &double(), "")]) else { return };
    settled(&agent, "double");
    // Known, and not called yet; then its module is gone.
    fs::remove_file(agent.dir().join("double.wasm")).unwrap();
    let mut client = agent.client();
    for _ in 0..2 {
        let reason = disabled(&mut client, "guest-test-double");
        assert!(reason.ends_with("double.wasm: there is no such file"), "{reason}");
    }
    assert_eq!(listed(&mut client, "guest-test-double")["enabled"], false);
    assert_eq!(told(&mut client, "double")["state"], "missing");
}

/// Whatever was granted, but no value of a variable; by the agent and by `waga check`.
#[test]
fn what_is_granted_is_told_whole() {
    let lines = "read = ['/proc/meminfo']
        commands = ['guest-get-load', 'guest-get-osinfo']
        exec = [{ program = '/bin/true' }, { program = '/bin/echo', args = ['a b', '', '*', '**'], env = ['KEY=secret-of-exec'] }]
        env = { TOKEN = 'secret-of-env' }
        while-frozen = true
        on-failure = 'builtin'";
    let Some(agent) = agent(&[("double", &double(), lines), ("plain", &double(), "add = []")]) else {
        return;
    };
    let grants = json!([
        "read /proc/meminfo",
        "exec /bin/true",
        "exec /bin/echo \"a b\" \"\" * **",
        "call guest-get-load",
        "call guest-get-osinfo",
        "env TOKEN"
    ]);
    let mut client = agent.client();
    let checked =
        crate::program().run(["check", "--json", "-c", agent.dir().join("agent.toml").to_str().unwrap()]);
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    for whole in [client.run("waga-get-extensions", json!({})).unwrap(), checked["extensions"].clone()] {
        assert_eq!(whole[0]["grants"], grants);
        assert_eq!((&whole[0]["while-frozen"], &whole[0]["on-failure"]), (&json!(true), &json!("builtin")));
        assert_eq!((&whole[1]["while-frozen"], &whole[1]["on-failure"]), (&json!(false), &json!("error")));
        assert!(!whole.to_string().contains("secret"), "{whole}");
    }
}

#[test]
fn check_tells_what_each_extension_comes_to() {
    let gone = "add = ['guest-test-gone']";
    let Some(setup) = setup(&[
        ("double", &double(), "add = ['guest-test-double', 'guest-test-not']"),
        ("gone", &double(), gone),
    ]) else {
        return;
    };
    fs::remove_file(setup.dir().join("gone.wasm")).unwrap();
    let check = |setup: &waga_tests::agent::Setup| {
        let config = setup.dir().join("agent.toml");
        let ran = crate::program().run(["check".as_ref(), "-c".as_ref(), config.as_os_str()]);
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).unwrap().replace(setup.dir().to_str().unwrap(), "@")
    };
    let before = check(&setup);
    assert!(
        before.contains("extension double (@/double.wasm): is compiled when the agent starts"),
        "{before}"
    );
    let agent = setup.start();
    settled(&agent, "double");
    let ran =
        crate::program().run(["check".as_ref(), "-c".as_ref(), agent.dir().join("agent.toml").as_os_str()]);
    let after = String::from_utf8(ran.stdout).unwrap().replace(agent.dir().to_str().unwrap(), "@");
    for line in [
        "extension double (@/double.wasm): can be called\n",
        "extension double: adds guest-test-double\n",
        "extension double: does not add guest-test-not: its component has no such command\n",
        "guest-test-double                   on   by an extension\n",
        "guest-test-not                      off  by an extension\n",
    ] {
        assert!(after.contains(line), "{line}{after}");
    }
}
