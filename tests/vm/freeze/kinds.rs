//! Filesystems of all kinds, over each other, frozen all or some.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use waga_tests::client::Client;
use waga_tests::vm::{Disk, Guest};

use super::{
    are_writable, begin_writing, entry, error, freeze, have_written, report, status, thaw, wait_for_a_thaw,
};
use crate::{image, in_guest, only_waga, step};

const FOLDERS: [&str; 5] = ["/mnt/ext4", "/mnt/xfs", "/mnt/btrfs", "/mnt/mapped", "/mnt/loop"];

#[test]
fn all_kinds_are_frozen_and_thawed() -> Result<()> {
    let image = image()
        .disk(Disk::ext4(64, FOLDERS[0]))
        .disk(Disk::xfs(300, FOLDERS[1]))
        .disk(Disk::btrfs(128, FOLDERS[2]))
        .disk(Disk::ext4(32, FOLDERS[3]).mapped())
        .loop_image("/mnt/ext4/image", 16, FOLDERS[4])
        .setup("mkdir -p /mnt/again && mount --bind /mnt/xfs /mnt/again");
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        step("freeze", || {
            ensure!(status(agent)? == "thawed");
            ensure!(freeze(agent)? == FOLDERS.len());
            ensure!(status(agent)? == "frozen");
            begin_writing(guest, &FOLDERS)?;
            wait_for_a_thaw(guest, &FOLDERS)
        })?;
        step("what is on", || enabled_while_frozen(agent))?;
        step("a second freeze", || {
            let reply = agent.ask(&json!({"execute": "guest-fsfreeze-freeze"}))?;
            ensure!(reply["error"]["class"] == "CommandNotFound", "{reply}");
            ensure!(status(agent)? == "frozen");
            Ok(())
        })?;
        step("a read works", || {
            for folder in FOLDERS {
                guest.shell(&format!("ls {folder}"))?;
            }
            Ok(())
        })?;
        step("thaw", || {
            ensure!(thaw(agent)? == FOLDERS.len());
            ensure!(status(agent)? == "thawed");
            have_written(guest, &FOLDERS)
        })?;
        step("some of them", || some(guest, agent))?;
        if only_waga("a report") {
            step("the report", || reported(agent))?;
        }
        if only_waga("an order that the order of mounting does not tell") {
            step("the image's filesystem was mounted before the one that it lies on", || {
                remounted(guest, agent)
            })?;
        }
        step("mounted at a file", || at_a_file(guest, agent))?;
        step("data intact", || {
            for folder in FOLDERS {
                ensure!(guest.shell(&format!("cat {folder}/written"))? == "new", "{folder}");
            }
            guest.shell("sync; umount /mnt/loop /mnt/again /mnt/xfs /mnt/btrfs /mnt/mapped").map(drop)
        })
    })
}

fn some(guest: &Guest, agent: &mut Client) -> Result<()> {
    let mut list = |points: &[&str]| agent.run("guest-fsfreeze-freeze-list", json!({"mountpoints": points}));
    ensure!(list(&[])? == 0);
    ensure!(list(&["/nonexistent", "/mnt"])? == 0);
    // The second mount point of a filesystem names nothing, as with qemu-ga 11.1; to 7.2 it is one of its own.
    if only_waga("one mount point for each filesystem") {
        ensure!(list(&["/mnt/again"])? == 0);
    }
    ensure!(list(&["/mnt/xfs", "/mnt/loop", "/nonexistent"])? == 2);
    are_writable(guest, &["/mnt/ext4", "/mnt/btrfs", "/mnt/mapped"])?;
    begin_writing(guest, &["/mnt/xfs", "/mnt/loop"])?;
    wait_for_a_thaw(guest, &["/mnt/xfs", "/mnt/loop"])?;
    ensure!(thaw(agent)? == 2);
    have_written(guest, &["/mnt/xfs", "/mnt/loop"])?;
    ensure!(agent.run("guest-fsfreeze-freeze-list", json!({}))? == FOLDERS.len());
    ensure!(thaw(agent)? == FOLDERS.len());
    ensure!(thaw(agent)? == 0);
    Ok(())
}

