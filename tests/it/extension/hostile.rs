//! Components that do what they can to hurt: each is stopped with its own error, in bounded time and memory, and the agent goes on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use waga_tests::agent::Agent;
use waga_tests::component::{component, encode};

use super::{agent, disabled, failure, settled, told};

/// A component with one command that takes and gives nothing.
pub(super) fn doing(body: &str) -> Vec<u8> {
    component(
        "package test:it; interface i { guest-test-x: func(); } world w { import waga:extension/log@1.0.0; export i; }",
        &format!(
            r#"(import "waga:extension/log@1.0.0" "log" (func $log (param i32 i32 i32)))
            (func (export "test:it/i#guest-test-x") {body})"#
        ),
    )
}

/// Calls `guest-test-x`, which must fail like that within ten times its limit, and leave the agent as it was.
pub(super) fn fails(extension: &[u8], lines: &str, limit: Duration, expected: &str) {
    let Some(agent) = agent(&[("bad", extension, lines)]) else { return };
    settled(&agent, "bad");
    let mut client = agent.client();
    // What is loaded stays loaded.
    let before = {
        let _ = client.refused("guest-test-x", json!({}));
        agent.memory("VmRSS")
    };
    let begun = Instant::now();
    let desc = failure(&mut client, "guest-test-x", json!({}));
    assert!(begun.elapsed() < limit * 10, "{:?}", begun.elapsed());
    assert_eq!(desc, format!("extension bad: guest-test-x {expected}"));
    in_step(&agent);
    let grown = agent.memory("VmRSS").saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
    assert_eq!(told(&mut client, "bad")["failures"], 2);
}

/// The agent answers, in order, and can thaw.
pub(super) fn in_step(agent: &Agent) {
    let mut client = agent.client();
    client.sync(17).unwrap();
    client.run("guest-ping", json!({})).unwrap();
    assert_eq!(client.run("guest-fsfreeze-status", json!({})).unwrap(), "thawed");
}

#[test]
fn an_endless_loop_is_stopped() {
    let lines = "limits = { cpu = '50ms' }";
    fails(
        &doing("(loop br 0)"),
        lines,
        Duration::from_millis(50),
        "used up the CPU time of a call (limits.cpu = \"50ms\")",
    );
}

#[test]
fn memory_is_bounded_in_sum() {
    let grow = |memory: &str| {
        format!(
            "(loop (if (i32.eq (memory.grow {memory} (i32.const 16)) (i32.const -1)) (then unreachable)) br 0)"
        )
    };
    let lines = "limits = { cpu = '10s', time = '10s', memory = '8MiB' }";
    let expected = "ended when it got no more memory (limits.memory = \"8MiB\"): wasm `unreachable` instruction executed";
    fails(&doing(&grow("")), lines, Duration::from_secs(1), expected);
    // Three memories: no one of them is too large.
    let three = encode(
        "package test:it; interface i { guest-test-x: func(); } world w { export i; }",
        r#"(module (memory (export "memory") 1) (memory $b 1) (memory $c 1) (func (export "test:it/i#guest-test-x")
            (loop (drop (memory.grow (i32.const 1))) (drop (memory.grow $b (i32.const 1)))
                (if (i32.eq (memory.grow $c (i32.const 1)) (i32.const -1)) (then unreachable)) br 0)))"#,
    );
    fails(&three, lines, Duration::from_secs(1), expected);
}

#[test]
fn a_memory_that_is_too_large_from_the_start_is_refused() {
    // 17 pages, as any of these fixtures.
    let Some(agent) = agent(&[("bad", &doing(""), "limits = { memory = '1MiB' }")]) else { return };
    let reason =
        "a memory of 1114112 bytes is there from the start, which is more than limits.memory lets it have";
    assert_eq!(settled(&agent, "bad")["reason"], reason);
    assert_eq!(disabled(&mut agent.client(), "guest-test-x"), format!("extension bad: {reason}"));
}

#[test]
fn deep_recursion_is_stopped() {
    let deep = component(
        "package test:it; interface i { guest-test-x: func(); } world w { export i; }",
        r#"(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))
            (func (export "test:it/i#guest-test-x") (drop (call $deep (i32.const 0))))"#,
    );
    fails(&deep, "", Duration::from_secs(2), "recursed too deeply ([extensions] stack)");
}

#[test]
fn a_trap_is_told() {
    fails(
        &doing("unreachable"),
        "",
        Duration::from_secs(2),
        "failed: wasm `unreachable` instruction executed",
    );
}

