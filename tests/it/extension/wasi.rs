//! What components get of WASI, called as often and for as much as they can: each of it has an end.

use std::time::{Duration, Instant};

use serde_json::json;
use waga_tests::component::{encode_with, module};

use super::hostile::{doing, fails, in_step};
use super::{agent, failure, settled, told};

/// As toolchains have it, cut to what is used here.
const WASI: [&str; 4] = [
    "package wasi:io@0.2.0;
    interface poll { resource pollable { block: func(); ready: func() -> bool; } }
    interface error { resource error { to-debug-string: func() -> string; } }
    interface streams {
        use error.{error};
        variant stream-error { last-operation-failed(error), closed }
        resource input-stream { read: func(len: u64) -> result<list<u8>, stream-error>; }
        resource output-stream { write: func(contents: list<u8>) -> result<_, stream-error>; }
    }",
    "package wasi:clocks@0.2.0;
    interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; now: func() -> u64; subscribe-duration: func(when: u64) -> pollable; }",
    "package wasi:random@0.2.0; interface random { get-random-bytes: func(len: u64) -> list<u8>; }",
    "package wasi:cli@0.2.0;
    interface exit { exit: func(status: result); }
    interface stdin { use wasi:io/streams@0.2.0.{input-stream}; get-stdin: func() -> input-stream; }
    interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
    interface stderr { use wasi:io/streams@0.2.0.{output-stream}; get-stderr: func() -> output-stream; }",
];

/// What each function is called in a body below, and its type.
const FUNCTIONS: [(&str, &str, &str); 10] = [
    ("wasi:clocks/monotonic-clock", "now", "(func $now (result i64))"),
    ("wasi:clocks/monotonic-clock", "subscribe-duration", "(func $wait (param i64) (result i32))"),
    ("wasi:io/poll", "[method]pollable.ready", "(func $ready (param i32) (result i32))"),
    ("wasi:io/streams", "[method]input-stream.read", "(func $read (param i32 i64 i32))"),
    ("wasi:io/streams", "[method]output-stream.write", "(func $write (param i32 i32 i32 i32))"),
    ("wasi:random/random", "get-random-bytes", "(func $random (param i64 i32))"),
    ("wasi:cli/exit", "exit", "(func $exit (param i32))"),
    ("wasi:cli/stdin", "get-stdin", "(func $stdin (result i32))"),
    ("wasi:cli/stdout", "get-stdout", "(func $stdout (result i32))"),
    ("wasi:cli/stderr", "get-stderr", "(func $stderr (result i32))"),
];

/// A component with one command that takes and gives nothing, and may use all of that.
fn using(body: &str) -> Vec<u8> {
    let mut interfaces: Vec<&str> = FUNCTIONS.iter().map(|(interface, ..)| *interface).collect();
    interfaces.dedup();
    let imports: String = interfaces.iter().map(|interface| format!("import {interface}@0.2.0; ")).collect();
    let wit =
        format!("package test:it; interface i {{ guest-test-x: func(); }} world w {{ {imports} export i; }}");
    let functions: String = FUNCTIONS
        .iter()
        .map(|(interface, name, ty)| format!("(import \"{interface}@0.2.0\" \"{name}\" {ty})\n"))
        .collect();
    let wat = format!(
        r#"{functions} (global $left (mut i32) (i32.const 0)) (func (export "test:it/i#guest-test-x") {body})"#
    );
    encode_with(&WASI, &wit, &module(&wat))
}

/// Does something so often.
fn times(count: u32, body: &str) -> String {
    format!(
        "(global.set $left (i32.const {count}))
        (loop {body} (global.set $left (i32.sub (global.get $left) (i32.const 1))) (br_if 0 (global.get $left)))"
    )
}

const MINUTE: &str = "limits = { cpu = '60s', time = '60s' }";

#[test]
fn a_million_calls_of_the_agent_stop_at_their_limit() {
    let expected = "called the agent too often (limits.host-calls = 10000)";
    let ten = Duration::from_secs(10);
    fails(&using(&times(1_000_000, "(drop (call $now))")), MINUTE, ten, expected);
    // Of an interface that is not ours, whose calls are counted by what they look up.
    let polls = format!(
        "(local $timer i32) (local.set $timer (call $wait (i64.const 0))) {}",
        times(1_000_000, "(drop (call $ready (local.get $timer)))")
    );
    fails(&using(&polls), MINUTE, ten, expected);
    let writes = format!(
        "(local $out i32) (local.set $out (call $stdout)) {}",
        times(1_000_000, "(call $write (local.get $out) (i32.const 0) (i32.const 0) (i32.const 16))")
    );
    fails(&using(&writes), MINUTE, ten, expected);
}

