//! libvirt's calls that change the guest, each seen in the guest itself: what an operator types in place of `qemu-agent-command`.

use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use serde_json::json;
use waga_tests::client::PATIENCE;
use waga_tests::vm::{DOMAIN, Disk, Libvirt, await_until};

use crate::libvirt::{ask, under_libvirt};
use crate::{image, step};

/// What is written, deleted and given back, in bytes.
const MUCH: u64 = 16 << 20;

#[test]
fn libvirt_changes_the_guest() -> Result<()> {
    let image = image().disk(Disk::ext4(64, "/mnt/data"));
    under_libvirt(&image, |libvirt| {
        step("domfstrim", || domfstrim(libvirt))?;
        step("domfsfreeze and domfsthaw", || domfsfreeze(libvirt))
    })
}

fn domfstrim(libvirt: &Libvirt) -> Result<()> {
    let on_host = || anyhow::Ok(std::fs::metadata(libvirt.disk(0))?.blocks() * 512);
    libvirt.shell(&format!("dd if=/dev/zero of=/mnt/data/much bs=1M count={} && sync", MUCH >> 20))?;
    let before = on_host()?;
    libvirt.shell("rm /mnt/data/much && sync")?;
    libvirt.virsh(&["domfstrim", DOMAIN])?;
    let after = on_host()?;
    ensure!(after + MUCH / 2 < before, "{before}, then {after} bytes on the host");
    libvirt.virsh(&["domfstrim", DOMAIN, "--minimum", "65536"]).map(drop)
}

fn domfsfreeze(libvirt: &Libvirt) -> Result<()> {
    for words in [&["domfsfreeze", DOMAIN][..], &["domfsfreeze", DOMAIN, "/mnt/data"]] {
        libvirt.virsh(words)?;
        ensure!(ask(libvirt, "guest-fsfreeze-status", &json!({}))? == "frozen");
        libvirt.shell(
            "rm -f /run/written; { sh -c 'echo $$ >/run/writer; exec touch /mnt/data/new'; touch /run/written; } &",
        )?;
        await_until("the writer blocks", PATIENCE, || {
            let (status, _) = libvirt.shell_status(
                "grep -q '^State:.D' /proc/$(cat /run/writer)/status && test ! -e /run/written",
            )?;
            Ok((status == 0).then_some(()))
        })?;
        libvirt.virsh(&["domfsthaw", DOMAIN])?;
        ensure!(ask(libvirt, "guest-fsfreeze-status", &json!({}))? == "thawed");
        await_until("the writer goes on", PATIENCE, || {
            Ok((libvirt.shell_status("test -e /run/written && rm /mnt/data/new")?.0 == 0).then_some(()))
        })?;
    }
    Ok(())
}
