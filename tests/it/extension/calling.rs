//! Commands that components call: by name in JSON, by the types of `waga:guest`, and extensions by extensions.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use waga_tests::component::{component, encode_with};

use super::hostile::in_step;
use super::laying::handler;
use super::{agent, disabled, failure, told};

/// Calls the command that is named at 8192, with the arguments it was given itself, and answers what that answers.
fn caller(command: &str, calls: &str) -> Vec<u8> {
    let code = format!(
        "(call $call (i32.const 8192) (i32.const {}) (local.get $at) (local.get $length) (i32.const 16))",
        calls.len()
    );
    handler(&[command], &[(8192, calls)], &code)
}

fn grant(commands: &[&str]) -> String {
    format!("commands = {}", json!(commands))
}

#[test]
fn what_was_granted_is_called_and_nothing_else() {
    let Some(agent) = agent(&[
        ("one", &caller("guest-test-one", "guest-get-host-name"), &grant(&["guest-get-host-name"])),
        ("two", &caller("guest-test-two", "guest-get-osinfo"), &grant(&["guest-get-host-name"])),
        ("three", &caller("guest-test-three", "guest-acme-gone"), &grant(&["guest-acme-gone"])),
        ("ping", &caller("guest-test-four", "guest-ping"), &grant(&["guest-get-host-name"])),
    ]) else {
        return;
    };
    let mut client = agent.client();
    let name = client.run("guest-get-host-name", json!({})).unwrap();
    assert_eq!(client.run("guest-test-one", json!({})).unwrap(), name);
    // What it passes on is the command's matter.
    let (class, desc) = client.refused("guest-test-one", json!({"x": 1})).unwrap();
    assert_eq!((&*class, &*desc), ("GenericError", "Parameter 'x' is unexpected"));
    let (_, desc) = client.refused("guest-test-two", json!({})).unwrap();
    let path = agent.dir().join("agent.toml");
    let start = "guest-get-osinfo is not granted: it does not stand in ";
    assert!(desc.starts_with(&format!("{start}{}:", path.display())), "{desc}");
    assert!(desc.ends_with(": [extension.two] commands"), "{desc}");
    let (class, desc) = client.refused("guest-test-three", json!({})).unwrap();
    assert_eq!((&*class, &*desc), ("CommandNotFound", "The command guest-acme-gone has not been found"));
    assert!(client.refused("guest-test-four", json!({})).unwrap().1.starts_with("guest-ping is not granted"));
    // Its own words, all of them: none is a failure of the extension.
    assert_eq!(told(&mut client, "two")["failures"], 0);
    in_step(&agent);
}

