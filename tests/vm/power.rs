//! The guest's end and its sleep, as the host sees them: by QEMU's events. Nothing may come over the port for them.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use waga_tests::client::{Client, PATIENCE};
use waga_tests::vm::{Disk, Guest, Image, await_until};

use crate::{another_agent, image, in_guest, only_waga, step};

/// What qemu-ga asked before version 10, as far as it asked it; busybox has none.
const SHUTDOWN: &str = "#!/bin/sh\ncase $2 in -P) poweroff ;; -H) halt ;; -r) reboot ;; esac\n";

/// Who ends the guest: the first process, which the usual programs tell, or the kernel, which the agent tells where there are none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Programs,
    Kernel,
}

impl By {
    pub(crate) fn image(self) -> Image {
        match another_agent() {
            None => image(),
            Some(_) => image().file("/sbin/shutdown", 0o755, SHUTDOWN),
        }
    }

    /// Sends the command, which must not be answered.
    fn end(self, guest: &Guest, agent: &mut Client, arguments: Value) -> Result<()> {
        if self == Self::Kernel {
            guest.shell("rm /sbin/halt /sbin/poweroff /sbin/reboot")?;
        }
        agent.send(format!("{}\n", json!({"execute": "guest-shutdown", "arguments": arguments, "id": 1})))
    }

    /// Whether the first process said so.
    fn check(self, guest: &Guest, mode: &str) -> Result<()> {
        let told = guest.console().contains(&format!("init: {mode}"));
        ensure!(told == (self == Self::Programs), "{told}");
        Ok(())
    }

    fn is_left_out(self, what: &str) -> bool {
        self == Self::Kernel && !only_waga(&format!("{what} without programs"))
    }
}

#[test]
fn programs_power_off() -> Result<()> {
    powers_off(By::Programs, json!({}))
}

#[test]
fn kernel_powers_off() -> Result<()> {
    powers_off(By::Kernel, json!({"mode": "powerdown"}))
}

#[test]
fn programs_reboot() -> Result<()> {
    reboots(By::Programs)
}

#[test]
fn kernel_reboots() -> Result<()> {
    reboots(By::Kernel)
}

#[test]
fn programs_halt() -> Result<()> {
    halts(By::Programs)
}

#[test]
fn kernel_halts() -> Result<()> {
    halts(By::Kernel)
}

fn powers_off(by: By, arguments: Value) -> Result<()> {
    if by.is_left_out("power-off") {
        return Ok(());
    }
    in_guest(&by.image(), |guest| {
        let mut agent = step("the first answer", || guest.connect())?;
        step("a mode that there is not", || {
            let (_, desc) = agent.refused("guest-shutdown", json!({"mode": "off"}))?;
            ensure!(desc == "mode is invalid (valid values are: halt|powerdown|reboot", "{desc}");
            Ok(())
        })?;
        step("power-off", || {
            by.end(guest, &mut agent, arguments)?;
            let told = guest.await_event("SHUTDOWN")?;
            ensure!(told["guest"] == true && told["reason"] == "guest-shutdown", "{told}");
            guest.await_off()?;
            by.check(guest, "poweroff")?;
            silent_to_the_end(&mut agent)
        })
    })
}

fn reboots(by: By) -> Result<()> {
    if by.is_left_out("reboot") {
        return Ok(());
    }
    in_guest(&by.image(), |guest| {
        let mut agent = step("the first answer", || guest.connect())?;
        step("reboot", || {
            by.end(guest, &mut agent, json!({"mode": "reboot"}))?;
            // This QEMU ends where another would start the machine anew.
            let told = guest.await_event("SHUTDOWN")?;
            ensure!(told["guest"] == true && told["reason"] == "guest-reset", "{told}");
            guest.await_off()?;
            by.check(guest, "reboot")?;
            silent_to_the_end(&mut agent)
        })
    })
}

