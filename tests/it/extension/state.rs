//! What extensions keep from one call to the next: with the call's success and not without, from one start to the next whatever ends it,
//! within a quota, and nobody else's.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use serde_json::{Value, json};
use waga_tests::agent::{Agent, left_out, request};
use waga_tests::client::Client;
use waga_tests::component::component;

use super::hostile::in_step;
use super::{agent, failure, settled, setup, told};

/// Passes on what `waga:extension/state` has; and counts, fails, traps and waits with something changed.
fn keeping() -> Vec<u8> {
    component(
        "package test:it;
        interface i {
            guest-test-get: func(key: string) -> option<list<u8>>;
            guest-test-set: func(key: string, value: list<u8>) -> result<_, string>;
            guest-test-delete: func(key: string);
            guest-test-keys: func() -> list<string>;
            guest-test-count: func() -> u32;
            guest-test-fail: func(key: string, value: list<u8>) -> result<_, string>;
            guest-test-trap: func(key: string, value: list<u8>);
            guest-test-wait: func(key: string, value: list<u8>);
            guest-test-flood: func() -> u32;
        }
        world w {
            import waga:extension/state@1.0.0; import wasi:io/poll@0.2.0;
            import wasi:clocks/monotonic-clock@0.2.0; export i;
        }",
        r#"(import "waga:extension/state@1.0.0" "get" (func $get (param i32 i32 i32)))
        (import "waga:extension/state@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))
        (import "waga:extension/state@1.0.0" "delete" (func $delete (param i32 i32)))
        (import "waga:extension/state@1.0.0" "keys" (func $keys (param i32)))
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $wait (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (data (i32.const 2048) "nfailed")
        (func (export "test:it/i#guest-test-get") (param i32 i32) (result i32)
            (call $get (local.get 0) (local.get 1) (i32.const 1024)) (i32.const 1024))
        (func (export "test:it/i#guest-test-set") (param i32 i32 i32 i32) (result i32)
            (call $set (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 1024)) (i32.const 1024))
        (func (export "test:it/i#guest-test-delete") (param i32 i32) (call $delete (local.get 0) (local.get 1)))
        (func (export "test:it/i#guest-test-keys") (result i32) (call $keys (i32.const 1024)) (i32.const 1024))
        (func (export "test:it/i#guest-test-count") (result i32)
            (call $get (i32.const 2048) (i32.const 1) (i32.const 1024))
            (i32.store (i32.const 512) (i32.const 1))
            (if (i32.load8_u (i32.const 1024)) (then
                (i32.store (i32.const 512) (i32.add (i32.const 1) (i32.load (i32.load (i32.const 1028)))))))
            (call $set (i32.const 2048) (i32.const 1) (i32.const 512) (i32.const 4) (i32.const 1024))
            (if (i32.load8_u (i32.const 1024)) (then unreachable))
            (i32.load (i32.const 512)))
        (func (export "test:it/i#guest-test-fail") (param i32 i32 i32 i32) (result i32)
            (call $set (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 1024))
            (i32.store (i32.const 1024) (i32.const 1))
            (i32.store (i32.const 1028) (i32.const 2049))
            (i32.store (i32.const 1032) (i32.const 6))
            (i32.const 1024))
        (func (export "test:it/i#guest-test-trap") (param i32 i32 i32 i32)
            (call $set (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 1024)) unreachable)
        (func (export "test:it/i#guest-test-wait") (param i32 i32 i32 i32)
            (call $set (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 1024))
            (call $block (call $wait (i64.const 300000000))))
        (func (export "test:it/i#guest-test-flood") (result i32) (local $count i32)
            (block (loop
                (i32.store (i32.const 512) (local.get $count))
                ;; Four letters, so that it is text.
                (i32.store (i32.const 516) (i32.or (i32.const 0x41414141) (i32.and (local.get $count) (i32.const 0x0f0f0f0f))))
                (i32.store (i32.const 520) (i32.or (i32.const 0x41414141)
                    (i32.and (i32.shr_u (local.get $count) (i32.const 4)) (i32.const 0x0f0f0f0f))))
                (call $set (i32.const 516) (i32.const 8) (i32.const 512) (i32.const 0) (i32.const 1024))
                (br_if 1 (i32.load8_u (i32.const 1024)))
                (br_if 1 (i32.eq (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 9000)))
                (br 0)))
            (local.get $count))"#,
    )
}

fn set(key: &str, value: &[u8]) -> Value {
    json!({"key": key, "value": STANDARD.encode(value)})
}

fn get(client: &mut Client, key: &str) -> Option<Vec<u8>> {
    let value = client.run("guest-test-get", json!({"key": key})).unwrap();
    value.as_str().map(|text| STANDARD.decode(text).unwrap())
}

fn keys(client: &mut Client) -> Vec<String> {
    serde_json::from_value(client.run("guest-test-keys", json!({})).unwrap()).unwrap()
}

fn folder(agent: &Agent) -> PathBuf {
    agent.dir().join("state")
}

#[test]
fn what_a_call_keeps_the_next_one_sees_and_so_does_the_next_start() {
    let Some(mut agent) = agent(&[("keep", &keeping(), "")]) else { return };
    assert_eq!(told(&mut agent.client(), "keep")["limits"]["state"], 1 << 20);
    let mut client = agent.client();
    assert_eq!((get(&mut client, "n"), keys(&mut client)), (None, vec![]));
    // Who asks and changes nothing leaves nothing on the disk.
    client.run("guest-test-delete", json!({"key": "n"})).unwrap();
    assert!(!folder(&agent).exists());
    for (round, signal) in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGKILL].into_iter().enumerate() {
        let mut client = agent.client();
        for count in 1..=5 {
            assert_eq!(client.run("guest-test-count", json!({})).unwrap(), round * 5 + count);
        }
        agent = agent.restart(signal);
    }
    let mut client = agent.client();
    client.run("guest-test-set", set("ü", b"\0\xff")).unwrap();
    client.run("guest-test-set", set("empty", b"")).unwrap();
    client.run("guest-test-delete", json!({"key": "n"})).unwrap();
    let agent = agent.restart(Signal::SIGKILL);
    let mut client = agent.client();
    assert_eq!(keys(&mut client), ["empty", "ü"]);
    assert_eq!(get(&mut client, "ü").unwrap(), b"\0\xff");
    assert_eq!((get(&mut client, "empty"), get(&mut client, "n")), (Some(vec![]), None));
}

#[test]
fn a_failure_keeps_nothing() {
    let Some(agent) = agent(&[("keep", &keeping(), "limits = { time = '250ms', state = '1KiB' }")]) else {
        return;
    };
    let mut client = agent.client();
    client.run("guest-test-set", set("n", b"old")).unwrap();
    // Its own error, a trap, the deadline.
    let (_, own) = client.refused("guest-test-fail", set("n", b"new")).unwrap();
    assert_eq!(own, "failed");
    assert!(failure(&mut client, "guest-test-trap", set("n", b"new")).contains("unreachable"));
    assert!(failure(&mut client, "guest-test-wait", set("n", b"new")).contains("did not answer in time"));
    assert_eq!(get(&mut client, "n").unwrap(), b"old");
    // What `set` refuses it says itself.
    assert_eq!(
        failure(&mut client, "guest-test-set", set("m", &[0; 1000])),
        "the state would come to 1069 bytes, and may have 1024 (limits.state = \"1KiB\")"
    );
    for key in [String::new(), "k".repeat(129)] {
        let told = failure(&mut client, "guest-test-set", set(&key, b""));
        assert_eq!(told, format!("a key has 1 to 128 bytes, not {}", key.len()));
    }
    client.run("guest-test-set", set(&"k".repeat(128), b"")).unwrap();
    assert_eq!(keys(&mut client), ["k".repeat(128), "n".to_owned()]);
    in_step(&agent);
}

#[test]
fn calls_at_once_keep_what_each_changed() {
    let lines = "limits = { concurrency = 8, state = '1KiB', time = '10s' }";
    let Some(agent) = agent(&[("keep", &keeping(), lines)]) else { return };
    let mut client = agent.client();
    client.run("guest-test-set", set("kept", b"x")).unwrap();
    // All of them have begun before the first ends.
    thread::scope(|scope| {
        for number in 0..8_u8 {
            let mut client = agent.client();
            scope.spawn(move || {
                client.run("guest-test-wait", set(&format!("k{number}"), &[number])).unwrap();
            });
        }
    });
    let expected: BTreeSet<String> = (0..8).map(|n| format!("k{n}")).chain(["kept".to_owned()]).collect();
    assert_eq!(keys(&mut client), expected.into_iter().collect::<Vec<_>>());
    // Each has room for its own: together they have not, and one fails for it.
    let both: Vec<_> = thread::scope(|scope| {
        let calls = ["a", "b"].map(|key| {
            let mut client = agent.client();
            scope.spawn(move || {
                client.ask(&json!({"execute": "guest-test-wait", "arguments": set(key, &[0; 500])})).unwrap()
            })
        });
        calls.map(|call| call.join().unwrap()).into()
    });
    let failed: Vec<_> = both.iter().filter_map(|reply| reply["error"]["desc"].as_str()).collect();
    assert_eq!(failed.len(), 1, "{both:?}");
    assert!(
        failed[0].starts_with(
            "extension keep: guest-test-wait did not keep what it changed: the state would come to"
        ) && failed[0].contains("(limits.state = \"1KiB\")"),
        "{failed:?}"
    );
}

/// Thousands of calls' worth in one, again and again: no more than the quota is ever in memory or on the disk.
#[test]
fn a_flood_stays_within_the_quota() {
    let lines = "limits = { cpu = '10s', time = '20s', memory = '1GiB' }";
    let Some(agent) = agent(&[("keep", &keeping(), lines)]) else { return };
    let mut client = agent.client();
    let count = client.run("guest-test-flood", json!({})).unwrap().as_u64().unwrap();
    assert!(count > 5000, "{count}");
    let (memory, descriptors) = (agent.memory("VmRSS"), agent.descriptors());
    for _ in 0..10 {
        client.run("guest-test-flood", json!({})).unwrap();
        client.run("guest-test-count", json!({})).unwrap();
    }
    let grown = agent.memory("VmRSS").saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown}");
    assert_eq!(agent.descriptors(), descriptors);
    let files: Vec<_> =
        fs::read_dir(folder(&agent)).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert!(files.len() == 1 && files[0] < 1 << 20, "{files:?}");
}

