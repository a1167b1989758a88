//! Files beyond the tables: pipes, full devices, large reads, what is kept between runs.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::libc::O_NONBLOCK;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use waga_tests::agent::{Agent, request};
use waga_tests::client::Client;

use crate::{each, program, waga};

fn read(client: &mut Client, handle: &Value, count: usize) -> Value {
    client.run("guest-file-read", json!({"handle": handle, "count": count})).unwrap()
}

fn data(reply: &Value) -> Vec<u8> {
    STANDARD.decode(reply["buf-b64"].as_str().unwrap()).unwrap()
}

#[test]
fn a_pipe_gives_what_it_has_and_loses_nothing() {
    let Some(agent) = waga() else { return };
    let path = agent.dir().join("pipe");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut client = agent.client();
    let handle = client.run("guest-file-open", json!({"path": "pipe"})).unwrap();
    let mut writer = File::options().write(true).open(&path).unwrap();
    let nothing = client.refused("guest-file-read", json!({"handle": handle, "count": 10})).unwrap();
    assert_eq!(nothing.1, "failed to read file: Resource temporarily unavailable");
    writer.write_all(b"abc").unwrap();
    let some = read(&mut client, &handle, 10);
    assert_eq!((data(&some), &some["count"], &some["eof"]), (b"abc".to_vec(), &json!(3), &json!(false)));
    writer.write_all(b"defghijklmnop").unwrap();
    assert_eq!(data(&read(&mut client, &handle, 10)), b"defghijklm");
    drop(writer);
    let mut rest = Vec::new();
    loop {
        // A child that another test starts just now may hold the writer's end a moment longer; then there is nothing, not the end.
        let reply = client
            .ask(&json!({"execute": "guest-file-read", "arguments": {"handle": handle, "count": 10}}))
            .unwrap();
        if reply.get("error").is_none() {
            rest.extend(data(&reply["return"]));
        }
        if reply["return"]["eof"] == true {
            break;
        }
    }
    assert_eq!(rest, b"nop");
}

#[test]
fn a_pipe_takes_what_it_can() {
    let Some(agent) = waga() else { return };
    let path = agent.dir().join("pipe");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut reader = File::options().read(true).custom_flags(O_NONBLOCK).open(&path).unwrap();
    let mut client = agent.client();
    let handle = client.run("guest-file-open", json!({"path": "pipe", "mode": "w"})).unwrap();
    let all = vec![b'x'; 1 << 20];
    let write = json!({"handle": handle, "buf-b64": STANDARD.encode(&all)});
    let count = client.run("guest-file-write", write).unwrap()["count"].as_u64().unwrap();
    assert!(0 < count && count < 1 << 20, "{count} bytes in a pipe");
    let mut taken = vec![0; 1 << 20];
    assert_eq!(reader.read(&mut taken).unwrap() as u64, count);
}

#[test]
fn a_full_device_shows_at_the_write() {
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        let handle = client.run("guest-file-open", json!({"path": "/dev/full", "mode": "w"})).unwrap();
        let small = json!({"handle": handle, "buf-b64": "YWJj"});
        if program.is_waga() {
            let (_, desc) = client.refused("guest-file-write", small).unwrap();
            assert_eq!(desc, "failed to write to file: No space left on device");
            client.run("guest-file-flush", json!({"handle": handle})).unwrap();
        } else {
            // The original has it in a buffer, and tells only when that is written out.
            client.run("guest-file-write", small).unwrap();
            let (_, desc) = client.refused("guest-file-flush", json!({"handle": handle})).unwrap();
            assert_eq!(desc, "failed to flush file: No space left on device");
        }
        let large = json!({"handle": handle, "buf-b64": STANDARD.encode([0; 10_000])});
        let (_, desc) = client.refused("guest-file-write", large).unwrap();
        assert_eq!(desc, "failed to write to file: No space left on device");
    });
}

#[test]
fn a_handle_for_reading_takes_nothing() {
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        std::fs::write(agent.dir().join("f"), "abc").unwrap();
        let reading = client.run("guest-file-open", json!({"path": "f"})).unwrap();
        let writing = client.run("guest-file-open", json!({"path": "f", "mode": "a"})).unwrap();
        let (_, desc) =
            client.refused("guest-file-write", json!({"handle": reading, "buf-b64": "YWJj"})).unwrap();
        assert_eq!(desc, "failed to write to file: Bad file descriptor");
        let (_, desc) = client.refused("guest-file-read", json!({"handle": writing})).unwrap();
        assert_eq!(desc, "failed to read file: Bad file descriptor");
        assert_eq!(std::fs::read(agent.dir().join("f")).unwrap(), b"abc");
    });
}

