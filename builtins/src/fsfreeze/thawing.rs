//! One thaw. What was frozen is thawed first, through descriptors that are open; only then is anything else touched.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::hands::{Done, Hands};
use super::plan;
use super::report::{self, By, State, Status};
use super::state::{Freeze, Held, Phase};
use crate::context::Agent;
use crate::error::{Error, Result};
use crate::sys::freeze;

/// How many freezes are taken off one filesystem at most; each of several agents may have left one.
const DEPTH: usize = 1000;

/// Opens all there is, for whoever found the marker of an earlier agent: nobody knows what that one had frozen.
pub(super) fn open_all(this: &Freeze) {
    let mounts = plan::in_order(Path::new("/")).unwrap_or_else(|error| {
        tracing::error!(reason = error.desc, "the mounted filesystems are not known");
        Vec::new()
    });
    let known = mounts.into_iter().filter(|mount| !plan::is_fuse(mount)).collect();
    for (mount, folder) in plan::open(known) {
        match folder {
            Ok(folder) => {
                let mut inner = this.lock();
                inner.report.filesystem(&mount.mountpoint, &mount.fs_type.to_string_lossy());
                inner.held.push(Held { mount_point: mount.mountpoint, folder });
            }
            Err(error) => tracing::error!(%error, "cannot open a filesystem that may be frozen"),
        }
    }
}

/// Thaws everything; how many filesystems it thawed.
///
/// As qemu-ga it also thaws what somebody else froze when the host asks, and tells the hook even if nothing was frozen.
pub(super) fn thaw(this: &Freeze, agent: &Arc<Agent>, hands: &mut Hands, by: By, why: &str) -> Result<i64> {
    let mut sum = Sum::default();
    let mut inner = loop {
        let mut inner = this.lock();
        if let Some(held) = inner.held.pop() {
            drop(inner);
            hands.thaw(held).into_iter().for_each(|done| sum.add(this, done));
        } else if inner.phase == Phase::Freezing {
            inner.cancelled = Some(by);
            // A freeze that began after this was asked for has not been told to end by whoever asked.
            if let Some(stop) = inner.stop_hook.take() {
                let _ = stop.try_send(());
            }
            inner.report.status = Status::Thawing;
            drop(this.wait(inner));
        } else if hands.is_pending() {
            drop(inner);
            hands.next().into_iter().for_each(|done| sum.add(this, done));
        } else {
            break inner;
        }
    };
    let Sum { mut count, mut failed, error } = sum;
    let was_frozen = inner.phase == Phase::Frozen;
    let found = std::mem::take(&mut inner.found);
    if let Some(error) = error {
        failed.reverse();
        inner.held = failed;
        inner.found = found;
        inner.report.error = Some(error.desc.clone());
        return Err(error);
    }
    if !was_frozen {
        // No freeze begins meanwhile: what it froze would be thawed with the rest, and its marker removed.
        inner.phase = Phase::Thawing;
    }
    drop(inner);
    if by == By::Host || found {
        count += others();
    }
    let notice = over(this, by, why, was_frozen, found);
    // The program was told first of the freeze, and is the last to be told of its end.
    this.tell_thaw(agent, was_frozen);
    let hook_owed = this.lock().hook_owed;
    let told = if hook_owed || (by == By::Host && notice.is_none()) {
        this.hook(agent, "thaw", was_frozen)
    } else {
        Ok(())
    };
    let mut inner = this.lock();
    inner.phase = Phase::Thawed;
    inner.report.status = Status::Thawed;
    drop(inner);
    match notice {
        Some(notice) => Err(Error::generic(notice)),
        None => told.map(|()| count),
    }
}

/// Thaws what was left, where there is no agent to do it later.
pub(super) fn rescue(this: &Freeze, why: &str) {
    let mut hands = Hands::start(Hands::COUNT);
    let mut sum = Sum::default();
    while let Some(held) = { this.lock().held.pop() } {
        hands.thaw(held).into_iter().for_each(|done| sum.add(this, done));
    }
    while hands.is_pending() {
        hands.next().into_iter().for_each(|done| sum.add(this, done));
    }
    if sum.error.is_none() {
        others();
        over(this, By::End, why, true, true);
    }
}

