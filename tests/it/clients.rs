//! Clients that leave early, and hostile ones: the agent outlives them all and keeps nothing of theirs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::json;
use waga_tests::agent::{Agent, request};

use crate::waga;

const PING: &[u8] = b"{\"execute\":\"guest-ping\"}\n";

fn answers(agent: &Agent) {
    assert_eq!(agent.client().run("guest-sync", json!({"id": 5})).unwrap(), json!(5));
}

fn connect(agent: &Agent) -> UnixStream {
    UnixStream::connect(agent.socket()).unwrap()
}

/// A file of 48 MiB and a handle on it.
fn large_file(agent: &Agent) -> i64 {
    let file = std::fs::File::create(agent.dir().join("large")).unwrap();
    file.set_len(48 << 20).unwrap();
    let handle = agent.client().run("guest-file-open", json!({"path": "large"})).unwrap();
    handle.as_i64().unwrap()
}

#[test]
fn a_client_that_leaves_its_reply_unread_harms_nobody() {
    let Some(agent) = waga() else { return };
    let mut staying = agent.client();
    for _ in 0..50 {
        let mut leaving = connect(&agent);
        leaving.write_all(&PING.repeat(20)).unwrap();
        // Once the first byte is here there are more, which are never read: the kernel resets the connection.
        leaving.read_exact(&mut [0]).unwrap();
        drop(leaving);
        assert_eq!(staying.run("guest-sync", json!({"id": 9})).unwrap(), json!(9));
    }
    answers(&agent);
}

#[test]
fn a_client_that_leaves_amid_a_large_reply_frees_it() {
    let Some(agent) = waga() else { return };
    let handle = large_file(&agent);
    let before = agent.descriptors();
    for _ in 0..10 {
        let mut leaving = connect(&agent);
        let read = request("guest-file-read", &json!({"handle": handle, "count": 48 << 20}));
        leaving.write_all(read.as_bytes()).unwrap();
        leaving.read_exact(&mut [0; 1000]).unwrap();
        drop(leaving);
        answers(&agent);
    }
    agent.until("all connections closed", |agent| agent.descriptors() <= before);
    // The handle is free again.
    let position =
        agent.client().run("guest-file-seek", json!({"handle": handle, "offset": 0, "whence": "set"}));
    assert_eq!(position.unwrap()["position"], 0);
}

#[test]
fn half_a_message_is_forgotten_with_its_client() {
    let Some(agent) = waga() else { return };
    for half in [
        "{",
        "{\"execute\":\"guest-",
        "[[[[",
        "\"",
        "{\"execute\":\"guest-ping\",\"id\":[",
        "12",
        "tru",
        "\\",
        "{\"a\":\"\\",
    ] {
        connect(&agent).write_all(half.as_bytes()).unwrap();
        let mut next = agent.client();
        next.send(PING).unwrap();
        assert_eq!(next.text().unwrap(), "{\"return\": {}}", "after {half:?}");
    }
}

#[test]
fn five_hundred_hostile_clients_leave_nothing_behind() {
    let Some(agent) = waga() else { return };
    let handle = large_file(&agent);
    answers(&agent);
    agent.until("idle", |agent| agent.descriptors() > 0);
    let before = agent.descriptors();
    let read = request("guest-file-read", &json!({"handle": handle, "count": 1 << 20}));
    let exec = request("guest-exec", &json!({"path": "true"}));
    let acts: [&[u8]; 10] = [
        b"",
        b"{\"execute\":",
        b"\xff\xff\xff\xff",
        &b"[".repeat(5000),
        &b"}".repeat(3000),
        &PING.repeat(2000),
        read.as_bytes(),
        exec.as_bytes(),
        b"\0\x01\x02 nope nope \"\n\n{\"execute\": 5}",
        &[b"\"", &[b'x'; 100_000][..]].concat(),
    ];
    for number in 0..500 {
        let mut client = connect(&agent);
        client.set_nonblocking(true).unwrap();
        // As much as goes without waiting; then gone, with or without a byte read.
        let _ = client.write(acts[number % acts.len()]);
        if number % 3 == 0 {
            let _ = client.read(&mut [0; 10]);
        }
    }
    answers(&agent);
    agent.until("all connections closed", |agent| agent.descriptors() <= before);
    agent.until("no child left", |agent| agent.children().is_empty());
}

#[test]
fn unfinished_messages_of_all_clients_together_are_bounded() {
    let Some(agent) = waga() else { return };
    let idle = agent.memory("VmRSS");
    let mut clients: Vec<_> = (0..4).map(|_| agent.client()).collect();
    let piece = vec![b'x'; 1 << 20];
    for client in &mut clients {
        client.send(b"{\"execute\":\"guest-ping\",\"id\":\"").unwrap();
    }
    for _ in 0..40 {
        for client in &mut clients {
            client.send(&piece).unwrap();
        }
    }
    answers(&agent);
    let held = agent.memory("VmHWM").saturating_sub(idle);
    // Every one of 64 MiB at most, 96 MiB together; a growing buffer may be held twice for a moment.
    assert!(held < 220 << 20, "{} MiB for 160 MiB of unfinished messages", held >> 20);
    for client in &mut clients {
        client.send("\"}\n").unwrap();
    }
    for client in &mut clients {
        assert!(client.text().unwrap().contains("error"), "40 MiB of id are too long, or were given up");
        assert_eq!(client.run("guest-sync", json!({"id": 1})).unwrap(), json!(1), "in step again");
    }
}