#[test]
fn a_component_calls_by_the_types_of_waga_guest() {
    let packages: Vec<&str> = [
        "package waga:guest@1.0.0;
         interface types { record error { class: string, desc: string } }
         interface guest-get-host-name {
            use types.{error}; record host-name { host-name: string }
            guest-get-host-name: func() -> result<host-name, error>;
         }
         interface guest-get-time { use types.{error}; guest-get-time: func() -> result<s64, error>; }
         interface guest-get-users { use types.{error}; record user { user: string, domain: option<string>, login-time: f64, shoe-size: u8 }
            guest-get-users: func() -> result<list<user>, error>; }",
    ]
    .into();
    let wit = "package test:it; interface i { guest-test-name: func() -> result<string, string>; guest-test-time: func() -> s64;
            guest-test-users: func() -> string; }
        world w { import waga:guest/guest-get-host-name@1.0.0; import waga:guest/guest-get-time@1.0.0; import waga:guest/guest-get-users@1.0.0; export i; }";
    // A result of the commands is at 64: whether it failed, then, from 8 on where it is wide, what it is.
    let wat = r#"(import "waga:guest/guest-get-host-name@1.0.0" "guest-get-host-name" (func $name (param i32)))
        (import "waga:guest/guest-get-time@1.0.0" "guest-get-time" (func $time (param i32)))
        (import "waga:guest/guest-get-users@1.0.0" "guest-get-users" (func $users (param i32)))
        (func (export "test:it/i#guest-test-name") (result i32) (call $name (i32.const 64)) (i32.const 64))
        (func (export "test:it/i#guest-test-time") (result i64) (call $time (i32.const 64)) (i64.load (i32.const 72)))
        (func (export "test:it/i#guest-test-users") (result i32) (call $users (i32.const 64))
            (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable))
            (i32.const 76))"#;
    let module = waga_tests::component::module(wat);
    let typed = encode_with(&packages, wit, &module);
    let all = ["guest-get-host-name", "guest-get-time", "guest-get-users"];
    let lines = grant(&all);
    let Some(agent) = agent(&[("typed", &typed, &lines), ("less", &typed, &grant(&all[..2]))]) else {
        return;
    };
    let mut client = agent.client();
    let name = client.run("guest-get-host-name", json!({})).unwrap();
    assert_eq!(client.run("guest-test-name", json!({})).unwrap(), name["host-name"]);
    let (before, time, after) = (
        client.run("guest-get-time", json!({})).unwrap().as_i64().unwrap(),
        client.run("guest-test-time", json!({})).unwrap().as_i64().unwrap(),
        client.run("guest-get-time", json!({})).unwrap().as_i64().unwrap(),
    );
    assert!(before < time && time < after, "{before} {time} {after}");
    // It was built against another record than this agent's: nothing can be made of it where there are users; else the list is empty.
    if client.run("guest-get-users", json!({})).unwrap() != json!([]) {
        let said = client.run("guest-test-users", json!({})).unwrap();
        assert!(
            said.as_str().unwrap().starts_with(
                "the result of guest-get-users is not of the type that is imported: Parameter '[0].shoe-size' is missing"
            ),
            "{said}"
        );
    }
    let table = format!("{}:{}:12: [extension.less]", agent.dir().join("agent.toml").display(), 7);
    assert_eq!(
        told(&mut client, "less")["reason"],
        format!(
            "imports waga:guest/guest-get-users@1.0.0, which is not granted; change in {table}: commands = [\"guest-get-host-name\", \"guest-get-time\", \"guest-get-users\"]"
        )
    );
    in_step(&agent);
}