/// The limit itself is not too much; and a million are made in a time that computing may take.
#[test]
fn so_many_calls_are_made_and_one_more_is_not() {
    let most = using(&times(1_000_000, "(drop (call $now))"));
    let one_more = using(&times(1_000_001, "(drop (call $now))"));
    let lines = "limits = { cpu = '60s', time = '60s', host-calls = 1000000 }";
    let Some(fine) = agent(&[("most", &most, lines)]) else { return };
    settled(&fine, "most");
    fine.client().run("guest-test-x", json!({})).unwrap();
    fails(
        &one_more,
        lines,
        Duration::from_secs(10),
        "called the agent too often (limits.host-calls = 1000000)",
    );
}

#[test]
fn what_is_open_is_bounded() {
    let timers = "(loop (drop (call $wait (i64.const 1000000000000))) br 0)";
    let full = "failed: resource table has no free keys";
    fails(&using(timers), MINUTE, Duration::from_secs(1), full);
    fails(&using("(loop (drop (call $stdout)) br 0)"), MINUTE, Duration::from_secs(1), full);
}

#[test]
fn a_flood_of_random_bytes_is_cut() {
    let expected = "failed: asked for too many random bytes";
    let second = Duration::from_secs(1);
    fails(&using("(loop (call $random (i64.const 1000) (i32.const 16)) br 0)"), MINUTE, second, expected);
    fails(&using("(call $random (i64.const 0x7fffffffffffffff) (i32.const 16))"), MINUTE, second, expected);
    fails(&using("(call $random (i64.const -1) (i32.const 16))"), MINUTE, second, expected);
}

#[test]
fn its_own_end_is_the_calls_alone() {
    for status in [0, 1] {
        let ends = using(&format!("(call $exit (i32.const {status}))"));
        fails(&ends, "", Duration::from_secs(1), "ended itself instead of answering");
    }
}

/// A result that is an error (1), and of the errors the one that it is at its end (1).
#[test]
fn standard_input_is_at_its_end() {
    let reads = using(
        "(call $read (call $stdin) (i64.const 100) (i32.const 16))
        (if (i32.ne (i32.load8_u (i32.const 16)) (i32.const 1)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 20)) (i32.const 1)) (then unreachable))",
    );
    let Some(agent) = agent(&[("reads", &reads, "")]) else { return };
    settled(&agent, "reads");
    agent.client().run("guest-test-x", json!({})).unwrap();
}

#[test]
fn a_flood_of_output_is_cut() {
    for (stream, length) in [("$stdout", 60_000), ("$stderr", 4)] {
        // What it writes are lines of 63 bytes; or, a few bytes at a time, a line that never ends.
        let data = if length > 1 { format!("{}\n", "x".repeat(63)).repeat(1000) } else { "yyyy".to_owned() };
        let flood = format!(
            "(local $out i32) (local.set $out (call {stream})) {}",
            times(
                4000,
                &format!(
                    "(call $write (local.get $out) (i32.const 1024) (i32.const {length}) (i32.const 16))"
                )
            )
        );
        let bytes = using_with_data(&flood, &data.replace('\n', "\\n"));
        let lines = "limits = { cpu = '60s', time = '60s', log = '8KiB' }";
        let Some(agent) = agent(&[("loud", &bytes, lines)]) else { return };
        settled(&agent, "loud");
        let mut client = agent.client();
        let before = agent.log().len();
        client.run("guest-test-x", json!({})).unwrap();
        agent.forget_peak();
        let begun = Instant::now();
        client.run("guest-test-x", json!({})).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        let grown = agent.memory("VmHWM").saturating_sub(agent.memory("VmRSS"));
        assert!(grown < 8 << 20, "{grown}");
        agent.until("what was lost", |agent| agent.log().matches("bytes of its log were lost").count() == 2);
        let said = agent.log().len() - before;
        assert!(said < 64 << 10, "{said}");
        in_step(&agent);
    }
}

/// As [`using`], with this in its memory at 1024.
fn using_with_data(body: &str, data: &str) -> Vec<u8> {
    using(&format!("{body}) (data (i32.const 1024) \"{data}\""))
}

