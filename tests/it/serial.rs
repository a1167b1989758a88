//! A serial line, which is a pseudoterminal here: bytes go through unharmed, and a hang-up is not the end.

use nix::sys::termios::{BaudRate, ControlFlags, InputFlags, LocalFlags, OutputFlags, cfgetospeed};
use serde_json::json;
use waga_tests::agent::{Agent, Setup, request};
use waga_tests::client::Client;
use waga_tests::pty::Pty;

use crate::{each, program};

/// An agent on a line, when both are in step.
fn on_line(setup: Setup) -> (Agent, Pty, Client) {
    let (pty, mut client) = Pty::new().unwrap();
    pty.set_speed(BaudRate::B115200).unwrap();
    let link = setup.dir().join("line");
    pty.link(&link).unwrap();
    let agent = setup.options(["-m".into(), "isa-serial".into(), "-p".into(), link]).launch();
    client.await_sync().unwrap_or_else(|error| panic!("{error}: {}", agent.log()));
    (agent, pty, client)
}

/// Waga on a line, and `None` where it is not what is tested.
fn waga_on_line(options: &[&str]) -> Option<(Agent, Pty, Client)> {
    let program = program();
    program.is_waga().then(|| on_line(program.setup().options(options)))
}

#[test]
fn requests_are_answered_over_a_line() {
    each(|program| {
        let (agent, _pty, mut client) = on_line(program.setup());
        assert_eq!(
            client.ask(&json!({"execute": "guest-ping", "id": "é"})).unwrap(),
            json!({"return": {}, "id": "é"})
        );
        assert_eq!(client.refused("guest-pong", json!({})).unwrap().0, "CommandNotFound");
        // More than a line holds.
        std::fs::write(agent.dir().join("f"), vec![b'x'; 100_000]).unwrap();
        let handle = client.run("guest-file-open", json!({"path": "f"})).unwrap();
        let read = client.run("guest-file-read", json!({"handle": handle, "count": 100_000})).unwrap();
        assert_eq!((&read["count"], read["buf-b64"].as_str().unwrap().len()), (&json!(100_000), 133_336));
        if !program.is_waga() {
            // Of replies that it writes one right after another the original loses some now and then.
            return;
        }
        for number in 0..20 {
            client.send(request("guest-sync", &json!({"id": number})).repeat(10)).unwrap();
        }
        for number in 0..200 {
            assert_eq!(client.text().unwrap(), format!("{{\"return\": {}}}", number / 10));
        }
        // Before the line is hung up, which is another end.
        agent.stop();
    });
}

#[test]
fn every_byte_goes_through_as_it_is() {
    let Some((agent, _pty, mut line)) = waga_on_line(&[]) else { return };
    let beside = agent.program().agent();
    let mut socket = beside.client();
    let ask = |client: &mut Client, byte: u8| {
        let parts = [&b"{\"execute\":\"guest-ping\",\"id\":\"a"[..], &[byte], b"b\"}\r\n\xff"];
        client.send(parts.concat()).unwrap();
        client.send(request("guest-sync-delimited", &json!({"id": 5}))).unwrap();
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &Vec<u8>| !line.ends_with(b"{\"return\": 5}")) {
            let line = client.line().unwrap().unwrap();
            // An error begins with the line it is in, of all that came so far.
            let start = line.windows(10).position(|window| window == b"JSON parse").unwrap_or_default();
            lines.push(line[start..].to_vec());
        }
        lines
    };
    for byte in 0..=255 {
        let (over_line, over_socket) = (ask(&mut line, byte), ask(&mut socket, byte));
        assert_eq!(over_line, over_socket, "byte {byte:#04x}");
        assert!(over_line.last().unwrap().contains(&0xff));
    }
    agent.stop();
}

