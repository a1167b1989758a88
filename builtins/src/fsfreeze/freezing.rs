//! One freeze, from the hooks to the last filesystem, on a thread of its own.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan;
use super::report::{self, By, Report, State, Status};
use super::state::{Freeze, Held, Phase};
use crate::context::Agent;
use crate::error::{Error, Result};
use crate::storage::mounts::Mount;
use crate::sys::freeze::{self, InMemory};

/// How long a freeze waits for those who are under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// The mount points that are to be frozen; `None`: all.
pub(super) type Only = Option<Vec<String>>;

/// Freezes all, or those at these mount points; how many it froze.
///
/// A failure thaws everything, and a hook is told of a thaw whenever it was told of the freeze.
pub(super) fn freeze(agent: &Arc<Agent>, only: &Only) -> Result<i64> {
    let this = &agent.freeze;
    begin(this)?;
    let result = attempt(agent, only.as_deref());
    let mut inner = this.lock();
    let cancelled = inner.cancelled.take();
    if let (Ok(1..), None) = (&result, cancelled) {
        inner.phase = Phase::Frozen;
        inner.report.status = Status::Frozen;
        inner.report.frozen_at = Some(report::now());
        this.notify();
        return result;
    }
    if let Err(error) = &result {
        inner.report.error = Some(error.desc.clone());
    }
    // The thread that thaws does it, whoever asked first.
    inner.phase = Phase::Frozen;
    this.notify();
    drop(inner);
    if let Some(by) = cancelled {
        return Err(Error::generic(match by {
            By::Host => "the filesystems were thawed while they were being frozen",
            By::Deadline => "freezing took longer than the deadline: what was frozen is thawed",
            By::End | By::Failure => "the agent ends: what was frozen is thawed",
        }));
    }
    let undone = smol::block_on(Freeze::thaw(agent, By::Failure, "the freeze failed".to_owned()));
    match (result, undone) {
        (Err(error), Ok(_)) => Err(error),
        (Err(mut error), Err(other)) => {
            error.desc += &format!("; {}", other.desc);
            Err(error)
        }
        // Nothing there to freeze: as good as thawed, if the hook is content.
        (Ok(count), undone) => undone.map(|_| count),
    }
}

/// Takes the state, or says why it cannot be had.
fn begin(this: &Freeze) -> Result<()> {
    let mut inner = this.lock();
    if inner.ending {
        return Err(Error::generic("the agent ends: nothing is frozen any more"));
    }
    if inner.phase != Phase::Thawed {
        return Err(Error::generic("filesystems are being frozen or thawed already"));
    }
    inner.phase = Phase::Freezing;
    inner.run += 1;
    inner.cancelled = None;
    inner.hook_owed = false;
    inner.notice = None;
    inner.report = Report::begin();
    Ok(())
}

/// Everything that can fail.
fn attempt(agent: &Arc<Agent>, only: Option<&[String]>) -> Result<i64> {
    let this = &agent.freeze;
    let run = this.lock().run;
    if let Err(error) = this.marker.keep(None) {
        tracing::warn!(%error, "the notice of an earlier thaw stays");
    }
    // Before the hooks: whoever finds it knows that they may have to be told.
    let marker = this.marker.set().map_err(|error| {
        Error::io(
            format_args!("cannot write '{}', without which nothing is frozen", this.marker.path().display()),
            error,
        )
    })?;
    this.lock().marker = Some(marker);
    Freeze::start_thawer(agent).map_err(|error| Error::io("failed to start a thread", error))?;
    tracing::info!("freezing");
    this.hook(agent, "freeze", true)?;
    this.tell_freeze(agent)?;
    let mounts = plan(this, only)?;
    // From here on whoever comes is refused; and those who came before must have gone.
    this.set_frozen(true);
    let left = this.gate.wait(PATIENCE);
    if left > 0 {
        return Err(Error::generic(format!(
            "{left} other command{} still writing to a filesystem; try again",
            if left == 1 { " is" } else { "s are" }
        )));
    }
    if !(this.settings.hold_files)(true) {
        return Err(Error::generic("a log file hangs: the agent would be frozen with it"));
    }
    let in_memory = InMemory::hold();
    this.lock().in_memory = Some(in_memory);
    Freeze::arm(agent, run, this.settings.deadline);
    let mut count = 0;
    for (mount, folder) in mounts {
        if this.lock().cancelled.is_some() {
            break;
        }
        count += i64::from(one(this, &mount, folder)?);
    }
    Ok(count)
}