fn halts(by: By) -> Result<()> {
    if by.is_left_out("halt") {
        return Ok(());
    }
    in_guest(&by.image(), |guest| {
        let mut agent = step("the first answer", || guest.connect())?;
        step("halt", || {
            by.end(guest, &mut agent, json!({"mode": "halt"}))?;
            // QEMU is told nothing: its machine runs, and does nothing.
            await_until("the kernel's last word", PATIENCE, || {
                Ok(guest.console().contains("System halted").then_some(()))
            })?;
            by.check(guest, "halt")?;
            let status = guest.qmp("query-status", &json!({}))?;
            ensure!(status["status"] == "running", "{status}");
            let events = guest.events();
            ensure!(!events.iter().any(|event| event == "SHUTDOWN"), "{events:?}");
            guest.qmp("quit", &json!({}))?;
            guest.await_off()?;
            silent_to_the_end(&mut agent)
        })
    })
}

/// Nothing came before QEMU closed the port.
fn silent_to_the_end(agent: &mut Client) -> Result<()> {
    match agent.line()? {
        None => Ok(()),
        Some(line) => anyhow::bail!("the agent said {}", String::from_utf8_lossy(&line)),
    }
}

#[test]
fn sleep_in_memory() -> Result<()> {
    in_guest(&image(), |guest| {
        let mut agent = step("the first answer", || guest.connect())?;
        if only_waga("the words for sleep on disk without a place for the image") {
            step("no place for an image", || no_place(guest, &mut agent))?;
        }
        step("sleep", || sleep(&mut agent, "guest-suspend-ram"))?;
        step("wake", || wake(guest, &mut agent))
    })
}

#[test]
fn sleep_in_memory_and_on_disk() -> Result<()> {
    if !only_waga("sleep in memory and on disk") {
        return Ok(());
    }
    in_guest(&image().disk(Disk::blank(1024)), |guest| {
        let mut agent = step("the first answer", || guest.connect())?;
        step("sleep", || {
            guest.shell(SWAP)?;
            sleep(&mut agent, "guest-suspend-hybrid")
        })?;
        step("wake", || {
            wake(guest, &mut agent)?;
            ensure!(guest.shell("cat /sys/power/disk")?.starts_with("[platform]"));
            Ok(())
        })
    })
}

#[test]
fn sleep_on_disk() -> Result<()> {
    in_guest(&image().disk(Disk::blank(1024)), |guest| {
        let mut agent = step("the first answer", || guest.connect())?;
        step("sleep", || {
            guest.shell(SWAP)?;
            sleep(&mut agent, "guest-suspend-disk")?;
            guest.await_event("SUSPEND_DISK")?;
            guest.await_off()?;
            silent_to_the_end(&mut agent)
        })
    })
}

fn no_place(guest: &Guest, agent: &mut Client) -> Result<()> {
    let before = guest.shell("cat /sys/power/disk")?;
    for command in ["guest-suspend-disk", "guest-suspend-hybrid"] {
        let (_, desc) = agent.refused(command, json!({}))?;
        ensure!(desc == "suspend: cannot write to '/sys/power/state': No such device", "{desc}");
        ensure!(guest.shell("cat /sys/power/disk")? == before);
    }
    Ok(())
}

/// A place for the image of the guest's memory.
const SWAP: &str = "mkswap /dev/vda && swapon /dev/vda";

fn sleep(agent: &mut Client, command: &str) -> Result<()> {
    agent.send(format!("{}\n", json!({"execute": command, "id": 1})))
}

/// Wakes a guest that goes to sleep; the agent goes on, and its first word is the answer to what is asked next.
fn wake(guest: &Guest, agent: &mut Client) -> Result<()> {
    guest.await_event("SUSPEND")?;
    let status = guest.qmp("query-status", &json!({}))?;
    ensure!(status["status"] == "suspended", "{status}");
    guest.qmp("system_wakeup", &json!({}))?;
    guest.await_event("WAKEUP")?;
    let told = agent.ask(&json!({"execute": "guest-ping", "id": 2}))?;
    ensure!(told == json!({"return": {}, "id": 2}), "{told}");
    Ok(())
}
