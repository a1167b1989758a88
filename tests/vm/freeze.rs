//! Freezing in a real guest: writers stop and go on, and whatever goes wrong, nothing stays frozen.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use waga_tests::client::Client;
use waga_tests::vm::{Disk, Guest, await_until};

use crate::{image, in_guest, step};

/// A program that appends a line to a file every 20 ms, on a filesystem.
const WRITER: &str = "(n=0; while :; do n=$((n + 1)); echo $n >>/mnt/data/counter; sync /mnt/data/counter; \
    echo $n >/run/writer; usleep 20000; done) & echo $! >/run/writer.pid";

#[test]
fn a_freeze_holds_writers_and_a_thaw_lets_them_go_on() -> Result<()> {
    let image = image().disk(Disk::ext4(32, "/mnt/data")).disk(Disk::ext4(32, "/mnt/more"));
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        step("a writer", || guest.shell(WRITER))?;
        step("freeze", || {
            ensure!(agent.run("guest-fsfreeze-status", json!({}))? == "thawed");
            ensure!(agent.run("guest-fsfreeze-freeze", json!({}))? == 2);
            ensure!(agent.run("guest-fsfreeze-status", json!({}))? == "frozen");
            stands(guest)
        })?;
        step("what is on", || enabled_while_frozen(agent))?;
        step("a read works", || guest.shell("cat /mnt/data/counter >/run/copy"))?;
        step("thaw", || {
            ensure!(agent.run("guest-fsfreeze-thaw", json!({}))? == 2);
            ensure!(agent.run("guest-fsfreeze-status", json!({}))? == "thawed");
            goes_on(guest)
        })?;
        step("data intact", || {
            guest.shell("kill $(cat /run/writer.pid); wait; sync; umount /mnt/data")?;
            guest.shell("mount /dev/vda /mnt/data")?;
            guest.shell("seq $(wc -l </mnt/data/counter) | cmp - /mnt/data/counter")
        })?;
        Ok(())
    })
}

/// The writer does not get on.
fn stands(guest: &Guest) -> Result<()> {
    // What it was about before the freeze may still have been told.
    let (status, said) =
        guest.shell_status("sleep 0.3; a=$(cat /run/writer); sleep 0.5; [ $a = $(cat /run/writer) ]")?;
    ensure!(status == 0, "it goes on: {}", String::from_utf8_lossy(&said));
    Ok(())
}

fn goes_on(guest: &Guest) -> Result<()> {
    let before = guest.shell("cat /run/writer")?;
    await_until("the writer's going on", Duration::from_secs(30), || {
        Ok((guest.shell("cat /run/writer")? != before).then_some(()))
    })
}

fn enabled_while_frozen(agent: &mut Client) -> Result<()> {
    let info = agent.run("guest-info", json!({}))?;
    let commands = info["supported_commands"].as_array().context("no list")?;
    let mut on: Vec<&str> = commands
        .iter()
        .filter(|command| command["enabled"] == true)
        .filter_map(|command| command["name"].as_str())
        .filter(|name| name.starts_with("guest-"))
        .collect();
    on.sort_unstable();
    let six = [
        "guest-fsfreeze-status",
        "guest-fsfreeze-thaw",
        "guest-info",
        "guest-ping",
        "guest-sync",
        "guest-sync-delimited",
    ];
    ensure!(on == six, "{on:?}");
    let reply = agent.ask(&json!({"execute": "guest-fsfreeze-freeze"}))?;
    ensure!(reply["error"]["class"] == "CommandNotFound", "{reply}");
    Ok(())
}
