//! Freezing in a real guest: writers stop and go on, and whatever goes wrong, nothing stays frozen.

mod extensions;
mod hooks;
mod kinds;
mod rescue;
mod restart;
mod root;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use waga_tests::client::Client;
use waga_tests::vm::{Guest, await_until};

/// How long what is to happen by itself may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The port, and a socket for whoever is in the guest: `agent CHANNELS...` below.
pub(crate) const TWO_CHANNELS: &str = r#"
[[channel]]
method = "virtio-serial"

[[channel]]
method = "unix-listen"
path = "/run/agent.sock"
"#;

/// Starts the agent again, as the guest's init does; it is there when it answers on its socket.
pub(crate) fn start_agent(guest: &Guest) -> Result<()> {
    guest.shell(
        "setsid sh -c 'echo $$ >/run/agent.pid; . /etc/guest/agent' </dev/null >/dev/console 2>&1 & \
         until /usr/sbin/agent-under-test call --socket /run/agent.sock guest-ping >/dev/null 2>&1; do usleep 10000; done",
    )?;
    Ok(())
}

/// Kills it, and waits until it is gone.
pub(crate) fn kill_agent(guest: &Guest, signal: &str) -> Result<()> {
    let line = format!(
        "pid=$(cat /run/agent.pid); kill -{signal} $pid; while [ -e /proc/$pid ]; do usleep 10000; done"
    );
    guest.shell(&line).map(drop)
}

/// Lets the guest's own client ask the agent, on the socket.
pub(crate) fn ask_inside(guest: &Guest, words: &str) -> Result<(i32, String)> {
    let call = "/usr/sbin/agent-under-test call --socket /run/agent.sock --timeout 120";
    let (status, said) = guest.shell_status(&format!("{call} {words}"))?;
    Ok((status, String::from_utf8_lossy(&said).trim().to_owned()))
}

/// Begins to write to each of these folders; what is written when it is done, is.
fn begin_writing(guest: &Guest, folders: &[&str]) -> Result<()> {
    for folder in folders {
        let done = format!("/run/written{}", folder.replace('/', "-"));
        guest.shell(&format!("rm -f {done}; (echo new >{folder}/written && sync {folder}/written && touch {done}) >/dev/null 2>&1 &"))?;
    }
    Ok(())
}

fn has_written(guest: &Guest, folder: &str) -> Result<bool> {
    let (status, _) = guest.shell_status(&format!("[ -e /run/written{} ]", folder.replace('/', "-")))?;
    Ok(status == 0)
}

/// Each of these takes what is written to it.
pub(crate) fn are_writable(guest: &Guest, folders: &[&str]) -> Result<()> {
    begin_writing(guest, folders)?;
    have_written(guest, folders)
}

/// What was begun with [`begin_writing`] gets done.
fn have_written(guest: &Guest, folders: &[&str]) -> Result<()> {
    for folder in folders {
        await_until(
            &format!("a write to {folder}"),
            LIMIT,
            || Ok(has_written(guest, folder)?.then_some(())),
        )?;
    }
    Ok(())
}

/// What was begun with [`begin_writing`] waits in the kernel for a thaw: the writers sleep, and not for a disk.
fn wait_for_a_thaw(guest: &Guest, folders: &[&str]) -> Result<()> {
    let waiting = "cat /proc/[0-9]*/stack 2>/dev/null | grep -c -E 'percpu_rwsem_wait|percpu_down_read|__percpu_down_read' || true";
    await_until("the writers' waiting", LIMIT, || {
        let count: usize = guest.shell(waiting)?.trim().parse()?;
        Ok((count >= folders.len()).then_some(()))
    })?;
    for folder in folders {
        ensure!(!has_written(guest, folder)?, "{folder} takes what is written to it");
    }
    Ok(())
}

pub(crate) fn status(agent: &mut Client) -> Result<Value> {
    agent.run("guest-fsfreeze-status", json!({}))
}

pub(crate) fn freeze(agent: &mut Client) -> Result<Value> {
    agent.run("guest-fsfreeze-freeze", json!({}))
}

pub(crate) fn thaw(agent: &mut Client) -> Result<Value> {
    agent.run("guest-fsfreeze-thaw", json!({}))
}

pub(crate) fn report(agent: &mut Client) -> Result<Value> {
    agent.run("waga-get-freeze-report", json!({}))
}

/// The report's entry of a mount point.
fn entry<'a>(report: &'a Value, mount_point: &str) -> Result<&'a Value> {
    let list = report["filesystems"].as_array().context("no list")?;
    let found = list.iter().find(|entry| entry["mountpoint"] == mount_point);
    found.with_context(|| format!("no {mount_point} in {report}"))
}

/// The error of a command that must fail.
pub(crate) fn error(agent: &mut Client, command: &str) -> Result<String> {
    let reply = agent.ask(&json!({"execute": command}))?;
    match reply["error"]["desc"].as_str() {
        Some(desc) => Ok(desc.to_owned()),
        None => bail!("{command} answers {reply}"),
    }
}