#[test]
fn the_largest_read_is_right_and_needs_little_memory() {
    each(|program| {
        let agent = program.setup().quiet().start();
        let content: Vec<u8> =
            (0..48_u32 << 18).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::write(agent.dir().join("large"), &content).unwrap();
        let mut client = agent.client();
        let handle = client.run("guest-file-open", json!({"path": "large"})).unwrap();
        read(&mut client, &handle, 10);
        client.run("guest-file-seek", json!({"handle": handle, "offset": 0, "whence": "set"})).unwrap();
        agent.forget_peak();
        let before = agent.memory("VmHWM");
        client.send(request("guest-file-read", &json!({"handle": handle, "count": 48 << 20}))).unwrap();
        let line = client.line().unwrap().unwrap();
        let grown = agent.memory("VmHWM").saturating_sub(before);
        let reply: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&reply["return"]["count"], &reply["return"]["eof"]), (&json!(48 << 20), &json!(false)));
        assert!(data(&reply["return"]) == content, "the file's content");
        if program.is_waga() {
            assert!(grown < 16 << 20, "{} KiB more for a read of 48 MiB", grown >> 10);
        }
        assert_eq!(read(&mut client, &handle, 1)["eof"], true);
    });
}

#[test]
fn what_is_written_large_is_read_back() {
    each(|program| {
        let agent = program.setup().quiet().start();
        let mut client = agent.client();
        let content: Vec<u8> =
            (0..3_000_017_u32).map(|byte| byte.wrapping_mul(31).to_le_bytes()[0]).collect();
        let handle = client.run("guest-file-open", json!({"path": "f", "mode": "w+"})).unwrap();
        for piece in content.chunks(1_000_003) {
            let reply =
                client.run("guest-file-write", json!({"handle": handle, "buf-b64": STANDARD.encode(piece)}));
            assert_eq!(reply.unwrap()["count"], piece.len());
        }
        client.run("guest-file-close", json!({"handle": handle})).unwrap();
        assert!(std::fs::read(agent.dir().join("f")).unwrap() == content, "the file's content");
    });
}

fn open(agent: &Agent) -> i64 {
    agent.client().run("guest-file-open", json!({"path": "/dev/null"})).unwrap().as_i64().unwrap()
}

#[test]
fn handles_go_on_after_a_restart() {
    each(|program| {
        let agent = program.agent();
        assert_eq!([open(&agent), open(&agent)], [1000, 1001]);
        let agent = agent.restart(Signal::SIGTERM);
        agent.client().refused("guest-file-close", json!({"handle": 1001})).unwrap();
        assert_eq!(open(&agent), 1002);
        let agent = agent.restart(Signal::SIGKILL);
        let after = open(&agent);
        assert!(after > 1002, "{after} was given out before the kill");
        let agent = agent.restart(Signal::SIGKILL);
        assert!(open(&agent) > after);
    });
}

#[test]
fn the_state_of_the_original_is_gone_on_with() {
    each(|program| {
        let setup = program.setup();
        std::fs::write(setup.dir().join("qga.state"), "[global]\nfd_counter=4321\n").unwrap();
        let agent = setup.start();
        assert_eq!(open(&agent), 4321);
        let state = || std::fs::read_to_string(agent.dir().join("qga.state")).unwrap();
        let counter =
            || state().strip_prefix("[global]\nfd_counter=").unwrap().trim_end().parse::<i64>().unwrap();
        assert!(counter() > 4321, "{}", state());
    });
}

#[test]
fn files_open_without_a_place_for_the_state() {
    let program = program();
    if !program.is_waga() {
        return; // It does not even start.
    }
    // As root nothing is unwritable but what does not exist, or does not write (procfs).
    for state in ["/nonexistent/folder", "/proc/self"] {
        let agent = program.setup().state_dir(state).start();
        std::fs::write(agent.dir().join("f"), "abc").unwrap();
        let mut client = agent.client();
        let first = client.run("guest-file-open", json!({"path": "f"})).unwrap();
        let second = client.run("guest-file-open", json!({"path": "f"})).unwrap();
        assert_ne!(first, second);
        assert_eq!(data(&read(&mut client, &second, 10)), b"abc");
    }
}
