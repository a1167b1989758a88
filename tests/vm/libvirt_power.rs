//! Reboot and shutdown that libvirt asks the agent for.

use std::time::Duration;

use anyhow::{Result, ensure};
use waga_tests::vm::{DOMAIN, Libvirt, await_until};

use crate::libvirt::{answers, under_libvirt};
use crate::power::By;
use crate::step;

/// How long a guest may take from the request to its end: a machine with other work is slow.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn libvirt_reboots_and_shuts_down() -> Result<()> {
    under_libvirt(&By::Programs.image().reboots(), |libvirt| {
        step("reboot --mode agent", || {
            let before = boot(libvirt)?;
            libvirt.virsh(&["reboot", DOMAIN, "--mode", "agent"])?;
            await_until("the console's word", PATIENCE, || {
                Ok(libvirt.console().contains("reboot: Restarting system").then_some(()))
            })?;
            answers(libvirt)?;
            ensure!(boot(libvirt)? != before, "it has not booted again");
            Ok(())
        })?;
        step("shutdown --mode agent", || {
            libvirt.virsh(&["shutdown", DOMAIN, "--mode", "agent"])?;
            await_until("the guest's end", PATIENCE, || {
                Ok(libvirt.virsh(&["list", "--name"])?.is_empty().then_some(()))
            })?;
            ensure!(libvirt.console().contains("reboot: Power down"), "{}", libvirt.console());
            Ok(())
        })
    })
}

/// A name of its own for each boot.
fn boot(libvirt: &Libvirt) -> Result<String> {
    libvirt.shell("cat /proc/sys/kernel/random/boot_id")
}
