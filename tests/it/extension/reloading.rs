//! A configuration that is read again: extensions come, go and change while others serve, and no request is lost.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use waga_tests::agent::Agent;
use waga_tests::component::component;

use super::hostile::in_step;
use super::{agent, cache, settled, setup, told};

/// A component with one command that answers a number.
fn numbered(command: &str, number: u32) -> Vec<u8> {
    component(
        &format!("package test:it; interface i {{ {command}: func() -> u32; }} world w {{ export i; }}"),
        &format!(r#"(func (export "test:it/i#{command}") (result i32) (i32.const {number}))"#),
    )
}

/// Writes the configuration and a signal, and waits until that was done for the time that is given.
fn reload(agent: &Agent, text: &str, times: usize) {
    crate::daemon::reload(agent, text);
    agent.until("a reload", |agent| {
        std::thread::sleep(Duration::from_millis(5));
        agent.log().matches(": reloaded").count() >= times
    });
}

fn table(agent: &Agent, name: &str, lines: &str) -> String {
    let module = agent.dir().join(format!("{name}.wasm"));
    format!("[extension.{name}]\nmodule = '{}'\n{lines}\n", module.display())
}

#[test]
fn extensions_come_change_and_go() {
    let Some(agent) = agent(&[("one", &numbered("guest-test-one", 1), "")]) else { return };
    let mut client = agent.client();
    let base = format!("[extensions]\ncache = '{}'\n", cache(agent.dir()).display());
    assert_eq!(client.run("guest-test-one", json!({})).unwrap(), 1);
    // One more, which is there at once.
    fs::write(agent.dir().join("two.wasm"), numbered("guest-test-two", 2)).unwrap();
    reload(&agent, &format!("{base}{}{}", table(&agent, "one", ""), table(&agent, "two", "")), 1);
    assert_eq!(client.run("guest-test-two", json!({})).unwrap(), 2);
    // What was known of the first is known still: it is not loaded again, and its calls are counted on.
    assert_eq!(told(&mut client, "one")["calls"], 1);
    assert_eq!(told(&mut client, "one")["runtime"], "native");
    // Another component at the same place; and the same with another limit.
    fs::write(agent.dir().join("new"), numbered("guest-test-one", 11)).unwrap();
    fs::rename(agent.dir().join("new"), agent.dir().join("one.wasm")).unwrap();
    let limits = "limits = { memory = '8MiB' }";
    reload(&agent, &format!("{base}{}{}", table(&agent, "one", ""), table(&agent, "two", limits)), 2);
    assert_eq!(client.run("guest-test-one", json!({})).unwrap(), 11);
    assert_eq!(client.run("guest-test-two", json!({})).unwrap(), 2);
    assert_eq!(told(&mut client, "two")["limits"]["memory"], 8 << 20);
    // Gone: nobody has that command, and its table is not told of.
    reload(&agent, &format!("{base}{}", table(&agent, "two", "")), 3);
    assert_eq!(
        client.refused("guest-test-one", json!({})).unwrap().1,
        "The command guest-test-one has not been found"
    );
    assert_eq!(client.run("waga-get-extensions", json!({})).unwrap().as_array().unwrap().len(), 1);
    reload(&agent, "", 4);
    assert_eq!(client.run("waga-get-extensions", json!({})).unwrap(), json!([]));
    assert_eq!(client.refused("guest-test-two", json!({})).unwrap().0, "CommandNotFound");
    assert!(!agent.log().contains("takes a restart"), "{}", agent.log());
    // The engine's threads went with the last of them.
    agent
        .until("no thread of components", |agent| !threads(agent).iter().any(|name| name.starts_with("ext")));
    // And come back.
    reload(&agent, &format!("{base}{}", table(&agent, "two", "")), 5);
    assert_eq!(client.run("guest-test-two", json!({})).unwrap(), 2);
    in_step(&agent);
}

fn threads(agent: &Agent) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let name = |task: std::io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
}