fn reported(agent: &mut Client) -> Result<()> {
    ensure!(agent.run("guest-fsfreeze-freeze-list", json!({"mountpoints": ["/mnt/xfs", "/mnt/loop"]}))? == 2);
    let told = report(agent)?;
    ensure!(
        told["status"] == "frozen" && told["frozen-at"].is_i64() && told.get("thawed-at").is_none(),
        "{told}"
    );
    let points: Vec<_> =
        told["filesystems"].as_array().context("no list")?.iter().map(|entry| &entry["mountpoint"]).collect();
    ensure!(points == ["/mnt/loop", "/mnt/mapped", "/mnt/btrfs", "/mnt/xfs", "/mnt/ext4"], "{told}");
    let (xfs, ext4) = (entry(&told, "/mnt/xfs")?, entry(&told, "/mnt/ext4")?);
    ensure!(xfs["state"] == "frozen" && xfs["type"] == "xfs" && xfs["freeze-time"].is_u64(), "{xfs}");
    ensure!(ext4["state"] == "skipped" && ext4["reason"] == "not asked for", "{ext4}");
    ensure!(thaw(agent)? == 2);
    let told = report(agent)?;
    ensure!(
        told["status"] == "thawed" && told["thawed-by"] == "host" && told["thawed-at"].is_i64(),
        "{told}"
    );
    ensure!(entry(&told, "/mnt/xfs")?["thaw-time"].is_u64(), "{told}");
    Ok(())
}

/// A filesystem that is mounted again at another place while something lies on it comes last in the kernel's table.
fn remounted(guest: &Guest, agent: &mut Client) -> Result<()> {
    guest.shell("mkdir -p /mnt/later && mount /dev/vda /mnt/later && umount -l /mnt/ext4")?;
    let places = guest.shell("grep -o -E '/mnt/(loop|later)' /proc/self/mountinfo")?;
    ensure!(places.lines().eq(["/mnt/loop", "/mnt/later"]), "{places}");
    ensure!(freeze(agent)? == FOLDERS.len());
    begin_writing(guest, &["/mnt/loop", "/mnt/later"])?;
    wait_for_a_thaw(guest, &["/mnt/loop", "/mnt/later"])?;
    ensure!(thaw(agent)? == FOLDERS.len());
    have_written(guest, &["/mnt/loop", "/mnt/later"])?;
    guest.shell("mount --bind /mnt/later /mnt/ext4").map(drop)
}

/// In a container all that is seen of a disk may be a file of it, `/etc/hosts` for instance.
fn at_a_file(guest: &Guest, agent: &mut Client) -> Result<()> {
    let device = guest.shell("grep ' /mnt/mapped ' /proc/mounts | cut -d ' ' -f 1")?;
    guest.shell(
        "touch /mnt/mapped/file /run/file && mount --bind /mnt/mapped/file /run/file && umount /mnt/mapped",
    )?;
    ensure!(freeze(agent)? == FOLDERS.len());
    ensure!(thaw(agent)? == FOLDERS.len());
    guest.shell(&format!("mount {device} /mnt/mapped && umount /run/file")).map(drop)
}

fn enabled_while_frozen(agent: &mut Client) -> Result<()> {
    let info = agent.run("guest-info", json!({}))?;
    let commands = info["supported_commands"].as_array().context("no list")?;
    let on = commands.iter().filter(|command| command["enabled"] == true);
    let mut on: Vec<&str> =
        on.filter_map(|command| command["name"].as_str()).filter(|name| name.starts_with("guest-")).collect();
    on.sort_unstable();
    let mut six = ["fsfreeze-status", "fsfreeze-thaw", "info", "ping", "sync", "sync-delimited"]
        .map(|name| format!("guest-{name}"));
    six.sort_unstable();
    ensure!(on == six, "{on:?}");
    ensure!(error(agent, "guest-get-time")?.starts_with("Command guest-get-time has been disabled"));
    Ok(())
}