#[test]
fn an_agent_that_is_killed_while_it_keeps_has_kept_all_that_it_said() {
    let Some(mut agent) = agent(&[("keep", &keeping(), "")]) else { return };
    let mut last = 0;
    for round in 0..12_u64 {
        let mut client = agent.client();
        let begun = Instant::now();
        let until = Duration::from_millis(3 + round * 7 % 40);
        while begun.elapsed() < until || last == 0 {
            let next = client.run("guest-test-count", json!({})).unwrap().as_u64().unwrap();
            assert!(next == last + 1 || next == last + 2, "{next} after {last}");
            last = next;
        }
        // One more is under way when it is killed.
        client.send(request("guest-test-count", &json!({}))).unwrap();
        agent = agent.restart(Signal::SIGKILL);
    }
    // One and more in each round, however slow the machine is.
    assert!(last >= 12, "{last}");
    assert!(fs::read_dir(folder(&agent)).unwrap().count() <= 2);
}

#[test]
fn what_is_damaged_is_told_and_put_aside() {
    let Some(agent) = agent(&[("keep", &keeping(), "")]) else { return };
    agent.client().run("guest-test-count", json!({})).unwrap();
    let file = fs::read_dir(folder(&agent)).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let agent = agent.restart(Signal::SIGTERM);
    let mut client = agent.client();
    assert_eq!(keys(&mut client), [""; 0]);
    agent.until("its word", |agent| agent.log().contains("was cut or changed"));
    assert_eq!(client.run("guest-test-count", json!({})).unwrap(), 1);
    assert_eq!(fs::read(file.with_extension("damaged")).unwrap(), whole[..whole.len() - 1]);
    // What others may write to is not read, and not written over: the call fails until somebody has looked.
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let agent = agent.restart(Signal::SIGTERM);
    let mut client = agent.client();
    let text = failure(&mut client, "guest-test-count", json!({}));
    let start =
        format!("extension keep: guest-test-count cannot be told its state: {}: others", file.display());
    assert!(text.starts_with(&start) && text.ends_with("chmod go-w"), "{text}");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(client.run("guest-test-count", json!({})).unwrap(), 2);
}

