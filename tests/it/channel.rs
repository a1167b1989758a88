//! The socket: several clients side by side, none able to slow another; the path is not taken from who listens there.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;

use nix::sys::signal::Signal;
use serde_json::json;
use waga_tests::agent::request;

use crate::table::rest;
use crate::{each, program, waga};

#[test]
fn clients_at_once_have_each_their_own_order() {
    let Some(agent) = waga() else { return };
    let agent = &agent;
    std::thread::scope(|scope| {
        for number in 0..8_i64 {
            scope.spawn(move || {
                let mut client = agent.client();
                let ids = number * 1000..number * 1000 + 300;
                let many: String = ids.clone().map(|id| request("guest-sync", &json!({"id": id}))).collect();
                client.send(many).unwrap();
                for id in ids {
                    assert_eq!(client.text().unwrap(), format!("{{\"return\": {id}}}"));
                }
            });
        }
    });
}

#[test]
fn halves_of_requests_of_two_clients_do_not_mix() {
    let Some(agent) = waga() else { return };
    let (mut first, mut second) = (agent.client(), agent.client());
    for _ in 0..20 {
        first.send(r#"{"execute":"guest-ping","id":"#).unwrap();
        assert_eq!(
            second.ask(&json!({"execute": "guest-ping", "id": "b"})).unwrap(),
            json!({"return": {}, "id": "b"})
        );
        first.send("\"a\"}").unwrap();
        assert_eq!(first.text().unwrap(), r#"{"return": {}, "id": "a"}"#);
    }
}

#[test]
fn a_client_that_does_not_read_waits_for_itself_alone() {
    let Some(agent) = waga() else { return };
    let mut silent = agent.client();
    silent.stream().set_nonblocking(true).unwrap();
    let line =
        request("guest-ping", &json!({})).replace("}\n", &format!(",\"id\":\"{}\"}}\n", "x".repeat(1000)));
    let mut sent = 0;
    loop {
        match silent.stream().write(&line.as_bytes()[sent % line.len()..]) {
            Ok(count) => sent += count,
            Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        assert!(sent < 64 << 20, "the agent reads on though nobody takes its replies");
    }
    let mut other = agent.client();
    for id in 0..100 {
        assert_eq!(other.run("guest-sync", json!({"id": id})).unwrap(), json!(id));
    }
    // It does not spin meanwhile: with nothing to do for anyone it sleeps.
    agent.until("asleep", |agent| agent.proc("stat").contains(") S "));
    silent.stream().set_nonblocking(false).unwrap();
    let whole = sent / line.len();
    silent.stream().shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut silent).lines().count() >= whole, "every request that came whole is answered");
}

#[test]
fn a_flood_does_not_keep_others_from_their_turn() {
    let Some(agent) = waga() else { return };
    let flood = "{\"execute\":\"guest-ping\"}\n".repeat(20_000);
    let mut flooding = agent.client();
    let mut taking = waga_tests::client::Client::over(flooding.stream().try_clone().unwrap()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            flooding.send(&flood).unwrap();
            flooding.stream().shutdown(Shutdown::Write).unwrap();
        });
        let taken = scope.spawn(move || rest(&mut taking).lines().count());
        let mut other = agent.client();
        for id in 0..200 {
            assert_eq!(other.run("guest-sync", json!({"id": id})).unwrap(), json!(id));
        }
        assert_eq!(taken.join().unwrap(), 20_000);
    });
}

#[test]
fn a_half_closed_client_gets_its_replies_and_then_the_end() {
    each(|program| {
        let agent = program.agent();
        for _ in 0..20 {
            let mut client = agent.client();
            client
                .send((0..50).map(|id| request("guest-sync", &json!({"id": id}))).collect::<String>())
                .unwrap();
            client.stream().shutdown(Shutdown::Write).unwrap();
            let expected: Vec<String> = (0..50).map(|id| format!("{{\"return\": {id}}}")).collect();
            assert_eq!(rest(&mut client), expected.join("\n"));
        }
    });
}

#[test]
fn more_clients_than_there_are_places_wait_and_are_served() {
    let Some(agent) = waga() else { return };
    let mut clients: Vec<_> = (0..256).map(|_| agent.client()).collect();
    assert_eq!(clients[255].run("guest-sync", json!({"id": 1})).unwrap(), json!(1));
    let mut late = agent.client();
    late.send(request("guest-sync", &json!({"id": 2}))).unwrap();
    assert_eq!(clients[0].run("guest-sync", json!({"id": 3})).unwrap(), json!(3));
    drop(clients);
    assert_eq!(late.text().unwrap(), "{\"return\": 2}");
}

#[test]
fn a_socket_in_use_is_not_taken_away() {
    let Some(agent) = waga() else { return };
    let setup = program().setup().options(["-p".into(), agent.socket()]);
    let (status, said) = setup.fails();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(agent.socket().to_str().unwrap()), "{said}");
    assert_eq!(agent.client().run("guest-sync", json!({"id": 1})).unwrap(), json!(1));
}

#[test]
fn a_socket_has_the_mode_and_the_owner_it_is_given_whatever_the_umask() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    for (mode, umask) in [(0o660, "077"), (0o600, "0"), (0o666, "027")] {
        let setup = program.setup();
        let (path, file) = (setup.dir().join("sock"), setup.dir().join("agent.toml"));
        let own = std::fs::metadata(setup.dir()).unwrap();
        // Root can give it to anyone, everybody else to himself.
        let (owner, group) = if own.uid() == 0 { (12345, 54321) } else { (own.uid(), own.gid()) };
        let access = format!("mode = \"{mode:04o}\"\nowner = {owner}\ngroup = {group}\n");
        let text = format!("[[channel]]\nmethod = \"unix-listen\"\npath = {path:?}\n{access}");
        std::fs::write(&file, text).unwrap();
        let agent = setup
            .configured_channels()
            .options(["-c".into(), file])
            .script(&format!("umask {umask}"))
            .start();
        let found = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (mode, owner, group));
        assert_eq!(agent.client().run("guest-sync", json!({"id": 1})).unwrap(), json!(1));
    }
    // Without a word about it, as the umask has it.
    each(|program| {
        let agent = program.setup().script("umask 027").start();
        assert_eq!(std::fs::symlink_metadata(agent.socket()).unwrap().mode() & 0o7777, 0o750);
    });
}

#[test]
fn a_socket_that_nobody_listens_on_is_used_again() {
    each(|program| {
        let setup = program.setup();
        drop(UnixListener::bind(setup.dir().join("sock")).unwrap());
        let agent = setup.start();
        assert_eq!(agent.client().run("guest-sync", json!({"id": 1})).unwrap(), json!(1));
        // What a killed agent leaves is such a socket.
        let agent = agent.restart(Signal::SIGKILL);
        assert_eq!(agent.client().run("guest-sync", json!({"id": 2})).unwrap(), json!(2));
    });
}

#[test]
fn a_file_in_the_place_of_the_socket_is_left_alone() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let setup = program.setup();
    let path = setup.dir().join("sock");
    std::fs::write(&path, "precious").unwrap();
    let keep = std::fs::read(&path).unwrap();
    let (status, said) = setup.fails();
    assert_eq!((status.code(), &keep[..]), (Some(1), &b"precious"[..]), "{said}");
    assert!(said.contains("not a socket"), "{said}");
}
