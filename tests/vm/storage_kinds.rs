//! All kinds of filesystems that the tests have, at once: `guest-get-fsinfo` beside what is mounted.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use waga_tests::vm::{Disk, Guest};

use crate::{image, in_guest, step};

/// What is mounted: device, name in sysfs, type, folder and the disks below; the last mounted first.
const MOUNTED: [(&str, &str, &str, &str, &[&str]); 5] = [
    ("/dev/loop0", "loop0", "ext4", "/mnt/loop", &[]),
    ("/dev/mapper/volume-d", "dm-0", "ext4", "/mnt/mapped", &["/dev/vdd"]),
    ("/dev/vdc", "vdc", "btrfs", "/mnt/btrfs", &["/dev/vdc"]),
    ("/dev/vdb", "vdb", "xfs", "/mnt/xfs", &["/dev/vdb"]),
    ("/dev/vda", "vda", "ext4", "/mnt/ext4", &["/dev/vda"]),
];

#[test]
fn filesystems_of_all_kinds_are_told() -> Result<()> {
    let image = image()
        .disk(Disk::ext4(64, "/mnt/ext4"))
        .disk(Disk::xfs(300, "/mnt/xfs"))
        .disk(Disk::btrfs(128, "/mnt/btrfs"))
        .disk(Disk::ext4(32, "/mnt/mapped").mapped())
        .loop_image("/mnt/ext4/image", 16, "/mnt/loop");
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        step("what is mounted", || mounted(guest))?;
        let told = step("fsinfo", || agent.run("guest-get-fsinfo", json!({})))?;
        let told = told.as_array().context("no list of filesystems")?;
        ensure!(told.len() == MOUNTED.len(), "{told:?}");
        for (told, (_, name, kind, folder, disks)) in told.iter().zip(MOUNTED) {
            step(folder, || {
                ensure!(
                    told["name"] == name && told["type"] == kind && told["mountpoint"] == folder,
                    "{told}"
                );
                let below: Vec<&Value> = told["disk"].as_array().context("no disks")?.iter().collect();
                ensure!(below.iter().map(|disk| &disk["dev"]).eq(disks.iter()), "{told}");
                ensure!(below.iter().all(|disk| disk["bus-type"] == "virtio"), "{told}");
                sizes(guest, told, folder)
            })?;
        }
        Ok(())
    })
}

/// The harness made what the test believes.
fn mounted(guest: &Guest) -> Result<()> {
    let table = guest.shell("grep ' /mnt/' /proc/mounts")?;
    let table: Vec<Vec<&str>> = table.lines().rev().map(|line| line.split(' ').take(3).collect()).collect();
    let wanted: Vec<_> =
        MOUNTED.iter().map(|(device, _, kind, folder, _)| vec![*device, *folder, *kind]).collect();
    ensure!(table == wanted, "{table:?}\n{}", guest.console());
    Ok(())
}

fn sizes(guest: &Guest, told: &Value, folder: &str) -> Result<()> {
    let numbers = guest.shell(&format!("stat -f -c '%s %b %f %a' {folder}"))?;
    let numbers: Vec<u64> = numbers.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [block, blocks, free, available] = numbers[..] else { anyhow::bail!("stat says {numbers:?}") };
    let used = blocks - free;
    ensure!(told["used-bytes"] == used * block, "{told}: {numbers:?}");
    ensure!(told["total-bytes"] == (used + available) * block, "{told}: {numbers:?}");
    ensure!(told["total-bytes-privileged"] == blocks * block, "{told}: {numbers:?}");
    Ok(())
}