/// Whatever a component says is on one line each, and can neither pass for a line of the agent's nor reach a terminal.
#[test]
fn what_is_said_stays_on_its_line() {
    let forged = r"one\0a2026-11-24T10:00:00Z ERROR forged\0d\1b[2J\1b]0;title\07\c2\9b1m\00end";
    let lines = "add = ['guest-test-x']";
    let written = using_with_data(
        "(call $write (call $stderr) (i32.const 1024) (i32.const 64) (i32.const 16))",
        forged,
    );
    let logged = doing(&format!(
        "(call $log (i32.const 0) (i32.const 1024) (i32.const 64))) (data (i32.const 1024) \"{forged}\""
    ));
    for bytes in [written, logged] {
        let Some(agent) = agent(&[("says", &bytes, lines)]) else { return };
        settled(&agent, "says");
        agent.client().run("guest-test-x", json!({})).unwrap();
        agent.until("what it said", |agent| agent.log().contains("forged"));
        let log = agent.log();
        assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{log:?}");
        let line = log.lines().find(|line| line.contains("forged")).unwrap();
        assert!(line.contains("says"), "the extension is named: {line}");
        assert!(log.lines().all(|line| !line.starts_with("2026-11-24T10:00:00Z ERROR")), "{log}");
    }
}

/// What a component answers reaches the log and the peer in the same way.
#[test]
fn what_a_failure_says_stays_on_its_line() {
    let fails = encode_with(
        &[],
        "package test:it; interface i { guest-test-x: func() -> result<_, string>; } world w { export i; }",
        &module(
            r#"(data (i32.const 64) "bad\0a\1b[2J\c2\9b") (func (export "test:it/i#guest-test-x") (result i32)
            (i32.store (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 64)) (i32.store (i32.const 24) (i32.const 10))
            (i32.const 16))"#,
        ),
    );
    let Some(agent) = agent(&[("bad", &fails, "")]) else { return };
    settled(&agent, "bad");
    let mut client = agent.client();
    assert_eq!(failure(&mut client, "guest-test-x", json!({})), "bad\n\u{1b}[2J\u{9b}");
    client.send("{\"execute\":\"guest-test-x\"}\n").unwrap();
    let line = client.text().unwrap();
    assert!(line.is_ascii() && !line.contains('\u{1b}'), "{line}");
    // Its own word, which is no failure of the extension.
    assert_eq!(told(&mut client, "bad")["failures"], 0);
}

/// What Python's toolchain imports of it is linked, and leads nowhere.
#[test]
fn there_are_no_sockets() {
    let sockets = "package wasi:sockets@0.2.0;
        interface network { resource network; enum error-code { unknown, access-denied, not-supported } enum ip-address-family { ipv4, ipv6 } }
        interface instance-network { use network.{network}; instance-network: func() -> network; }
        interface tcp { use network.{network, error-code}; resource tcp-socket { start-listen: func() -> result<_, error-code>; } }
        interface tcp-create-socket {
            use network.{ip-address-family, error-code}; use tcp.{tcp-socket};
            create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
        }
        interface ip-name-lookup {
            use network.{network, error-code};
            resource resolve-address-stream;
            resolve-addresses: func(network: borrow<network>, name: string) -> result<resolve-address-stream, error-code>;
        }";
    let wit = "package test:it; interface i { guest-test-x: func(); }
        world w {
            import wasi:sockets/instance-network@0.2.0; import wasi:sockets/tcp@0.2.0;
            import wasi:sockets/tcp-create-socket@0.2.0; import wasi:sockets/ip-name-lookup@0.2.0; export i;
        }";
    // A result that is an error (1), and of the errors the second one (1).
    let denied = "(if (i32.ne (i32.load8_u (i32.const 16)) (i32.const 1)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 20)) (i32.const 1)) (then unreachable))";
    let wat = format!(
        r#"(import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))
        (import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $socket (param i32 i32)))
        (import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.start-listen" (func $listen (param i32 i32)))
        (import "wasi:sockets/ip-name-lookup@0.2.0" "resolve-addresses" (func $resolve (param i32 i32 i32 i32)))
        (data (i32.const 1024) "localhost")
        (func (export "test:it/i#guest-test-x")
            (call $socket (i32.const 0) (i32.const 16)) {denied}
            (call $resolve (call $network) (i32.const 1024) (i32.const 9) (i32.const 16)) {denied}
            (call $listen (i32.const 0) (i32.const 16)))"#
    );
    // All goes well up to the use of a socket that it has not got.
    let asks = encode_with(&[sockets], wit, &module(&wat));
    fails(&asks, "", Duration::from_secs(1), "failed: unknown handle index 0");
}
