//! Channels that cannot be opened or that fail, with `--retry-path`: opened again and again, seldom, and at nobody else's cost.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use waga_tests::agent::{Agent, left_out};

use crate::{each, program};

fn answers(agent: &Agent) {
    assert_eq!(agent.client().run("guest-sync", json!({"id": 5})).unwrap(), json!(5));
}

#[test]
fn what_cannot_be_opened_yet_is_opened_later() {
    each(|program| {
        let setup = program.setup();
        let folder = setup.dir().join("later");
        let agent = setup.options(["-r".into(), "-p".into(), folder.join("sock")]).launch();
        agent.until("the first try", |agent| {
            agent.log().contains("later") || !agent.is_waga() && !agent.log().is_empty()
        });
        std::fs::create_dir(&folder).unwrap();
        agent.until("a later try", |_| std::os::unix::net::UnixStream::connect(folder.join("sock")).is_ok());
        if agent.is_waga() {
            agent.until("it says so", |agent| agent.log().contains("is open again"));
            let log = agent.log();
            assert_eq!(log.matches("error: ").count(), 1, "an outage is one error: {log}");
            assert!(log.contains("unix-listen: ") && log.contains("No such file or directory"), "{log}");
        }
    });
}

/// 28 of reference §5, its second half: the path is not taken away, however long it takes.
#[test]
fn a_socket_in_use_is_served_once_it_is_free() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let setup = program.setup();
    let other = UnixListener::bind(setup.dir().join("sock")).unwrap();
    let agent = setup.options(["-r"]).launch();
    agent.until("some tries", |agent| agent.log().matches("another program uses this socket").count() >= 3);
    drop(other);
    agent.until("its turn", |agent| agent.log().contains("is open again"));
    answers(&agent);
}

#[test]
fn a_channel_that_fails_at_once_does_not_spin_and_harms_no_other() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    // Every read of it fails, as long as nothing is mounted through it.
    let device = Path::new("/dev/fuse");
    if !device.exists() {
        return left_out("a port that fails: there is no /dev/fuse");
    }
    let setup = program.setup();
    let (socket, file) = (setup.dir().join("sock"), setup.dir().join("agent.toml"));
    let text = format!(
        "[[channel]]\nmethod = \"virtio-serial\"\npath = {device:?}\n[[channel]]\nmethod = \"unix-listen\"\npath = {socket:?}\n"
    );
    std::fs::write(&file, text).unwrap();
    let began = Instant::now();
    let agent = setup.configured_channels().options(["-r".into(), "-c".into(), file]).start();
    agent.until("four failures", |agent| {
        answers(agent);
        agent.log().matches("/dev/fuse: the channel failed").count() >= 3
    });
    // At once, then after one second: the next one is five seconds away.
    assert!(began.elapsed() >= Duration::from_secs(1), "{}", agent.log());
    let log = agent.log();
    assert_eq!(log.matches("error: ").count(), 1, "an outage is one error: {log}");
}

#[test]
fn a_want_of_descriptors_is_no_failure() {
    let program = program();
    if !program.is_waga() {
        return;
    }
    let agent = program.setup().script("ulimit -n 24").start();
    let before = agent.descriptors();
    let clients: Vec<_> = (0..40).map(|_| agent.client()).collect();
    agent.until("it says so", |agent| agent.log().contains("cannot accept a client"));
    drop(clients);
    answers(&agent);
    agent.until("all connections closed", |agent| agent.descriptors() <= before);
    answers(&agent);
}