/// Two commands with eight wraps each, one of which calls the other, which takes its time: eight clients would have 8 chains of 18 calls at
/// once. Calls within calls are bounded too, so that what all have in memory together is.
#[test]
fn calls_within_calls_are_bounded_in_sum() {
    let commands = ["guest-test-x", "guest-test-y"];
    let slow = component(
        "package test:it; interface i { guest-test-y: func() -> string; }
         world w { import wasi:io/poll@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; export i; }",
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $wait (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (func (export "test:it/i#guest-test-y") (result i32)
            (call $block (call $wait (i64.const 4000000000))) (i32.store (i32.const 4) (i32.const 0)) (i32.const 0))"#,
    );
    let pass = handler(&commands, &[], "(call $next (local.get $at) (local.get $length) (i32.const 16))");
    let limits = "limits = { concurrency = 8, time = '60s', cpu = '10s' }";
    let adding = [format!("{}\n{limits}", grant(&["guest-test-y"])), limits.to_owned()];
    let asks = caller("guest-test-x", "guest-test-y");
    let wraps: Vec<(String, String)> = commands
        .iter()
        .flat_map(|command| (1..=8).map(move |number| (command, number)))
        .map(|(command, number)| {
            let lines = format!("add = []\nwrap = ['{command}']\n{}\n{limits}", grant(&["guest-get-load"]));
            (format!("{}-{number}", command.trim_start_matches("guest-test-")), lines)
        })
        .collect();
    let mut all: Vec<(&str, &[u8], &str)> = vec![("asks", &asks, &adding[0]), ("slow", &slow, &adding[1])];
    all.extend(wraps.iter().map(|(name, lines)| (&**name, &*pass, &**lines)));
    let Some(agent) = agent(&all) else { return };
    let mut client = agent.client();
    // All are loaded.
    assert_eq!(client.run("guest-test-x", json!({})).unwrap(), "");
    let running = |told: &Value| -> u64 {
        told.as_array().unwrap().iter().map(|it| it["running"].as_u64().unwrap()).sum()
    };
    let ended = AtomicUsize::new(0);
    let mut most = 0;
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..8)
            .map(|_| {
                let (agent, ended) = (&agent, &ended);
                scope.spawn(move || {
                    let answer = agent.client().ask(&json!({"execute": "guest-test-x"})).unwrap();
                    ended.fetch_add(1, Ordering::Relaxed);
                    answer
                })
            })
            .collect();
        while ended.load(Ordering::Relaxed) < 8 {
            most = most.max(running(&client.run("waga-get-extensions", json!({})).unwrap()));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    assert!(most > 64 && most <= 8 + 128, "{most}");
    let text = "was not called: 128 calls within calls of extensions are under way, and a call within a call does not wait";
    let is_bounded = |answer: &Value| answer["error"]["desc"].as_str().is_some_and(|it| it.ends_with(text));
    let bounded = answers.iter().filter(|answer| is_bounded(answer)).count();
    let served = answers.iter().filter(|answer| answer["return"] == "").count();
    // Where all come to the bound at once, it is none that gets further.
    assert!(bounded > 0 && bounded + served == 8, "{answers:?}");
    assert_eq!(client.run("guest-test-x", json!({})).unwrap(), "");
    in_step(&agent);
}

#[test]
fn extensions_that_call_one_another_come_to_an_end() {
    let (one, two) = ("guest-test-one", "guest-test-two");
    let Some(agent) = agent(&[
        ("one", &caller(one, two), &format!("{}\nlimits = {{ concurrency = 8 }}", grant(&[two]))),
        ("two", &caller(two, one), &format!("{}\nlimits = {{ concurrency = 8 }}", grant(&[one]))),
        // With few calls at once it ends there: a call within a call does not wait.
        ("three", &caller("guest-test-three", "guest-test-four"), &grant(&["guest-test-four"])),
        ("four", &caller("guest-test-four", "guest-test-three"), &grant(&["guest-test-three"])),
    ]) else {
        return;
    };
    let mut client = agent.client();
    for _ in 0..3 {
        let (_, desc) = client.refused(one, json!({})).unwrap();
        assert_eq!(desc, format!("{two}: extensions call one another more than 8 levels deep"));
    }
    let (_, desc) = client.refused("guest-test-three", json!({})).unwrap();
    assert!(
        desc.contains("extensions call one another more than 8 levels deep")
            || desc.contains("a call within a call does not wait"),
        "{desc}"
    );
    in_step(&agent);
}

/// Many clients of two extensions that wait for one another: each call ends, and none waits for its deadline.
#[test]
fn extensions_that_wait_for_one_another_do_not_for_ever() {
    let (one, two) = ("guest-test-one", "guest-test-two");
    let lines = |other: &str| format!("{}\nlimits = {{ time = '20s', concurrency = 2 }}", grant(&[other]));
    let Some(agent) =
        agent(&[("one", &caller(one, two), &lines(two)), ("two", &caller(two, one), &lines(one))])
    else {
        return;
    };
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for client in 0..12 {
            let agent = &agent;
            scope.spawn(move || {
                let mut clients = agent.client();
                for _ in 0..20 {
                    clients.refused(if client % 2 == 0 { one } else { two }, json!({})).unwrap();
                }
            });
        }
    });
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    in_step(&agent);
}

#[test]
fn a_command_of_its_own_is_that_below_it() {
    let name = "guest-get-host-name";
    let lines = format!("wrap = ['{name}']\n{}", grant(&[name]));
    let Some(agent) = agent(&[("self", &caller(name, name), &lines)]) else { return };
    let mut client = agent.client();
    assert!(client.run(name, json!({})).unwrap()["host-name"].is_string());
    assert_eq!(told(&mut client, "self")["calls"], 1);
    in_step(&agent);
}

