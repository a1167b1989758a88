//! Reboot and shutdown that libvirt asks the agent for.

use std::time::Duration;

use anyhow::{Result, ensure};
use waga_tests::vm::{DOMAIN, Libvirt, await_until};

use crate::libvirt::{answers, under_libvirt};
use crate::{image, only_waga, step};

/// How long a guest may take from the request to its end: a machine with other work is slow.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn libvirt_reboots_and_shuts_down() -> Result<()> {
    if !only_waga("the end of a guest without programs for it") {
        return Ok(());
    }
    under_libvirt(&image(), |libvirt| {
        step("reboot --mode agent", || {
            let before = boot(libvirt)?;
            leave_it_to_the_kernel(libvirt)?;
            libvirt.virsh(&["reboot", DOMAIN, "--mode", "agent"])?;
            await_until("the console's word", PATIENCE, || {
                Ok(libvirt.console().contains("reboot: Restarting system").then_some(()))
            })?;
            answers(libvirt)?;
            ensure!(boot(libvirt)? != before, "it has not booted again");
            Ok(())
        })?;
        step("shutdown --mode agent", || {
            leave_it_to_the_kernel(libvirt)?;
            libvirt.virsh(&["shutdown", DOMAIN, "--mode", "agent"])?;
            await_until("the guest's end", PATIENCE, || {
                Ok(libvirt.virsh(&["list", "--name"])?.is_empty().then_some(()))
            })?;
            ensure!(libvirt.console().contains("reboot: Power down"), "{}", libvirt.console());
            Ok(())
        })
    })
}

/// Takes away the programs that would tell a first process which understands them: the agent tells the kernel then.
fn leave_it_to_the_kernel(libvirt: &Libvirt) -> Result<()> {
    libvirt.shell("rm -f /sbin/halt /sbin/poweroff /sbin/reboot").map(drop)
}

/// A name of its own for each boot.
fn boot(libvirt: &Libvirt) -> Result<String> {
    libvirt.shell("cat /proc/sys/kernel/random/boot_id")
}
