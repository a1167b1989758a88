//! libvirt's calls that change the guest, each seen in the guest itself: what an operator types in place of `qemu-agent-command`.

use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use waga_tests::vm::{DOMAIN, Disk, Libvirt};

use crate::libvirt::under_libvirt;
use crate::{image, step};

/// What is written, deleted and given back, in bytes.
const MUCH: u64 = 16 << 20;

#[test]
fn libvirt_changes_the_guest() -> Result<()> {
    let image = image().disk(Disk::ext4(64, "/mnt/data"));
    under_libvirt(&image, |libvirt| step("domfstrim", || domfstrim(libvirt)))
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