#[test]
fn what_is_blocked_is_blocked_for_them_too_and_what_is_not_allowed_is_the_channels_matter() {
    let Some(setup) = super::setup(&[
        ("one", &caller("guest-test-one", "guest-get-host-name"), &grant(&["guest-get-host-name"])),
        ("two", &caller("guest-test-two", "guest-get-time"), &grant(&["guest-get-time"])),
    ]) else {
        return;
    };
    let path = setup.dir().join("agent.toml");
    let text = std::fs::read_to_string(&path).unwrap()
        + "[policy]\nallow = ['guest-ping', 'guest-sync-delimited', 'guest-sync', 'guest-info', 'waga-get-extensions', 'guest-test-one', 'guest-test-two']\nblock = ['guest-get-time']\n";
    std::fs::write(&path, text).unwrap();
    let agent = setup.start();
    super::settled(&agent, "two");
    let mut client = agent.client();
    assert_eq!(disabled(&mut client, "guest-get-host-name"), "the command is not allowed");
    assert!(client.run("guest-test-one", json!({})).unwrap()["host-name"].is_string());
    let (class, desc) = client.refused("guest-test-two", json!({})).unwrap();
    let blocked = "Command guest-get-time has been disabled: the command is not allowed";
    assert_eq!((&*class, &*desc), ("CommandNotFound", blocked));
    client.run("guest-ping", json!({})).unwrap();
}

/// Arguments that are none, and results that are too large.
#[test]
fn what_goes_through_json_is_json_of_a_size() {
    let call = |arguments: &str| {
        let code = format!(
            "(call $call (i32.const 8192) (i32.const 19) (i32.const 8400) (i32.const {}) (i32.const 16))",
            arguments.len()
        );
        handler(&["guest-test-x"], &[(8192, "guest-get-host-name"), (8400, arguments)], &code)
    };
    let grant = grant(&["guest-get-host-name"]);
    let deep = format!("{}{}", "{\"a\":".repeat(40), "}".repeat(40));
    for (arguments, expected) in [
        ("{}", None),
        (" { } ", None),
        ("", Some("the arguments are no JSON object")),
        ("[]", Some("the arguments are no JSON object")),
        ("{}{}", Some("the arguments are no JSON object")),
        ("{},\"id\": 1", Some("the arguments are no JSON object")),
        (&deep, Some("the arguments are nested more than 32 levels deep")),
    ] {
        let Some(agent) = agent(&[("x", &call(arguments), &grant)]) else { return };
        let mut client = agent.client();
        match expected {
            None => assert!(client.run("guest-test-x", json!({})).unwrap()["host-name"].is_string()),
            Some(text) => assert_eq!(client.refused("guest-test-x", json!({})).unwrap().1, text),
        }
        in_step(&agent);
    }
    // The reply of a wrapped command may be anything.
    let lines = format!("wrap = ['guest-file-read']\n{grant}\nlimits = {{ message = '64KiB' }}");
    let pass =
        handler(&["guest-file-read"], &[], "(call $next (local.get $at) (local.get $length) (i32.const 16))");
    let Some(agent) = agent(&[("read", &pass, &lines)]) else { return };
    let mut client = agent.client();
    let large = agent.dir().join("large");
    std::fs::write(&large, vec![b'x'; 1 << 20]).unwrap();
    let handle = client.run("guest-file-open", json!({"path": large})).unwrap();
    let read = client.run("guest-file-read", json!({"handle": handle, "count": 1000})).unwrap();
    assert_eq!(read["count"], 1000);
    let (_, desc) = client.refused("guest-file-read", json!({"handle": handle, "count": 1 << 20})).unwrap();
    assert_eq!(desc, "the result is larger than limits.message lets an extension have");
    in_step(&agent);
}

