//! What an extension makes the agent itself do is bounded too: the lines it writes, the commands it brings, the time others wait for it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use waga_tests::component::component;

use super::{agent, disabled, failure, settled};

/// Standard output as a component imports it, cut to that.
const OUTPUT: &str = "package test:it;
    package wasi:io@0.2.3 {
        interface error { resource error; }
        interface streams {
            use error.{error};
            variant stream-error { last-operation-failed(error), closed }
            resource output-stream { write: func(contents: list<u8>) -> result<_, stream-error>; }
        }
    }
    package wasi:cli@0.2.3 {
        interface stdout { use wasi:io/streams@0.2.3.{output-stream}; get-stdout: func() -> output-stream; }
    }
    interface i { guest-test-x: func(); }
    world w {
        import wasi:io/streams@0.2.3; import wasi:cli/stdout@0.2.3; import wasi:clocks/monotonic-clock@0.2.0;
        import wasi:io/poll@0.2.0; export i;
    }";

/// A component whose command has `$get`, `$write` (stream, place, length, where the result goes), `$wait` and `$block` to use.
fn writing(body: &str) -> Vec<u8> {
    component(
        OUTPUT,
        &format!(
            r#"(import "wasi:cli/stdout@0.2.3" "get-stdout" (func $get (result i32)))
            (import "wasi:io/streams@0.2.3" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
            (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $wait (param i64) (result i32)))
            (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
            (func (export "test:it/i#guest-test-x") {body})"#
        ),
    )
}

#[test]
fn a_write_of_millions_of_lines_keeps_nobody_waiting() {
    let lines = writing(
        "(drop (memory.grow (i32.const 440)))
        (memory.fill (i32.const 1048576) (i32.const 10) (i32.const 28000000))
        (call $write (call $get) (i32.const 1048576) (i32.const 28000000) (i32.const 0))",
    );
    let Some(agent) = agent(&[("bad", &lines, "")]) else { return };
    settled(&agent, "bad");
    let mut client = agent.client();
    let _ = client.refused("guest-test-x", json!({}));
    let begun = Instant::now();
    assert_eq!(
        failure(&mut client, "guest-test-x", json!({})),
        "extension bad: guest-test-x failed: wrote more at once than check-write lets it"
    );
    // Ten times the CPU time that it has.
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn short_lines_count_as_what_they_cost() {
    // 64 KiB of "\n", each but the first of its words "x\n": 32,768 lines in one call of the agent.
    let lines = writing(
        "(local $at i32)
        (memory.fill (i32.const 1048576) (i32.const 10) (i32.const 65536))
        (local.set $at (i32.const 1048576))
        (loop
            (i32.store8 (local.get $at) (i32.const 120))
            (br_if 0 (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 2))) (i32.const 1114112))))
        (call $write (call $get) (i32.const 1048576) (i32.const 65536) (i32.const 0))",
    );
    let Some(agent) = agent(&[("bad", &lines, "limits = { cpu = '5s', time = '5s' }")]) else { return };
    settled(&agent, "bad");
    agent.client().run("guest-test-x", json!({})).unwrap();
    agent.until("what was lost", |agent| agent.log().contains("bytes of its log were lost"));
    // The limit on the log is 64 KiB; a line of the log has some words of the agent's besides.
    let said: usize = agent.log().lines().filter(|line| line.contains("info: x ")).map(str::len).sum();
    assert!(said < 256 << 10, "{said}");
}

#[test]
fn the_last_words_of_one_that_is_cut_are_told() {
    // "last", without the end of a line, then it hangs.
    let hangs = writing(
        "(i32.store (i32.const 1048576) (i32.const 0x7473616c))
        (call $write (call $get) (i32.const 1048576) (i32.const 4) (i32.const 0))
        (call $block (call $wait (i64.const 1000000000000)))",
    );
    let Some(agent) = agent(&[("bad", &hangs, "limits = { time = '200ms' }")]) else { return };
    settled(&agent, "bad");
    assert!(failure(&mut agent.client(), "guest-test-x", json!({})).contains("did not answer in time"));
    agent.until("its last words", |agent| agent.log().lines().any(|line| line.contains("last")));
}

#[test]
fn one_that_brings_too_many_commands_is_refused() {
    let (mut wit, mut wat) = (String::new(), String::new());
    for number in 0..257 {
        write!(wit, "guest-test-c{number}: func(); ").unwrap();
        write!(wat, "(func (export \"test:it/i#guest-test-c{number}\"))").unwrap();
    }
    let many = component(&format!("package test:it; interface i {{ {wit} }} world w {{ export i; }}"), &wat);
    let Some(agent) = agent(&[("bad", &many, ""), ("worse", &many, "add = ['guest-test-c1']")]) else {
        return;
    };
    let reason = "its component has 257 commands, and 256 are the most that one may have";
    assert_eq!(settled(&agent, "bad")["reason"], reason);
    settled(&agent, "worse");
    assert_eq!(disabled(&mut agent.client(), "guest-test-c1"), format!("extension worse: {reason}"));
}