/// What is to be frozen, opened, in order; the rest is entered into the report.
fn plan(this: &Freeze, only: Option<&[String]>) -> Result<Vec<(Mount, std::fs::File)>> {
    let mounts = plan::in_order(Path::new("/"))?;
    let mut wanted = Vec::new();
    let mut inner = this.lock();
    for mount in mounts {
        let why = plan::passed_over(&mount, only, &this.settings.exclude);
        let entry = inner.report.filesystem(&mount.mountpoint, &mount.fs_type.to_string_lossy());
        match why {
            Some(why) => (entry.state, entry.reason) = (State::Skipped, Some(why.to_owned())),
            None => wanted.push(mount),
        }
    }
    drop(inner);
    let opened = plan::open(wanted).into_iter().map(|(mount, folder)| match folder {
        Ok(folder) => Ok((mount, folder)),
        Err(error) => {
            let error = plan::cannot_open(&mount, error);
            let mut inner = this.lock();
            let entry = inner.report.filesystem(&mount.mountpoint, "");
            (entry.state, entry.reason) = (State::Failed, Some(error.desc.clone()));
            Err(error)
        }
    });
    opened.collect()
}

/// Freezes one; whether it counts.
fn one(this: &Freeze, mount: &Mount, folder: std::fs::File) -> Result<bool> {
    let enter = |state: State, reason: Option<String>, time: Option<Duration>| {
        let mut inner = this.lock();
        let entry = inner.report.filesystem(&mount.mountpoint, "");
        (entry.state, entry.reason) = (state, reason);
        entry.freeze_time = time.map(report::nanoseconds);
        inner
    };
    drop(enter(State::Freezing, None, None));
    let begun = Instant::now();
    match freeze::freeze(&folder) {
        Ok(()) => {
            let mut inner = enter(State::Frozen, None, Some(begun.elapsed()));
            inner.held.push(Held { mount_point: mount.mountpoint.clone(), folder });
            this.notify();
            Ok(true)
        }
        Err(error) if is_skipped(&error) => {
            let busy = error.raw_os_error() == Some(nix::libc::EBUSY);
            let why = if busy { "it is frozen already" } else { "it cannot be frozen" };
            drop(enter(State::Skipped, Some(why.to_owned()), None));
            Ok(false)
        }
        Err(error) => {
            let error = Error::io(format_args!("failed to freeze {}", mount.mountpoint.display()), error);
            drop(enter(State::Failed, Some(error.desc.clone()), Some(begun.elapsed())));
            Err(error)
        }
    }
}

/// As with qemu-ga: what cannot be frozen, or is, is passed over and not counted.
fn is_skipped(error: &io::Error) -> bool {
    [Some(nix::libc::EOPNOTSUPP), Some(nix::libc::EBUSY)].contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::test_agent;

    #[test]
    fn one_freeze_at_a_time_and_none_once_the_agent_ends() {
        let (agent, _executor) = test_agent();
        begin(&agent.freeze).unwrap();
        let desc = begin(&agent.freeze).unwrap_err().desc;
        assert_eq!(desc, "filesystems are being frozen or thawed already");
        let (agent, _executor) = test_agent();
        agent.freeze.close();
        let desc = begin(&agent.freeze).unwrap_err().desc;
        assert_eq!(desc, "the agent ends: nothing is frozen any more");
    }
}