#[test]
fn calls_of_the_agent_are_counted() {
    let call = "(loop (call $log (i32.const 3) (i32.const 0) (i32.const 0)) br 0)";
    let lines = "limits = { cpu = '2s', host-calls = 1000 }";
    fails(
        &doing(call),
        lines,
        Duration::from_secs(2),
        "called the agent too often (limits.host-calls = 1000)",
    );
}

#[test]
fn a_flood_of_log_is_cut() {
    let flood = doing(
        "(local $left i32) (local.set $left (i32.const 1000))
        (loop (call $log (i32.const 0) (i32.const 0) (i32.const 1000))
            (br_if 0 (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))",
    );
    let Some(agent) = agent(&[("bad", &flood, "limits = { cpu = '5s', time = '5s', log = '4KiB' }")]) else {
        return;
    };
    settled(&agent, "bad");
    // To wait for it is in the log, too.
    let before = agent.log().len();
    agent.client().run("guest-test-x", json!({})).unwrap();
    agent.until("what was lost", |agent| agent.log().contains("bytes of its log were lost"));
    let grown = agent.log().len() - before;
    assert!(grown < 64 << 10, "{grown}");
    in_step(&agent);
}

#[test]
fn results_are_bounded() {
    let answer = |ty: &str, length: &str| {
        component(
            &format!(
                "package test:it; interface i {{ guest-test-x: func() -> {ty}; }} world w {{ export i; }}"
            ),
            &format!(
                r#"(func (export "test:it/i#guest-test-x") (result i32)
                    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {length})) (i32.const 0))"#
            ),
        )
    };
    let lines = "limits = { cpu = '5s', time = '5s', message = '64KiB' }";
    let second = Duration::from_secs(1);
    let expected = "passed more to the agent than a message may hold (limits.message = \"64KiB\")";
    fails(&answer("string", "1000000"), lines, second, expected);
    fails(&answer("list<u32>", "100000"), lines, second, expected);
    fails(&answer("list<u8>", "100000"), lines, second, expected);
    let expected = "answered more than a message may hold (limits.message = \"64KiB\")";
    fails(&answer("string", "70000"), lines, second, expected);
    let expected = "failed: string pointer/length out of bounds of memory";
    fails(&answer("string", "0x7fffffff"), lines, second, expected);
}

#[test]
fn arguments_are_bounded() {
    let takes = component(
        "package test:it; interface i { guest-test-x: func(text: string) -> u32; } world w { export i; }",
        r#"(func (export "test:it/i#guest-test-x") (param i32 i32) (result i32) (local.get 1))"#,
    );
    let Some(agent) = agent(&[("bad", &takes, "limits = { message = '64KiB' }")]) else { return };
    let mut client = agent.client();
    assert_eq!(client.run("guest-test-x", json!({"text": "x".repeat(60_000)})).unwrap(), 60_000);
    assert_eq!(
        failure(&mut client, "guest-test-x", json!({"text": "x".repeat(70_000)})),
        "extension bad: guest-test-x does not take arguments of 70011 bytes (limits.message = \"64KiB\")"
    );
    in_step(&agent);
}

