//! Word to the service manager: what it is told, and that nobody waits for one that hangs.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use waga_tests::agent::Setup;
use waga_tests::client::PATIENCE;

use crate::daemon::{configured, is_on, reload};
use crate::waga;

/// The next message of the agent to its service manager.
fn word(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let count = socket.recv(&mut buffer).expect("a word to the service manager");
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

#[test]
fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let notify = |setup: Setup| setup.env("NOTIFY_SOCKET", path.to_str());
    let Some(agent) = configured("", notify) else { return };
    let first = word(&socket);
    assert!(first.lines().any(|line| line == "READY=1"), "{first}");
    agent.signal(Signal::SIGHUP);
    let second = word(&socket);
    assert!(second.lines().any(|line| line == "RELOADING=1"), "{second}");
    assert!(second.contains("MONOTONIC_USEC="), "{second}");
    assert!(word(&socket).lines().any(|line| line == "READY=1"));
    reload(&agent, "[nope]");
    assert!(word(&socket).contains("RELOADING=1"));
    let third = word(&socket);
    assert!(third.contains("READY=1") && third.contains("STATUS=") && third.contains("failed"), "{third}");
    agent.stop();
    assert!(word(&socket).lines().any(|line| line == "STOPPING=1"));
}

#[test]
fn the_watchdog_is_fed_while_it_watches() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let watched =
        |setup: Setup| setup.env("NOTIFY_SOCKET", path.to_str()).env("WATCHDOG_USEC", Some("100000"));
    let Some(agent) = configured("", watched) else { return };
    let fed = (0..10).map(|_| word(&socket)).filter(|word| word.contains("WATCHDOG=1")).count();
    assert!(fed >= 8, "only {fed}");
    // Of another process's watchdog it knows nothing.
    let other = waga().map(|agent| agent.program().clone()).unwrap();
    drop(agent);
    while socket.set_read_timeout(Some(Duration::from_millis(1))).is_ok() && socket.recv(&mut [0; 64]).is_ok()
    {
    }
    let setup = watched(other.setup()).env("WATCHDOG_PID", Some("1"));
    let agent = setup.start();
    agent.client().run("guest-ping", json!({})).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut words = Vec::new();
    let mut buffer = [0; 256];
    while let Ok(count) = socket.recv(&mut buffer) {
        words.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
    }
    assert!(words.iter().all(|word| !word.contains("WATCHDOG=1")), "{words:?}");
}

/// One whose queue is full, as that of a service manager which hangs.
fn full_socket(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", path).is_ok() {}
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn a_service_manager_that_hangs_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = full_socket(&path);
    let watched =
        |setup: Setup| setup.env("NOTIFY_SOCKET", path.to_str()).env("WATCHDOG_USEC", Some("100000"));
    let Some(agent) = configured("", watched) else { return };
    agent.client().run("guest-ping", json!({})).unwrap();
    reload(&agent, "[policy]\nblock = ['guest-get-time']\n");
    // When it goes on it is told what it has to know.
    while !word(&socket).lines().any(|line| line == "READY=1") {}
    agent.until("the new policy", |_| !is_on(&mut agent.client(), "guest-get-time"));
    agent.stop();
}

#[test]
fn a_service_manager_may_have_an_abstract_socket() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let name = format!("waga-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = format!("@{name}");
    let Some(agent) = configured("", |setup| setup.env("NOTIFY_SOCKET", Some(&name))) else { return };
    assert!(word(&socket).lines().any(|line| line == "READY=1"));
    agent.stop();
}

#[test]
fn a_watchdog_without_a_period_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let watched = |setup: Setup| setup.env("NOTIFY_SOCKET", path.to_str()).env("WATCHDOG_USEC", Some("0"));
    let Some(agent) = configured("", watched) else { return };
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(word(&socket).contains("READY=1"));
    agent.stop();
    let next = word(&socket);
    assert!(next.contains("STOPPING=1"), "{next}");
}