#[test]
fn who_calls_whom_is_audited() {
    let Some(setup) = super::setup(&[
        ("one", &caller("guest-test-one", "guest-test-two"), &grant(&["guest-test-two"])),
        ("two", &caller("guest-test-two", "guest-get-host-name"), &grant(&["guest-get-host-name"])),
    ]) else {
        return;
    };
    let (path, audit) = (setup.dir().join("agent.toml"), setup.dir().join("audit"));
    let text = std::fs::read_to_string(&path).unwrap()
        + &format!("[audit]\ntarget = 'file'\nfile = '{}'\n", audit.display());
    std::fs::write(&path, text).unwrap();
    let agent = setup.start();
    super::settled(&agent, "two");
    agent.client().run("guest-test-one", json!({})).unwrap();
    agent.until("its lines", |_| {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        let of = |command: &str| {
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let found = lines.iter().find(|line| line["command"] == command)?;
            Some(found["callers"].clone())
        };
        of("guest-test-one") == Some(json!(["unix-listen"]))
            && of("guest-test-two") == Some(json!(["unix-listen", "one"]))
            && of("guest-get-host-name") == Some(json!(["unix-listen", "one", "two"]))
    });
    in_step(&agent);
}

/// A loop in what is called is the called one's, and the wall's time is the caller's too.
#[test]
fn time_is_up_for_who_waits_too() {
    let looping = component(
        "package test:it; interface i { guest-test-loop: func() -> u32; } world w { export i; }",
        r#"(func (export "test:it/i#guest-test-loop") (result i32) (loop $again (br $again)) (i32.const 0))"#,
    );
    let Some(agent) = agent(&[
        ("loop", &looping, "limits = { cpu = '5s', time = '10s' }"),
        (
            "wait",
            &caller("guest-test-wait", "guest-test-loop"),
            &format!("{}\nlimits = {{ cpu = '50ms', time = '300ms' }}", grant(&["guest-test-loop"])),
        ),
    ]) else {
        return;
    };
    let mut client = agent.client();
    let begun = std::time::Instant::now();
    assert_eq!(
        failure(&mut client, "guest-test-wait", json!({})),
        "extension wait: guest-test-wait did not answer in time (limits.time = \"300ms\")"
    );
    assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
    agent.until("the call is given up", |agent| told(&mut agent.client(), "loop")["running"] == 0);
    in_step(&agent);
}

/// A channel that may not ask for something may not ask for it through an extension either; others may.
#[test]
fn what_a_channel_is_kept_from_extensions_do_not_get_for_it() {
    let name = "guest-get-host-name";
    let (component, lines) = (caller("guest-test-one", name), grant(&[name]));
    let extensions = [("one", &component[..], &*lines)];
    for (channel, is_kept) in [("unix-listen", true), ("virtio-serial", false)] {
        let Some(setup) = super::setup(&extensions) else { return };
        let path = setup.dir().join("agent.toml");
        let open = std::fs::read_to_string(&path).unwrap();
        let rules = format!("[policy.channel.{channel}]\nblock = ['{name}']\n");
        std::fs::write(&path, format!("{open}{rules}")).unwrap();
        let agent = setup.start();
        super::settled(&agent, "one");
        let answer = agent.client().run("guest-test-one", json!({}));
        match answer {
            Ok(answer) => assert!(!is_kept && answer["host-name"].is_string(), "{channel}: {answer}"),
            Err(error) => {
                let blocked = format!("Command {name} has been disabled: the command is not allowed");
                assert!(is_kept && error.to_string().contains(&blocked), "{channel}: {error}");
            }
        }
    }
}

/// A line tells the client's arguments, and so it tells who may have made others of them.
#[test]
fn the_audit_tells_what_a_request_went_through() {
    let name = "guest-get-host-name";
    let pass = "(call $next (local.get $at) (local.get $length) (i32.const 16))";
    let pass = handler(&[name], &[], pass);
    let lines = format!("wrap = ['{name}']\n{}", grant(&[name]));
    let Some(setup) = super::setup(&[("outer", &pass, &lines), ("inner", &pass, &lines)]) else { return };
    let (path, audit) = (setup.dir().join("agent.toml"), setup.dir().join("audit"));
    let text = std::fs::read_to_string(&path).unwrap()
        + &format!("[audit]\ntarget = 'file'\nfile = '{}'\n", audit.display());
    std::fs::write(&path, text).unwrap();
    let agent = setup.start();
    super::settled(&agent, "inner");
    agent.client().run(name, json!({})).unwrap();
    agent.until("its line", |_| {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().any(|line| line["command"] == name && line["through"] == json!(["outer", "inner"]))
    });
    in_step(&agent);
}