/// Another module under the same name, and the same module under another name, begin with nothing; and what is theirs waits for them.
#[test]
fn nobody_gets_what_is_anothers() {
    let Some(agent) = agent(&[("keep", &keeping(), "")]) else { return };
    agent.client().run("guest-test-count", json!({})).unwrap();
    let path = agent.dir().join("agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    let configured = |agent: Agent, text: &str| {
        fs::write(&path, text).unwrap();
        let agent = agent.restart(Signal::SIGTERM);
        settled(&agent, if text.contains("[extension.other]") { "other" } else { "keep" });
        agent
    };
    let moved = agent.dir().join("moved.wasm");
    fs::copy(agent.dir().join("keep.wasm"), &moved).unwrap();
    let agent = configured(agent, &text.replace("keep.wasm", "moved.wasm"));
    assert_eq!(agent.client().run("guest-test-count", json!({})).unwrap(), 1);
    agent.until("its word", |agent| agent.log().contains("is that of another module"));
    let agent = configured(agent, &text.replace("[extension.keep]", "[extension.other]"));
    assert_eq!(agent.client().run("guest-test-count", json!({})).unwrap(), 1);
    let agent = configured(agent, &text);
    assert_eq!(agent.client().run("guest-test-count", json!({})).unwrap(), 2);
}

