//! The guest's two clocks: set by the host, or one by the other, and still right after a restart.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use waga_tests::client::Client;
use waga_tests::vm::Guest;

use crate::{another_agent, image, in_guest, only_waga, step};

/// Moments that are years from each other and from now, in seconds since the epoch.
const PAST: i64 = 1_600_000_000;
const FUTURE: i64 = 2_000_000_000;
const ELSEWHERE: i64 = 1_700_000_000;

/// What a clock that was set may be ahead when it is looked at, in seconds: the slowness of a loaded machine, not the agent's.
const SLACK: i64 = 600;

/// What one clock may be beside the other: the hardware's has no parts of a second, and the two are read one after the other.
const BESIDE: i64 = 2;

/// How far east the guest's time zone is, in seconds.
const EAST: i64 = 5 * 3600;

#[test]
fn clocks_are_set_together() -> Result<()> {
    let image = match another_agent() {
        None => image().file("/etc/localtime", 0o644, zone()),
        // It leaves the zone to busybox's hwclock, for which local time is the rule.
        Some(_) => image(),
    };
    in_guest(&image, |guest| {
        let agent = &mut step("the first answer", || guest.connect())?;
        step("forward", || set(agent, FUTURE).and_then(|()| agree_on(guest, FUTURE, 0)))?;
        step("wrong values", || wrong_values(agent, guest))?;
        step("back", || set(agent, PAST).and_then(|()| agree_on(guest, PAST, 0)))?;
        step("by the hardware clock", || {
            guest.shell(&format!("date -s @{ELSEWHERE}"))?;
            ensure!(agent.run("guest-set-time", json!({}))? == json!({}));
            agree_on(guest, PAST, 0)
        })?;
        if only_waga("a hardware clock in local time, held open, or missing") {
            step("in local time", || in_local_time(agent, guest))?;
            step("held open", || held_open(agent, guest))?;
            step("missing", || missing(agent, guest))?;
        }
        Ok(())
    })
}

#[test]
fn hardware_clock_is_right_after_a_restart() -> Result<()> {
    in_guest(&image().reboots(), |guest| {
        let mut agent = step("the first answer", || guest.connect())?;
        step("set", || set(&mut agent, FUTURE))?;
        step("restart", || {
            let before = guest.shell("cat /proc/sys/kernel/random/boot_id")?;
            guest.qmp("system_reset", &json!({}))?;
            guest.await_event("RESET")?;
            drop(agent);
            guest.connect()?;
            ensure!(guest.shell("cat /proc/sys/kernel/random/boot_id")? != before);
            agree_on(guest, FUTURE, 0)
        })
    })
}

fn set(agent: &mut Client, seconds: i64) -> Result<()> {
    let told = agent.run("guest-set-time", json!({"time": seconds * 1_000_000_000 + 250_000_000}))?;
    ensure!(told == json!({}), "{told}");
    let now = agent.run("guest-get-time", json!({}))?.as_i64().context("no time")? / 1_000_000_000;
    ensure!((seconds..seconds + SLACK).contains(&now), "{now} after {seconds} was set");
    Ok(())
}

/// What the system's clock and the hardware clock show.
fn clocks(guest: &Guest) -> Result<(i64, i64)> {
    let told = guest.shell("date +%s; cat /sys/class/rtc/rtc0/since_epoch")?;
    let (system, hardware) = told.split_once('\n').with_context(|| format!("no two clocks: {told}"))?;
    Ok((system.parse()?, hardware.parse()?))
}

/// Both show this moment, the hardware clock in a zone that is so far east.
fn agree_on(guest: &Guest, moment: i64, east: i64) -> Result<()> {
    let (system, hardware) = clocks(guest)?;
    let beside = hardware - east - system;
    ensure!((moment..moment + SLACK).contains(&system), "{system} where it is {moment}");
    ensure!((-BESIDE..=BESIDE).contains(&beside), "{system}, but {hardware} in hardware");
    Ok(())
}

fn wrong_values(agent: &mut Client, guest: &Guest) -> Result<()> {
    for time in [json!(-1_000_000_000_000_000_i64), json!(3_155_760_000_000_000_000_i64), json!(i64::MAX)] {
        let (class, desc) = agent.refused("guest-set-time", json!({"time": time}))?;
        ensure!(class == "GenericError" && desc.starts_with("Invalid time"), "{time}: {desc}");
    }
    agent.refused("guest-set-time", json!({"time": "now"}))?;
    agree_on(guest, FUTURE, 0)
}

fn in_local_time(agent: &mut Client, guest: &Guest) -> Result<()> {
    guest.shell("printf '0.0 0 0.0\\n0\\nLOCAL\\n' >/etc/adjtime")?;
    set(agent, FUTURE)?;
    agree_on(guest, FUTURE, EAST)?;
    guest.shell(&format!("date -s @{ELSEWHERE}"))?;
    agent.run("guest-set-time", json!({}))?;
    agree_on(guest, FUTURE, EAST)?;
    guest.shell("rm /etc/adjtime").map(drop)
}

/// A time server may keep the hardware clock for itself, and then it is its business; the system's is set all the same.
fn held_open(agent: &mut Client, guest: &Guest) -> Result<()> {
    set(agent, PAST)?;
    guest.shell("sleep 1000000 </dev/rtc0 & echo $! >/run/holder")?;
    set(agent, ELSEWHERE)?;
    let (system, hardware) = clocks(guest)?;
    ensure!(system >= ELSEWHERE && hardware < PAST + SLACK, "{system} and {hardware}");
    let (_, desc) = agent.refused("guest-set-time", json!({}))?;
    ensure!(desc == "failed to set system time from hardware clock: Device or resource busy", "{desc}");
    ensure!(clocks(guest)?.0 >= ELSEWHERE);
    guest.shell("kill $(cat /run/holder)").map(drop)
}

fn missing(agent: &mut Client, guest: &Guest) -> Result<()> {
    set(agent, PAST)?;
    guest.shell("mv /dev/rtc0 /dev/hidden")?;
    set(agent, FUTURE)?;
    let (system, hardware) = clocks(guest)?;
    ensure!(system >= FUTURE && hardware < PAST + SLACK, "{system} and {hardware}");
    let (_, desc) = agent.refused("guest-set-time", json!({}))?;
    ensure!(desc == "failed to set system time from hardware clock: the guest has none", "{desc}");
    ensure!(clocks(guest)?.0 >= FUTURE);
    guest.shell("mv /dev/hidden /dev/rtc0").map(drop)
}

/// A zone that is always [`EAST`] hours ahead, as a file of the first version of tzfile(5).
fn zone() -> Vec<u8> {
    let mut file = b"TZif".to_vec();
    file.resize(20, 0);
    // No flags, leap seconds or changes; one kind of time, whose name has four bytes.
    for count in [0, 0, 0, 0, 1, 4_u32] {
        file.extend(count.to_be_bytes());
    }
    file.extend(i32::try_from(EAST).unwrap().to_be_bytes());
    file.extend(b"\0\0XST\0");
    file
}
