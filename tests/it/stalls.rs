//! Nobody waits for somebody else: clients that send nothing of use, that do not take what they asked for, that leave while they wait,
//! and devices that fail.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use waga_tests::agent::{Agent, left_out, request};

use crate::{program, waga};

/// Most bytes of a flood that may go to the agent between a request of somebody else and its reply.
const LET_THROUGH: usize = 24 << 20;

#[test]
fn bytes_that_make_no_request_take_their_turn_too() {
    let Some(agent) = waga() else { return };
    for (what, start, flood) in
        [("spaces", "", &b" "[..]), ("line ends", "", b"\n"), ("0xFF", "", b"\xff"), ("commas", "{1 ", b",")]
    {
        let (sent, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = UnixStream::connect(agent.socket()).unwrap();
                stream.write_all(start.as_bytes()).unwrap();
                let piece = flood.repeat(64 << 10);
                while !over.load(Ordering::Relaxed) {
                    sent.fetch_add(stream.write(&piece).unwrap(), Ordering::Relaxed);
                }
            });
            // Also when an assertion fails, or the flood would never end.
            let _end = Raised(&over);
            let mut other = agent.client();
            while sent.load(Ordering::Relaxed) < 1 << 20 {
                std::thread::yield_now();
            }
            let between: Vec<usize> = (0..30)
                .map(|id| {
                    let before = sent.load(Ordering::Relaxed);
                    assert_eq!(other.run("guest-sync", json!({"id": id})).unwrap(), json!(id));
                    sent.load(Ordering::Relaxed) - before
                })
                .collect();
            let most = between.iter().max().copied().unwrap_or_default();
            assert!(most < LET_THROUGH, "{most} bytes of {what} went before one reply");
        });
    }
}

/// Raises a flag when it is dropped.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client that asked for a large piece of a file and takes none of it; the file is busy until it leaves.
fn silent_reader(agent: &Agent) -> (UnixStream, i64) {
    let file = std::fs::File::create(agent.dir().join("large")).unwrap();
    file.set_len(48 << 20).unwrap();
    let handle = agent.client().run("guest-file-open", json!({"path": "large", "mode": "r+"})).unwrap();
    let mut silent = UnixStream::connect(agent.socket()).unwrap();
    let read = request("guest-file-read", &json!({"handle": handle, "count": 48 << 20}));
    silent.write_all(read.as_bytes()).unwrap();
    silent.read_exact(&mut [0]).unwrap();
    (silent, handle.as_i64().unwrap())
}

#[test]
fn a_busy_file_is_an_error_for_others_and_not_a_wait_for_ever() {
    let Some(agent) = waga() else { return };
    let (silent, handle) = silent_reader(&agent);
    let refused = agent.client().refused("guest-file-close", json!({"handle": handle})).unwrap();
    assert_eq!(refused.1, format!("handle '{handle}' is in use by another request"));
    drop(silent);
    agent.client().run("guest-file-close", json!({"handle": handle})).unwrap();
}

#[test]
fn clients_that_left_while_they_waited_leave_their_places() {
    let Some(agent) = waga() else { return };
    let (_silent, handle) = silent_reader(&agent);
    let before = agent.descriptors();
    for _ in 0..300 {
        // Past the places there are, a client waits to be accepted; its request is with the kernel by then.
        let mut leaving = UnixStream::connect(agent.socket()).unwrap();
        leaving.write_all(request("guest-file-flush", &json!({"handle": handle})).as_bytes()).unwrap();
    }
    assert_eq!(agent.client().run("guest-sync", json!({"id": 1})).unwrap(), json!(1));
    agent.until("the places are free", |agent| agent.descriptors() <= before);
}

#[test]
fn data_whose_commands_wait_is_bounded() {
    let Some(agent) = waga() else { return };
    let (_silent, handle) = silent_reader(&agent);
    let data = "A".repeat(40 << 20);
    let write = request("guest-file-write", &json!({"handle": handle, "buf-b64": data}));
    let mut clients: Vec<_> = (0..4).map(|_| agent.client()).collect();
    for client in &mut clients {
        client.send(&write).unwrap();
        // Each is with the agent before the next begins.
        agent.until("the message is read", |agent| agent.proc("stat").contains(") S "));
    }
    let replies: Vec<String> = clients.iter_mut().map(|client| client.text().unwrap()).collect();
    let busy = replies.iter().filter(|reply| reply.contains("is in use by another request")).count();
    let refused = replies.iter().filter(|reply| reply.contains("JSON token size limit exceeded")).count();
    assert!(busy >= 1 && refused >= 1 && busy + refused == 4, "{replies:?}");
}

#[test]
fn an_error_quotes_no_more_than_makes_sense() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    let long = "\x7f".repeat(4 << 20);
    for arguments in
        [json!({"path": long}), json!({"path": "x", "mode": long}), json!({"path": "x", long.as_str(): 1})]
    {
        client.send(request("guest-file-open", &arguments)).unwrap();
        let reply = client.text().unwrap();
        assert!(
            reply.starts_with("{\"error\": {\"class\": \"GenericError\"") && reply.len() < 64 << 10,
            "{}",
            reply.len()
        );
    }
}

#[test]
fn a_port_that_fails_ends_the_agent() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    // A device that can be waited for and fails every read, as long as nothing is mounted through it.
    let device = "/dev/fuse";
    if !std::path::Path::new(device).exists() {
        return left_out("a port that fails: there is no /dev/fuse");
    }
    let output = program.run(["-m", "virtio-serial", "-p", device]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("/dev/fuse: the channel failed"), "{output:?}");
}

#[test]
fn a_socket_of_another_type_and_one_with_a_full_backlog_are_in_use() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let datagram = dir.path().join("datagram");
    let _held = UnixDatagram::bind(&datagram).unwrap();
    let full = dir.path().join("full");
    let _listener = UnixListener::bind(&full).unwrap();
    let mut waiting = Vec::new();
    loop {
        // Non-blocking from the start, or the last one would wait.
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
        use std::os::fd::AsRawFd;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let client = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let connected = connect(client.as_raw_fd(), &UnixAddr::new(&full).unwrap());
        match connected.map_err(std::io::Error::from) {
            Ok(()) => waiting.push(client),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    for path in [&datagram, &full] {
        let output = program.run(["-m".as_ref(), "unix-listen".as_ref(), "-p".as_ref(), path.as_os_str()]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && text.contains("another program uses this socket"),
            "{output:?}"
        );
        assert!(path.exists());
    }
}