#[test]
fn a_fault_keeps_the_old_set_and_what_is_refused_is_swapped_in_as_refused() {
    let Some(agent) = agent(&[("one", &numbered("guest-test-one", 1), "")]) else { return };
    let mut client = agent.client();
    let base = format!("[extensions]\ncache = '{}'\n", cache(agent.dir()).display());
    let good = format!("{base}{}", table(&agent, "one", ""));
    for bad in [format!("{good}["), format!("{good}colour = 1\n"), format!("{good}add = ['guest-ping']\n")] {
        let before = agent.log().matches("not reloaded").count();
        crate::daemon::reload(&agent, &bad);
        agent.until("an error", |agent| agent.log().matches("not reloaded").count() > before);
        assert_eq!(client.run("guest-test-one", json!({})).unwrap(), 1);
    }
    fs::write(agent.dir().join("bad.wasm"), "no component").unwrap();
    reload(&agent, &format!("{good}{}", table(&agent, "bad", "add = ['guest-test-bad']")), 1);
    assert_eq!(client.run("guest-test-one", json!({})).unwrap(), 1);
    let bad = told(&mut client, "bad");
    assert_eq!((&bad["state"], &bad["commands"][0]["enabled"]), (&json!("refused"), &json!(false)), "{bad}");
    in_step(&agent);
}

/// Ten thousand calls while the set is swapped over and over, for one that answers otherwise and one that wraps it: each is answered, by
/// the one or the other.
#[test]
fn no_call_is_lost_while_sets_are_swapped() {
    let Some(setup) = setup(&[
        ("one", &numbered("guest-test-one", 1), "limits = { time = '20s' }"),
        ("other", &numbered("guest-test-one", 2), "limits = { time = '20s' }"),
    ]) else {
        return;
    };
    let agent = setup.quiet().start();
    for name in ["one", "other"] {
        settled(&agent, name);
    }
    let base = format!("[extensions]\ncache = '{}'\n", cache(agent.dir()).display());
    let lines = "limits = { time = '20s' }";
    let sets = ["one", "other"].map(|name| format!("{base}{}", table(&agent, name, lines)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = agent.client();
                    let mut seen = [0, 0];
                    for _ in 0..2500 {
                        let number = client.run("guest-test-one", json!({})).unwrap();
                        assert!(number == 1 || number == 2, "{number}");
                        seen[usize::from(number == 2)] += 1;
                    }
                    seen
                })
            })
            .collect();
        let swap = scope.spawn(|| {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                crate::daemon::reload(&agent, &sets[times % 2]);
                std::thread::sleep(Duration::from_millis(20));
                times += 1;
            }
            times
        });
        let seen: Vec<[u32; 2]> = load.into_iter().map(|it| it.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(swap.join().unwrap() > 3);
        let all = seen.iter().fold([0, 0], |sum, it| [sum[0] + it[0], sum[1] + it[1]]);
        assert!(all[0] + all[1] == 10_000 && all[0] > 0 && all[1] > 0, "{all:?}");
    });
    in_step(&agent);
}

/// What was called before ends by the set that it began with.
#[test]
fn a_call_in_flight_ends_on_the_old_set() {
    let slow = component(
        "package test:it; interface i { guest-test-slow: func() -> u32; }
         world w { import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0; export i; }",
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $in (param i64) (result i32)))
           (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
           (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
           (func (export "test:it/i#guest-test-slow") (result i32) (local $wait i32)
                (local.set $wait (call $in (i64.const 1000000000))) (call $block (local.get $wait)) (call $drop (local.get $wait)) (i32.const 7))"#,
    );
    let Some(agent) = agent(&[("slow", &slow, "limits = { time = '20s' }")]) else { return };
    std::thread::scope(|scope| {
        let call = scope.spawn(|| agent.client().run("guest-test-slow", json!({})).unwrap());
        agent.until("it is called", |agent| told(&mut agent.client(), "slow")["running"] == 1);
        reload(&agent, "", 1);
        assert_eq!(agent.client().run("waga-get-extensions", json!({})).unwrap(), json!([]));
        assert_eq!(call.join().unwrap(), 7);
    });
    in_step(&agent);
}
