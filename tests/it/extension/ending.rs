//! Calls that end before they answer: their client leaves, the agent is told to end, or somebody kills it.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use waga_tests::agent::request;
use waga_tests::component::component;

use super::hostile::in_step;
use super::{agent, settled, setup, told};

/// Three commands of one extension: one that waits, one that computes, one that answers.
fn waiting() -> Vec<u8> {
    component(
        "package test:it; interface i { guest-test-wait: func(); guest-test-loop: func(); guest-test-x: func() -> u32; }
        world w { import wasi:io/poll@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; export i; }",
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $wait (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (func (export "test:it/i#guest-test-wait") (call $block (call $wait (i64.const 1000000000000))))
        (func (export "test:it/i#guest-test-loop") (loop br 0))
        (func (export "test:it/i#guest-test-x") (result i32) (i32.const 7))"#,
    )
}

/// Limits that no test waits for.
const LONG: &str = "limits = { cpu = '10m', time = '10m', concurrency = 2 }";

#[test]
fn a_client_that_leaves_takes_its_call_with_it() {
    let Some(agent) = agent(&[("slow", &waiting(), LONG)]) else { return };
    settled(&agent, "slow");
    let mut client = agent.client();
    assert_eq!(client.run("guest-test-x", json!({})).unwrap(), 7);
    let (descriptors, memory) = (agent.descriptors(), agent.memory("VmRSS"));
    for command in ["guest-test-wait", "guest-test-loop"] {
        // All permits, and one that waits for a permit.
        let mut leaving: Vec<_> = (0..3).map(|_| agent.client()).collect();
        for client in &mut leaving {
            client.send(request(command, &json!({}))).unwrap();
        }
        agent.until("calls", |_| told(&mut agent.client(), "slow")["running"] == 2);
        drop(leaving);
        // A client is looked after for some seconds; then the permits are there again, and not at the deadline.
        let begun = Instant::now();
        assert_eq!(client.run("guest-test-x", json!({})).unwrap(), 7);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
    agent.until("all calls over", |_| told(&mut agent.client(), "slow")["running"] == 0);
    agent.until("descriptors", |agent| agent.descriptors() <= descriptors + 1);
    assert!(agent.memory("VmRSS") < memory + (8 << 20), "{} {memory}", agent.memory("VmRSS"));
    // Who leaves does not make the extension one that fails.
    assert_eq!(told(&mut client, "slow")["failures"], 0);
    in_step(&agent);
}

/// No one computes for somebody who left: the thread is idle again.
#[test]
fn nothing_goes_on_for_who_left() {
    let Some(agent) = agent(&[("slow", &waiting(), LONG)]) else { return };
    settled(&agent, "slow");
    let mut leaving = agent.client();
    leaving.send(request("guest-test-loop", &json!({}))).unwrap();
    agent.until("a call", |_| told(&mut agent.client(), "slow")["running"] == 1);
    drop(leaving);
    agent.until("the call over", |_| told(&mut agent.client(), "slow")["running"] == 0);
    let spent = || {
        let stat = agent.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    // At most one tick of it is left.
    std::thread::sleep(Duration::from_millis(100));
    let before = spent();
    std::thread::sleep(Duration::from_millis(500));
    assert!(spent() - before <= 5, "{} ticks of 10 ms in half a second", spent() - before);
}

#[test]
fn a_signal_ends_the_agent_whatever_runs() {
    for command in ["guest-test-wait", "guest-test-loop"] {
        let Some(agent) = agent(&[("slow", &waiting(), LONG)]) else { return };
        settled(&agent, "slow");
        let mut clients: Vec<_> = (0..4).map(|_| agent.client()).collect();
        for client in &mut clients {
            client.send(request(command, &json!({}))).unwrap();
        }
        agent.until("calls", |_| told(&mut agent.client(), "slow")["running"] == 2);
        let begun = Instant::now();
        agent.stop();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        for mut client in clients {
            assert_eq!(client.line().unwrap(), None, "an answer that nobody gave");
        }
    }
}

/// A module that differs from all others in what its command answers.
fn numbered(number: u32) -> Vec<u8> {
    component(
        "package test:it; interface i { guest-test-x: func() -> u32; } world w { export i; }",
        &format!(r#"(func (export "test:it/i#guest-test-x") (result i32) (i32.const {number}))"#),
    )
}

/// Killed at any time while it compiles and writes its cache, again and again: what it leaves behind hurts no start.
#[test]
fn an_agent_that_is_killed_while_it_writes_leaves_nothing_wrong() {
    let Some(setup) = setup(&[("x", &numbered(0), "")]) else { return };
    let module = setup.dir().join("x.wasm");
    let cache = setup.dir().join("cache");
    let count = || fs::read_dir(&cache).map_or(0, Iterator::count);
    let mut agent = setup.start();
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds < 300 && begun.elapsed() < Duration::from_secs(20) {
        rounds += 1;
        let before = count();
        fs::write(&module, numbered(rounds)).unwrap();
        agent = agent.restart(Signal::SIGKILL);
        // As soon as there is anything new; in some rounds a little later, or long before.
        let wait = Duration::from_millis(if rounds % 4 == 0 { 20 } else { 2000 });
        let until = Instant::now() + wait;
        while count() == before && Instant::now() < until {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(u64::from(rounds % 8) * 100));
    }
    assert!(rounds >= 20, "only {rounds} rounds");
    agent = agent.restart(Signal::SIGKILL);
    assert_eq!(agent.client().run("guest-test-x", json!({})).unwrap(), rounds);
    // Every module of before is what it was, from the cache or not.
    for number in (1..rounds).rev().take(10) {
        fs::write(&module, numbered(number)).unwrap();
        agent = agent.restart(Signal::SIGTERM);
        assert_eq!(agent.client().run("guest-test-x", json!({})).unwrap(), number);
    }
    in_step(&agent);
    println!("{rounds} rounds, {} files", count());
}