/// In a mount namespace of its own, where the folder is a filesystem of two pages.
#[test]
fn without_room_on_the_disk_the_call_fails_and_what_was_kept_stays() {
    if !Uid::effective().is_root() {
        return left_out("a disk that is full, which takes root");
    }
    let Some(setup) = setup(&[("keep", &keeping(), "")]) else { return };
    let state = setup.dir().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    let run = move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
            return left_out(&format!("a disk that is full: no mount namespace ({error})"));
        }
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), Some("size=16k,mode=700")).unwrap();
        let agent = setup.start();
        settled(&agent, "keep");
        let mut client = agent.client();
        client.run("guest-test-set", set("n", b"old")).unwrap();
        let text = failure(&mut client, "guest-test-set", set("n", &[7; 50_000]));
        assert!(
            text.contains("did not keep what it changed") && text.contains("No space left on device"),
            "{text}"
        );
        assert_eq!(get(&mut client, "n").unwrap(), b"old");
        client.run("guest-test-set", set("n", b"new")).unwrap();
        let agent = agent.restart(Signal::SIGKILL);
        assert_eq!(get(&mut agent.client(), "n").unwrap(), b"new");
        only_state(&state);
        drop(agent);
        umount2(&state, MntFlags::MNT_DETACH).unwrap();
    };
    // The namespace is the thread's, and of what it starts.
    thread::spawn(run).join().unwrap();
}

fn only_state(folder: &Path) {
    let names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
}
