//! The host program goes away at any moment and comes back: the agent has to be in step with whoever asks.

use std::io::Read;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use waga_tests::client::Client;
use waga_tests::vm::Guest;

use crate::{image, in_guest, only_waga, step};

/// What the host is cut off in: with a string in it, and an escape at whose middle it may stop.
const REQUEST: &str = "{\"execute\": \"guest-ping\", \"id\": \"\\u00e9\"}\n";

#[test]
fn host_leaves_and_comes_back() -> Result<()> {
    in_guest(&image(), |guest| {
        step("the first answer", || guest.connect())?;
        for length in 0..=REQUEST.len() {
            for noticed in [false, true] {
                let how = if noticed { "was seen to leave" } else { "left" };
                step(&format!("the host {how} after {length} bytes of a request"), || {
                    after_bytes(guest, length, noticed)
                })?;
            }
        }
        step("the host left in the middle of a large reply", || during_reply(guest))?;
        step("the next host is waga call", || call(guest))?;
        if only_waga("a first guest-sync without 0xFF after half a request") {
            for length in [1, 5, REQUEST.len() - 2] {
                step(&format!("no 0xFF after {length} bytes"), || plain_sync(guest, length))?;
            }
        }
        Ok(())
    })
}

/// The next host is there at once, so that the guest may never learn that the last one left; or after it did.
fn after_bytes(guest: &Guest, length: usize, noticed: bool) -> Result<()> {
    let mut host = guest.bare()?;
    host.send(&REQUEST[..length])?;
    if noticed {
        guest.await_host(true)?;
    }
    drop(host);
    if noticed {
        guest.await_host(false)?;
    }
    answers(&mut guest.bare()?, 1000 + i64::try_from(length)?)
}

/// The reply to one request of several MiB, of which the host reads a part and leaves.
fn during_reply(guest: &Guest) -> Result<()> {
    guest.shell("dd if=/dev/zero of=/tmp/large bs=1M count=6")?;
    let mut host = guest.bare()?;
    host.sync(2)?;
    let handle = host.run("guest-file-open", json!({"path": "/tmp/large"}))?;
    let read = json!({"execute": "guest-file-read", "arguments": {"handle": handle, "count": 6 << 20}});
    host.send(format!("{read}\n"))?;
    host.stream().read_exact(&mut [0; 100_000]).context("the begin of the reply")?;
    drop(host);

    let mut host = guest.bare()?;
    answers(&mut host, 3)?;
    // The file is still open, and the rest of the stream is in step too.
    host.run("guest-file-close", json!({"handle": handle}))?;
    Ok(())
}

/// `waga call` after half a request; with a large reply of its own; and while another host is served.
fn call(guest: &Guest) -> Result<()> {
    // The client is waga, whatever the agent in the guest is.
    let call = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-under-test"));
        command.args(["call", "--socket"]).arg(guest.socket()).args(words).stdin(Stdio::null());
        let output = command.output()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        anyhow::Ok((output.status.code(), text(output.stdout), text(output.stderr)))
    };
    let mut host = guest.bare()?;
    host.send(&REQUEST[..REQUEST.len() - 8])?;
    guest.await_host(true)?;
    drop(host);

    let (code, handle, error) = call(&["guest-file-open", "path=/tmp/large"])?;
    ensure!(code == Some(0), "{code:?}: {error}");
    let handle = format!("handle={}", handle.trim());
    let (code, read, error) = call(&["guest-file-read", &handle, "count=6291456"])?;
    ensure!(code == Some(0) && read.len() > 8 << 20, "{code:?}: {error}, {} bytes", read.len());
    let closed = call(&["guest-file-close", &handle])?;
    ensure!(closed == (Some(0), "{}\n".to_owned(), String::new()), "{closed:?}");
    let told = call(&["guest-nope"])?;
    ensure!(told.0 == Some(1) && told.2.contains("CommandNotFound: "), "{told:?}");

    let _host = guest.connect()?;
    let told = call(&["guest-ping", "--timeout", "0.5"])?;
    ensure!(told.0 == Some(4) && told.2.contains("within 0.5 s"), "{told:?}");
    Ok(())
}

/// libvirt's way: it never sends 0xFF, but skips replies that are not the one it waits for.
fn plain_sync(guest: &Guest, length: usize) -> Result<()> {
    let mut host = guest.bare()?;
    host.sync(4)?;
    host.send(&REQUEST[..length])?;
    // The bytes have to be with the agent before the host leaves, else QEMU may drop them on the way.
    guest.await_host(true)?;
    drop(host);
    guest.await_host(false)?;
    guest.await_idle_agent()?;

    let mut host = guest.bare()?;
    let id = 5000 + i64::try_from(length)?;
    let reply = host.ask(&json!({"execute": "guest-sync", "arguments": {"id": id}}))?;
    ensure!(reply == json!({"return": id}), "the first reply is {reply}");
    ensure!(host.run("guest-ping", json!({}))? == Value::Object(Default::default()));
    Ok(())
}

/// Brings the stream into step and lets the agent answer one command.
fn answers(host: &mut Client, id: i64) -> Result<()> {
    host.sync(id)?;
    ensure!(host.run("guest-ping", json!({}))? == json!({}));
    Ok(())
}