/// What became of all of them.
#[derive(Default)]
struct Sum {
    /// That were frozen and are not.
    count: i64,
    /// That may still be frozen.
    failed: Vec<Held>,
    /// Why the first of those is.
    error: Option<Error>,
}

impl Sum {
    fn add(&mut self, this: &Freeze, done: Done) {
        let Done { held, thawed, time } = done;
        let mut inner = this.lock();
        let entry = inner.report.filesystem(&held.mount_point, "");
        entry.thaw_time = Some(report::nanoseconds(time));
        match thawed {
            Ok(thawed) => {
                (entry.state, entry.reason) = (State::Thawed, None);
                self.count += i64::from(thawed);
            }
            Err(error) => {
                let point = held.mount_point.display();
                let error = Error::io(format_args!("failed to thaw {point}"), error);
                entry.reason = Some(error.desc.clone());
                drop(inner);
                tracing::error!(reason = error.desc, "a filesystem stays frozen");
                self.error.get_or_insert(error);
                self.failed.push(held);
            }
        }
    }
}

/// Takes off all freezes that a filesystem has; whether it had any.
pub(super) fn exhaust(folder: &File) -> io::Result<bool> {
    for taken in 0..DEPTH {
        match freeze::thaw(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Not frozen, or nothing that ever is.
            Err(error) if is_thawed(&error) => return Ok(taken > 0),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn is_thawed(error: &io::Error) -> bool {
    let known = [nix::libc::EINVAL, nix::libc::EOPNOTSUPP, nix::libc::ENOTTY, nix::libc::EPERM];
    error.raw_os_error().is_some_and(|number| known.contains(&number))
}

/// Thaws what is not ours; by now nothing of ours is frozen, and to look may take its time.
fn others() -> i64 {
    let Ok(mut mounts) = plan::in_order(Path::new("/")) else { return 0 };
    mounts.retain(|mount| !plan::is_fuse(mount));
    // What lies on another can only be thawed after that.
    mounts.reverse();
    let thawed = |folder: io::Result<File>| folder.is_ok_and(|folder| exhaust(&folder).unwrap_or(false));
    let opened = plan::open(mounts).into_iter();
    opened.map(|(_, folder)| i64::from(thawed(folder))).sum()
}

/// All is thawed: the agent may write again, and says so. What this thaw is to be answered with, if it comes too late.
///
/// `found`: the marker was that of an agent before.
fn over(this: &Freeze, by: By, why: &str, was_frozen: bool, found: bool) -> Option<String> {
    let mut inner = this.lock();
    inner.phase = Phase::Thawing;
    inner.cancelled = None;
    if was_frozen {
        inner.report.thawed_by = Some(by);
        inner.report.thawed_at = Some(report::now());
    }
    let (in_memory, marker) = (inner.in_memory.take(), inner.marker.take());
    let told = inner.notice.take_if(|_| by == By::Host);
    drop(inner);
    if (marker.is_some() || found)
        && let Err(error) = this.marker.unset()
    {
        tracing::error!(%error, "the marker of the freeze stays: remove it, or the next agent thinks that it is frozen");
    }
    // Locked until it is gone.
    drop(marker);
    this.set_frozen(false);
    let _ = (this.settings.hold_files)(false);
    drop(in_memory);
    let unasked = was_frozen && matches!(by, By::Deadline | By::End);
    if unasked {
        tracing::error!(
            why,
            "thawed without being asked by the host: what it backs up now is not consistent"
        );
    } else {
        tracing::info!("thawed");
    }
    let notice = unasked.then(|| notice(why));
    if (unasked && this.settings.tells_unasked) || told.is_some() {
        let kept = notice.as_deref().filter(|_| this.settings.tells_unasked);
        if let Err(error) = this.marker.keep(kept) {
            tracing::warn!(%error, "the notice of this thaw is not kept");
        }
        if let Some(notice) = kept {
            this.lock().notice = Some(notice.to_owned());
        }
    }
    told
}

/// The error that tells a host that its backup is not what it takes it for.
fn notice(why: &str) -> String {
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    format!(
        "the filesystems were thawed already at {time}, for {why}: what was backed up since is not consistent"
    )
}
