//! All kinds of channels in one guest: the virtio port, a serial line and vsock, side by side; and a port that is unplugged.

use anyhow::{Result, ensure};
use serde_json::json;
use waga_tests::client::{Client, PATIENCE};
use waga_tests::vm::{Guest, await_until};

use crate::idle::rests;
use crate::{image, in_guest, only_waga, step};

/// Where the guest's agent is told to listen; CID 1 is the guest itself.
const CONFIG: &str = r#"
[[channel]]
method = "virtio-serial"

[[channel]]
method = "isa-serial"
path = "/dev/ttyS1"

[[channel]]
method = "vsock-listen"
path = "4294967295:1234"

[[channel]]
method = "unix-listen"
path = "/run/agent.sock"
"#;

#[test]
fn vsock_serial_line_and_port_at_once() -> Result<()> {
    if !only_waga("several channels at once") {
        return Ok(());
    }
    let image = image().config(CONFIG).serial().argument("-r");
    let image = image.module("vsock").module("vsock_loopback");
    in_guest(&image, |guest| {
        step("the port's first answer", || answers(&mut guest.connect()?))?;
        step("vsock", || vsock(guest))?;
        let mut line = guest.line()?;
        step("the line's first answer", || {
            line.await_sync()?;
            answers(&mut line)
        })?;
        step("a large reply over the line", || large(guest, &mut line))?;
        step("the line's modes", || modes(guest))?;
        step("the host leaves the line within a message", || {
            line.send("{\"execute\":\"guest-ping\",\"id\":\"half a")?;
            drop(line);
            let mut line = guest.line()?;
            line.sync(11)?;
            answers(&mut line)?;
            rests(guest, "with a serial line, vsock and a unix socket")
        })?;
        step("the port is unplugged, and plugged in again", || {
            guest.unplug_port()?;
            let mut line = guest.line()?;
            line.sync(12)?;
            answers(&mut line)?;
            guest.plug_port()?;
            answers(&mut guest.connect()?)?;
            vsock(guest)
        })
    })
}

#[test]
fn a_channel_that_there_is_not_is_named() -> Result<()> {
    if !only_waga("the words of an error") {
        return Ok(());
    }
    in_guest(&image(), |guest| {
        step("a kernel without vsock", || {
            let (status, said) =
                guest.shell_status("/usr/sbin/agent-under-test -m vsock-listen -p 1:1234")?;
            let said = String::from_utf8_lossy(&said);
            ensure!(
                status == 1 && said.contains("vsock-listen: 1:1234: this kernel has no vsock (module vsock)"),
                "{status}: {said}"
            );
            Ok(())
        })?;
        step("a port that is unplugged, without retry-path", || {
            answers(&mut guest.connect()?)?;
            guest.unplug_port()?;
            await_until("the agent's end", PATIENCE, || {
                Ok(guest.console().contains("the agent ended with status 1").then_some(()))
            })?;
            let console = guest.console();
            ensure!(console.contains("the channel failed: No such device"), "{console}");
            Ok(())
        })
    })
}

fn answers(client: &mut Client) -> Result<()> {
    ensure!(client.run("guest-sync", json!({"id": 77}))? == 77);
    Ok(())
}

/// `waga call` in the guest itself, whose own CID is 1 for itself.
fn vsock(guest: &Guest) -> Result<()> {
    let call =
        |words: &str| guest.shell_status(&format!("/usr/sbin/agent-under-test call --vsock 1:{words}"));
    let (status, said) = call("1234 guest-sync id=77")?;
    ensure!(status == 0 && said == b"77\n", "{status}: {}", String::from_utf8_lossy(&said));
    let (status, said) = call("1234 guest-no-such")?;
    ensure!(status == 1, "{status}: {}", String::from_utf8_lossy(&said));
    let (status, said) = call("1235 guest-ping")?;
    ensure!(status == 3, "{status}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

fn large(guest: &Guest, line: &mut Client) -> Result<()> {
    guest.shell("dd if=/dev/zero of=/tmp/piece bs=1000 count=20")?;
    let handle = line.run("guest-file-open", json!({"path": "/tmp/piece"}))?;
    let read = line.run("guest-file-read", json!({"handle": handle, "count": 20_000}))?;
    ensure!(read["count"] == 20_000 && read["buf-b64"].as_str().is_some_and(|text| text.len() == 26_668));
    line.run("guest-file-close", json!({"handle": handle}))?;
    Ok(())
}

fn modes(guest: &Guest) -> Result<()> {
    let told = guest.shell("stty -a -F /dev/ttyS1")?;
    for wanted in
        ["speed 38400 baud", "-icanon", "-echo", "-opost", "-ixon", "-icrnl", "cs8", "clocal", "-isig"]
    {
        ensure!(told.contains(wanted), "{wanted} is not in: {told}");
    }
    Ok(())
}
