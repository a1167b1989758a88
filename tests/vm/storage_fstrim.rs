//! `guest-fstrim`: the disk's file on the host gets smaller; and a filesystem that hangs keeps nobody else waiting.

use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use waga_tests::client::{Client, PATIENCE};
use waga_tests::vm::{Disk, Guest, await_until};

use crate::hung_filesystem::NEVER_ANSWERS;
use crate::{image, in_guest, only_waga, step};

/// What is written, deleted and given back, in bytes.
const MUCH: u64 = 32 << 20;

/// The agent's channels in the guest: the port, and a socket for somebody else.
const CONFIG: &str = r#"
[[channel]]
method = "virtio-serial"

[[channel]]
method = "unix-listen"
path = "/run/agent.sock"
"#;

#[test]
fn trimming_shrinks_the_disks_on_the_host() -> Result<()> {
    let image = image()
        .disk(Disk::ext4(128, "/mnt/ext4"))
        .disk(Disk::xfs(300, "/mnt/xfs"))
        .disk(Disk::btrfs(256, "/mnt/btrfs"))
        .disk(Disk::ext4(128, "/mnt/mapped").mapped())
        .disk(Disk::ext4(64, "/mnt/cannot").without_discard())
        .loop_image("/mnt/ext4/image", 64, "/mnt/loop");
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        let folders = ["/mnt/loop", "/mnt/cannot", "/mnt/mapped", "/mnt/btrfs", "/mnt/xfs", "/mnt/ext4"];
        let image_before = step("much is written and deleted", || {
            for folder in folders {
                write_much(guest, folder)?;
            }
            let image: u64 = guest.shell("stat -c %b /mnt/ext4/image")?.parse()?;
            for index in 0..4 {
                ensure!(on_host(guest, index)? > MUCH, "disk {index}: {}", on_host(guest, index)?);
            }
            for folder in folders {
                guest.shell(&format!("rm {folder}/much"))?;
            }
            guest.shell("sync")?;
            Ok(image * 512)
        })?;
        let before: Vec<u64> = (0..4).map(|index| on_host(guest, index)).collect::<Result<_>>()?;
        let told = step("trimmed", || agent.run("guest-fstrim", json!({})))?;
        step("the reply", || {
            let paths = told["paths"].as_array().context("no list")?;
            ensure!(paths.iter().map(|path| &path["path"]).eq(folders), "{told}");
            for path in paths {
                let trimmed = path["trimmed"].as_u64();
                if path["path"] == "/mnt/cannot" {
                    ensure!(*path == json!({"path": "/mnt/cannot", "error": "trim not supported"}), "{path}");
                } else {
                    ensure!(trimmed > Some(MUCH / 2) && path["minimum"].is_u64(), "{path}");
                    ensure!(path.get("error").is_none(), "{path}");
                }
            }
            Ok(())
        })?;
        step("the disks on the host", || {
            for (index, before) in before.into_iter().enumerate() {
                let after = on_host(guest, index)?;
                ensure!(after + MUCH / 2 < before, "disk {index}: {before}, {after}");
            }
            let image = guest.shell("stat -c %b /mnt/ext4/image")?.parse::<u64>()? * 512;
            ensure!(image + MUCH / 2 < image_before, "the loop image: {image_before}, {image}");
            Ok(())
        })?;
        step("only what is longer than the minimum", || minimum(agent))
    })
}

/// What is too short stays; what is more than there is gets the kernel's answer, filesystem by filesystem.
fn minimum(agent: &mut Client) -> Result<()> {
    let told = agent.run("guest-fstrim", json!({"minimum": 1 << 20}))?;
    ensure!(of(&told, "/mnt/xfs")?["minimum"] == 1 << 20, "{told}");
    let told = agent.run("guest-fstrim", json!({"minimum": -1}))?;
    for folder in ["/mnt/ext4", "/mnt/xfs"] {
        ensure!(of(&told, folder)?["error"] == "failed to trim: Invalid argument", "{told}");
    }
    Ok(())
}