#[test]
fn a_hang_is_cut_at_the_deadline() {
    let hang = component(
        "package test:it; interface i { guest-test-x: func(); } world w { import wasi:io/poll@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; export i; }",
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $wait (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (func (export "test:it/i#guest-test-x") (call $block (call $wait (i64.const 1000000000000))))"#,
    );
    let lines = "limits = { time = '200ms' }";
    fails(&hang, lines, Duration::from_millis(200), "did not answer in time (limits.time = \"200ms\")");
}

/// Components share one thread. One that gets too little of it fails, but is not let rest for what others did; one that hangs is.
#[test]
fn whom_others_keep_from_computing_is_not_let_rest() {
    let wit = |command: &str| {
        format!("package test:it; interface i {{ {command}: func(); }} world w {{ export i; }}")
    };
    let loops =
        component(&wit("guest-test-loop"), r#"(func (export "test:it/i#guest-test-loop") (loop br 0))"#);
    // It computes for longer than it has.
    let light =
        component(&wit("guest-test-light"), r#"(func (export "test:it/i#guest-test-light") (loop br 0))"#);
    let hang = component(
        "package test:it; interface i { guest-test-hang: func(); }
         world w { import wasi:io/poll@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; export i; }",
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $wait (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (func (export "test:it/i#guest-test-hang") (call $block (call $wait (i64.const 1000000000000))))"#,
    );
    let short = "limits = { cpu = '60s', time = '800ms' }";
    let Some(agent) = agent(&[
        ("loops", &loops, "limits = { cpu = '60s', time = '60s', concurrency = 8 }"),
        ("light", &light, short),
        ("hang", &hang, short),
    ]) else {
        return;
    };
    let mut client = agent.client();
    let _calls: Vec<_> = (0..8)
        .map(|_| {
            let mut client = agent.client();
            client.send("{\"execute\":\"guest-test-loop\"}\n").unwrap();
            client
        })
        .collect();
    agent.until("all of them", |agent| told(&mut agent.client(), "loops")["running"] == 8);
    for (name, rests) in [("light", false), ("hang", true)] {
        let command = format!("guest-test-{name}");
        let late = format!("extension {name}: {command} did not answer in time (limits.time = \"800ms\")");
        for _ in 0..3 {
            assert_eq!(failure(&mut client, &command, json!({})), late);
        }
        let fourth = failure(&mut client, &command, json!({}));
        assert_eq!(fourth.contains(" rests for another "), rests, "{fourth}");
        assert_eq!(told(&mut client, name)["failures"], if rests { 3 } else { 4 });
    }
}

#[test]
fn what_is_not_granted_is_refused_with_the_line_that_would_grant_it() {
    let calls = component(
        "package test:it; interface i { guest-test-x: func(); } world w { import waga:extension/call@1.0.0; export i; }",
        r#"(import "waga:extension/call@1.0.0" "call" (func (param i32 i32 i32 i32 i32))) (func (export "test:it/i#guest-test-x"))"#,
    );
    let Some(agent) = agent(&[("bad", &calls, "")]) else { return };
    let told = settled(&agent, "bad");
    assert_eq!(told["state"], "refused");
    let place = agent.dir().join("agent.toml");
    let reason = format!(
        "imports waga:extension/call@1.0.0, which is not granted; add to {}:4:12: [extension.bad]: commands = [\"guest-…\"], with each command that it may call",
        place.display()
    );
    assert_eq!(told["reason"], reason);
    assert_eq!(disabled(&mut agent.client(), "guest-test-x"), format!("extension bad: {reason}"));
}

#[test]
fn types_without_json_are_refused_by_name_and_the_rest_serves() {
    let odd = component(
        "package test:it; interface i { resource r; guest-test-a: func(x: list<option<u8>>); guest-test-b: func() -> own<r>; guest-test-x: func(); } world w { export i; }",
        r#"(import "[export]test:it/i" "[resource-new]r" (func (param i32) (result i32)))
        (func (export "test:it/i#guest-test-a") (param i32 i32)) (func (export "test:it/i#guest-test-b") (result i32) unreachable)
        (func (export "test:it/i#guest-test-x"))"#,
    );
    let Some(agent) = agent(&[("odd", &odd, "")]) else { return };
    settled(&agent, "odd");
    let mut client = agent.client();
    assert_eq!(client.run("guest-test-x", json!({})).unwrap(), json!({}));
    assert_eq!(
        disabled(&mut client, "guest-test-a"),
        "extension odd: argument 'x': an option can only be an argument, a result or the member of a record"
    );
    assert_eq!(disabled(&mut client, "guest-test-b"), "extension odd: result: a resource has no JSON");
}

#[test]
fn what_is_no_component_is_refused() {
    let core = wat::parse_str("(module)").unwrap();
    let mut cut = doing("");
    cut.truncate(cut.len() / 2);
    let extensions: &[(&str, &[u8], &str)] = &[
        ("core", &core, "add = ['guest-test-a']"),
        ("empty", b"", "add = ['guest-test-b']"),
        ("random", &[0x5a; 5000], "add = ['guest-test-c']"),
        ("cut", &cut, "add = ['guest-test-d']"),
        ("fine", &doing(""), ""),
    ];
    let Some(agent) = agent(extensions) else { return };
    for name in ["core", "empty", "random", "cut"] {
        let told = settled(&agent, name);
        assert_eq!(told["state"], "refused", "{told}");
    }
    settled(&agent, "fine");
    agent.client().run("guest-test-x", json!({})).unwrap();
    assert!(disabled(&mut agent.client(), "guest-test-a").starts_with("extension core: "));
    in_step(&agent);
}

#[test]
fn a_module_that_is_too_large_is_not_read() {
    let Some(setup) = super::setup(&[("bad", &vec![0; 50 << 20], "add = ['guest-test-x']")]) else { return };
    let agent = setup.start();
    let told = settled(&agent, "bad");
    let reason = format!(
        "{}: has 52428800 bytes, and [extensions] module-size is \"32MiB\"",
        agent.dir().join("bad.wasm").display()
    );
    assert_eq!(told["reason"], reason);
    assert!(agent.memory("VmHWM") < 32 << 20);
}

#[test]
fn one_that_loops_delays_nobody_else() {
    let extensions: &[(&str, &[u8], &str)] = &[
        ("bad", &doing("(loop br 0)"), "limits = { cpu = '10s', time = '3s' }"),
        (
            "good",
            &component(
                "package test:it; interface i { guest-test-good: func() -> u32; } world w { export i; }",
                r#"(func (export "test:it/i#guest-test-good") (result i32) (i32.const 7))"#,
            ),
            "",
        ),
    ];
    let Some(agent) = agent(extensions) else { return };
    settled(&agent, "bad");
    settled(&agent, "good");
    assert_eq!(agent.client().run("guest-test-good", json!({})).unwrap(), 7);
    let loops: Vec<_> = (0..6)
        .map(|_| {
            let mut client = agent.client();
            std::thread::spawn(move || client.refused("guest-test-x", json!({})).unwrap().1)
        })
        .collect();
    agent.until("loops", |agent| told(&mut agent.client(), "bad")["running"] == 4);
    let mut client = agent.client();
    for _ in 0..200 {
        client.run("guest-ping", json!({})).unwrap();
    }
    let begun = Instant::now();
    assert_eq!(client.run("guest-test-good", json!({})).unwrap(), 7);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let ends: Vec<String> = loops.into_iter().map(|it| it.join().unwrap()).collect();
    let late = ends.iter().filter(|end| end.contains("did not answer in time")).count();
    let unserved = ends
        .iter()
        .filter(|end| end.contains("4 calls (limits.concurrency) were under way all the time"))
        .count();
    // One that waited may get its turn in the last moment.
    assert!(late >= 4 && late + unserved == 6, "{ends:?}");
    in_step(&agent);
}

#[test]
fn what_fails_again_and_again_rests() {
    let Some(agent) = agent(&[("bad", &doing("unreachable"), "")]) else { return };
    settled(&agent, "bad");
    let mut client = agent.client();
    for _ in 0..3 {
        assert!(failure(&mut client, "guest-test-x", json!({})).contains("failed: "));
    }
    let rests = failure(&mut client, "guest-test-x", json!({}));
    assert!(rests.starts_with("extension bad: guest-test-x rests for another "), "{rests}");
    assert!(
        rests.ends_with(
            " ms after 3 failures in a row; the last: it failed: wasm `unreachable` instruction executed"
        ),
        "{rests}"
    );
    assert!(told(&mut client, "bad")["commands"][0]["paused-ms"].as_u64().is_some_and(|left| left <= 1000));
    agent.until("its rest is over", |agent| {
        told(&mut agent.client(), "bad")["commands"][0]["paused-ms"] == Value::Null
    });
    assert!(failure(&mut client, "guest-test-x", json!({})).contains("failed: "));
    assert!(told(&mut client, "bad")["commands"][0]["paused-ms"].as_u64().is_some_and(|left| left > 1000));
}

#[test]
fn a_hundred_extensions_serve_side_by_side() {
    let components: Vec<(String, Vec<u8>)> = (0..100)
        .map(|number| {
            let wit = format!("package test:it; interface i {{ guest-test-n{number}: func() -> u32; }} world w {{ export i; }}");
            let wat = format!(r#"(func (export "test:it/i#guest-test-n{number}") (result i32) (i32.const {number}))"#);
            (format!("n{number}"), component(&wit, &wat))
        })
        .collect();
    let extensions: Vec<_> = components
        .iter()
        .map(|(name, bytes)| (name.as_str(), &bytes[..], "limits = { time = '30s' }"))
        .collect();
    let Some(agent) = agent(&extensions) else { return };
    for (number, (name, _)) in components.iter().enumerate() {
        settled(&agent, name);
        assert_eq!(agent.client().run(&format!("guest-test-n{number}"), json!({})).unwrap(), number);
    }
    let threads = agent
        .proc("status")
        .lines()
        .find_map(|line| line.strip_prefix("Threads:")?.trim().parse::<usize>().ok());
    assert!(threads.unwrap() < 40, "{threads:?}");
    in_step(&agent);
}
