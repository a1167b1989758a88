//! An agent with nothing to do does nothing: no CPU time and no wakeups, with a host program there or not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use waga_tests::client::PATIENCE;
use waga_tests::vm::{Guest, await_until, note};

use crate::{another_agent, image, in_guest, only_waga, step};

/// How long it is watched. An agent that polls, as qemu-ga does ten times a second, shows in a fraction of it.
const WATCHED: Duration = Duration::from_secs(3);

/// What an agent has used since it started.
#[derive(Debug, Clone, Copy)]
struct Usage {
    /// User and system time of all its threads, in hundredths of a second.
    ticks: u64,
    /// How often a thread of it waited, and so was woken.
    wakeups: u64,
}

#[test]
fn idle_agent_uses_nothing() -> Result<()> {
    in_guest(&image(), |guest| {
        step("host there", || {
            let mut agent = guest.connect()?;
            // Work on other threads, which must not stay to wake up now and then.
            agent.run("guest-get-fsinfo", json!({}))?;
            agent.run("guest-get-timezone", json!({}))?;
            let program = json!({"path": "/bin/true", "capture-output": true});
            agent.run("guest-exec", program)?;
            rests(guest, "with the host's side open")?;
            drop(agent);
            Ok(())
        })?;
        step("host gone", || {
            guest.await_host(false)?;
            rests(guest, "with the host's side closed")
        })?;
        step("host back", || guest.connect())?;
        Ok(())
    })
}

/// A second, on a slow machine.
const LOOKED_AFTER: Duration = Duration::from_millis(1500);

pub(crate) fn rests(guest: &Guest, when: &str) -> Result<()> {
    if another_agent().is_none() {
        // The last that it does of its own accord, a second after its start.
        await_until("the agent's word that it has settled", PATIENCE, || {
            Ok(guest.console().contains("debug: settled").then_some(()))
        })?;
        guest.await_idle_agent()?;
    }
    // A client whose command was not done at once is looked after once more, within a second.
    std::thread::sleep(LOOKED_AFTER);
    let before = usage(guest)?;
    // The one wait by the clock: it is time itself that is looked at, and nothing may happen in it.
    std::thread::sleep(WATCHED);
    let after = usage(guest)?;
    let (ticks, wakeups) = (after.ticks - before.ticks, after.wakeups - before.wakeups);
    if !only_waga(&format!("rest {when} ({ticks} ticks and {wakeups} wakeups in {WATCHED:?})")) {
        return Ok(());
    }
    note(format_args!("{when}: {ticks} ticks and {wakeups} wakeups in {WATCHED:?}"));
    ensure!(ticks == 0 && wakeups <= 2, "{ticks} ticks and {wakeups} wakeups in {WATCHED:?} {when}");
    Ok(())
}

fn usage(guest: &Guest) -> Result<Usage> {
    // The name, in brackets, may hold spaces: fields are counted after it.
    let told = guest.shell(
        "pid=$(cat /run/agent.pid); sed 's/.*) //' /proc/$pid/stat; \
         cat /proc/$pid/task/*/status | awk '/^voluntary_ctxt/ { sum += $2 } END { print sum }'",
    )?;
    let (stat, wakeups) = told.split_once('\n').with_context(|| format!("the shell says {told:?}"))?;
    let fields: Vec<&str> = stat.split(' ').collect();
    // utime and stime are fields 14 and 15 of proc_pid_stat(5), and the first one here is the third.
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Usage { ticks, wakeups: wakeups.parse()? })
}
