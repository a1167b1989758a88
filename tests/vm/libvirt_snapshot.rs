//! A snapshot that libvirt takes of a disk in use, with `--quiesce`: freeze, snapshot, thaw. What it holds needs no repair.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use waga_tests::client::PATIENCE;
use waga_tests::vm::{DOMAIN, Disk, Libvirt, await_until};

use crate::libvirt::{ask, under_libvirt};
use crate::{image, step};

/// Writes without an end, new files and old; says how far it is.
const WRITER: &str = "{ count=0; while :; do count=$((count + 1)); mkdir -p /mnt/data/$((count % 7)); \
    dd if=/dev/zero of=/mnt/data/$((count % 7))/$((count % 50)) bs=1k count=$((count % 90)); \
    rm -f /mnt/data/$((count % 5))/$((count % 30)); echo $count >/run/count; done >/dev/null 2>&1 & }";

#[test]
fn a_quiesced_snapshot_is_a_clean_filesystem() -> Result<()> {
    under_libvirt(&image().disk(Disk::ext4(64, "/mnt/data").qcow2()), |libvirt| {
        step("somebody writes", || {
            libvirt.shell("echo kept >/mnt/data/kept")?;
            libvirt.shell(WRITER)?;
            goes_on(libvirt)
        })?;
        step("the snapshot", || {
            let overlay = format!("vda,file={}", libvirt.folder().join("overlay").display());
            let words = ["--disk-only", "--quiesce", "--no-metadata", "--diskspec", &overlay];
            libvirt.virsh(&[&["snapshot-create-as", DOMAIN, "one"], &words[..]].concat())
        })?;
        step("the guest goes on", || {
            ensure!(ask(libvirt, "guest-fsfreeze-status", &json!({}))? == "thawed");
            goes_on(libvirt)
        })?;
        step("the snapshot is clean", || {
            let raw = libvirt.folder().join("raw");
            let convert = ["convert", "-U", "-f", "qcow2", "-O", "raw"];
            let disk = libvirt.disk(0);
            host("qemu-img", Command::new("qemu-img").args(convert).arg(&disk).arg(&raw))?;
            let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
            let checked =
                host("e2fsck", Command::new("e2fsck").env("PATH", &path).args(["-f", "-n"]).arg(&raw))?;
            // Of a filesystem that was not frozen it says so, and goes by what is on the disk without its journal.
            ensure!(!checked.contains("journal"), "{checked}");
            let cat = ["-R", "cat /kept"];
            let kept = host("debugfs", Command::new("debugfs").env("PATH", &path).args(cat).arg(&raw))?;
            ensure!(kept.contains("kept"), "{kept}");
            Ok(())
        })
    })
}

/// Waits until the writer has written some more.
fn goes_on(libvirt: &Libvirt) -> Result<()> {
    // It may be about to say how far it is, and the file empty or not there.
    let count = || {
        let (_, said) = libvirt.shell_status("cat /run/count")?;
        anyhow::Ok(String::from_utf8_lossy(&said).trim().parse::<u64>().ok())
    };
    let before = await_until("the writer's word", PATIENCE, count)?;
    await_until("more of the writer", PATIENCE, || Ok((count()? > Some(before + 3)).then_some(())))
}

/// Runs a program of the host that must succeed, and returns all it wrote.
fn host(name: &str, command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {name}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "{name}: {}: {said}", output.status);
    Ok(said)
}