#[test]
fn the_line_is_raw_and_its_speed_is_the_one_meant() {
    let Some((agent, pty, _client)) = waga_on_line(&[]) else { return };
    let modes = pty.modes().unwrap();
    // qemu-ga adds its speed to the bits of 115200 and gets 4000000.
    assert_eq!(cfgetospeed(&modes), BaudRate::B38400);
    assert_eq!(modes.input_flags, InputFlags::empty());
    assert_eq!(modes.output_flags, OutputFlags::empty());
    assert_eq!(modes.local_flags, LocalFlags::empty());
    let wanted = ControlFlags::CS8 | ControlFlags::CREAD | ControlFlags::CLOCAL;
    let others = ControlFlags::PARENB | ControlFlags::CSTOPB | ControlFlags::CRTSCTS | ControlFlags::HUPCL;
    assert_eq!(modes.control_flags & (wanted | others), wanted);
    agent.stop();
}

#[test]
fn what_is_no_line_is_refused_by_name() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    for (path, expected) in
        [("/dev/null", "not a serial line"), ("/nonexistent/tty", "No such file or directory")]
    {
        let (status, said) = program.setup().options(["-m", "isa-serial", "-p", path]).fails();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("isa-serial: {path}: {expected}")), "{said}");
    }
}

/// 7 of reference §5: an end that was read once left the agent deaf.
#[test]
fn a_line_that_was_hung_up_is_opened_again() {
    let Some((agent, _pty, mut client)) = waga_on_line(&[]) else { return };
    let descriptors = agent.descriptors();
    for _ in 0..3 {
        // What was begun on the old line is no part of what comes on the new one.
        client.send("{\"execute\":\"guest-ping\",\"id\":\"").unwrap();
        let (pty, next) = Pty::new().unwrap();
        pty.link(&agent.dir().join("line")).unwrap();
        drop(std::mem::replace(&mut client, next));
        client.await_sync().unwrap();
        assert_eq!(client.ask(&json!({"execute": "guest-ping"})).unwrap(), json!({"return": {}}));
    }
    agent.until("the old lines are closed", |agent| agent.descriptors() <= descriptors);
    agent.stop();
}

#[test]
fn without_a_line_the_agent_ends_and_says_why() {
    let Some((agent, _pty, client)) = waga_on_line(&[]) else { return };
    let line = agent.dir().join("line");
    std::fs::remove_file(&line).unwrap();
    drop(client);
    let (status, said) = agent.ended();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("isa-serial: {}: ", line.display())), "{said}");
    assert!(said.contains("cannot be opened: No such file or directory"), "{said}");
}

#[test]
fn with_retry_path_a_line_may_come_back_later() {
    let Some((agent, _pty, client)) = waga_on_line(&["-r"]) else { return };
    let line = agent.dir().join("line");
    std::fs::remove_file(&line).unwrap();
    drop(client);
    agent.until("it was tried", |agent| agent.log().contains("cannot be opened"));
    let (pty, mut client) = Pty::new().unwrap();
    pty.link(&line).unwrap();
    client.await_sync().unwrap();
    agent.until("it says so", |agent| agent.log().contains("is open again"));
    let log = agent.log();
    assert_eq!(log.matches("error: ").count(), 1, "an outage is one error: {log}");
}

#[test]
fn a_line_that_nobody_reads_holds_up_nobody_else() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let setup = program.setup();
    let (pty, mut silent) = Pty::new().unwrap();
    let (path, file) = (setup.dir().join("sock"), setup.dir().join("agent.toml"));
    let text = format!(
        "[[channel]]\nmethod = \"unix-listen\"\npath = {path:?}\n[[channel]]\nmethod = \"isa-serial\"\npath = {:?}\n",
        pty.path()
    );
    std::fs::write(&file, text).unwrap();
    std::fs::File::create(setup.dir().join("large")).unwrap().set_len(8 << 20).unwrap();
    let agent = setup.configured_channels().options(["-c".into(), file]).start();
    silent.await_sync().unwrap();
    let handle = silent.run("guest-file-open", json!({"path": "large"})).unwrap();
    silent.send(request("guest-file-read", &json!({"handle": handle, "count": 8 << 20}))).unwrap();
    let mut other = agent.client();
    for id in 0..100 {
        assert_eq!(other.run("guest-sync", json!({"id": id})).unwrap(), json!(id));
    }
    agent.until("asleep", |agent| agent.proc("stat").contains(") S "));
    // All of it comes at last.
    assert_eq!(silent.text().unwrap().matches('A').count(), (8 << 20) * 4 / 3 / 4 * 4 + 3);
}