#[test]
fn a_trim_that_hangs_keeps_nobody_waiting() -> Result<()> {
    if !only_waga("an answer to anybody while a trim hangs") {
        return Ok(());
    }
    let image = image()
        .config(CONFIG)
        .disk(Disk::ext4(128, "/mnt/ext4"))
        .disk(Disk::ext4(64, "/mnt/mapped").mapped())
        .module("fuse")
        .disk(Disk::blank(8));
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        let call = "agent-under-test call --socket /run/agent.sock";
        step("a device that does not answer", || {
            write_much(guest, "/mnt/ext4")?;
            guest.shell("rm /mnt/ext4/much && sync && DM_DISABLE_UDEV=1 dmsetup suspend --nolockfs --noflush volume-b")
        })?;
        step("its trim hangs", || {
            agent.send("{\"execute\":\"guest-fstrim\"}\n")?;
            await_until("the system call", PATIENCE, || {
                let look = "grep -l 0xc0185879 /proc/$(cat /run/agent.pid)/task/*/syscall";
                Ok((guest.shell_status(look)?.0 == 0).then_some(()))
            })
        })?;
        step("the other filesystem is trimmed", || {
            await_until("a smaller disk", PATIENCE, || Ok((on_host(guest, 0)? < MUCH).then_some(())))
        })?;
        step("another channel is served", || guest.shell(&format!("{call} guest-ping")))?;
        step("nothing is frozen meanwhile", || {
            let (status, said) = guest.shell_status(&format!("{call} guest-fsfreeze-freeze"))?;
            let said = String::from_utf8_lossy(&said);
            ensure!(
                status == 1 && said.contains("1 other command is still writing to a filesystem"),
                "{status}: {said}"
            );
            let told = guest.shell(&format!("{call} guest-fsfreeze-status"))?;
            ensure!(told == "\"thawed\"", "{told}");
            Ok(())
        })?;
        step("another trim waits for its turn, and hangs not the agent either", || {
            guest.shell(&format!(
                "{{ {call} --timeout 100 guest-fstrim >/run/second 2>&1; echo $? >/run/status; }} &"
            ))?;
            guest.shell(&format!("{call} guest-get-fsinfo"))
        })?;
        step("the device answers again", || {
            guest.shell("DM_DISABLE_UDEV=1 dmsetup resume volume-b")?;
            let reply: Value = serde_json::from_str(&agent.text()?)?;
            for folder in ["/mnt/ext4", "/mnt/mapped"] {
                ensure!(of(&reply["return"], folder)?["trimmed"].as_u64() > Some(MUCH / 2), "{reply}");
            }
            await_until("the other's end", PATIENCE, || {
                Ok((guest.shell_status("test -s /run/status")?.0 == 0).then_some(()))
            })?;
            let second: Value = serde_json::from_str(&guest.shell("cat /run/second")?)?;
            ensure!(of(&second, "/mnt/mapped")?["trimmed"].is_u64(), "{second}");
            Ok(())
        })?;
        step("a freeze, now that all are done", || {
            ensure!(agent.run("guest-fsfreeze-freeze", json!({}))? == 2);
            ensure!(agent.run("guest-fsfreeze-thaw", json!({}))? == 2);
            Ok(())
        })?;
        step("a mount point that cannot be opened", || {
            guest.shell(&NEVER_ANSWERS.replace("/dev/vdb", "/dev/vdc"))?;
            for error in ["failed to open: Connection timed out", "failed to trim: Device or resource busy"] {
                let told = agent.run("guest-fstrim", json!({}))?;
                ensure!(*of(&told, "/mnt/hung")? == json!({"path": "/mnt/hung", "error": error}), "{told}");
                ensure!(of(&told, "/mnt/mapped")?["trimmed"].is_u64(), "{told}");
            }
            Ok(())
        })
    })
}

fn write_much(guest: &Guest, folder: &str) -> Result<()> {
    guest.shell(&format!("dd if=/dev/zero of={folder}/much bs=1M count={} && sync", MUCH >> 20)).map(drop)
}

/// How many bytes a disk of the guest takes on the host.
fn on_host(guest: &Guest, index: usize) -> Result<u64> {
    Ok(std::fs::metadata(guest.disk(index))?.blocks() * 512)
}

/// What a reply tells of a filesystem.
fn of<'a>(told: &'a Value, folder: &str) -> Result<&'a Value> {
    let mut paths = told["paths"].as_array().context("no list")?.iter();
    paths.find(|path| path["path"] == folder).with_context(|| format!("no {folder}: {told}"))
}
