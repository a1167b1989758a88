//! What an agent does about filesystems that one before it left frozen.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use super::extensions::Owed;
use super::marker::{Left, Marker};
use super::report::{Report, Status};
use super::state::{Freeze, Phase};
use super::{FreezeSettings, thawing};
use crate::context::Agent;
use crate::sys::freeze::InMemory;

impl Freeze {
    /// Whether an agent that kept its state in this folder left filesystems frozen. Whoever starts then must not write to a file
    /// before [`Freeze::resume`] and a thaw: the write might wait for the thaw, and the thaw for it.
    pub fn was_left(state_dir: &Path) -> bool {
        Marker::new(state_dir).found().is_some()
    }

    /// Whether there is a marker in this folder, this agent's own included.
    pub fn is_marked(state_dir: &Path) -> bool {
        Marker::new(state_dir).path().symlink_metadata().is_ok()
    }

    /// Thaws what an agent that kept its state in this folder left frozen, for one that cannot start; whether there was anything.
    /// `tells`: the next thaw is answered with an error.
    pub fn rescue(state_dir: &Path, tells: bool, why: &str) -> bool {
        let settings = FreezeSettings { tells_unasked: tells, ..FreezeSettings::default() };
        let this = Self::new(state_dir, settings);
        // Whoever may not read the marker may not thaw either.
        let Some(Left { marker: Some(marker), .. }) = this.marker.found() else { return false };
        let mut inner = this.lock();
        (inner.phase, inner.found, inner.marker) = (Phase::Frozen, true, Some(marker));
        drop(inner);
        thawing::open_all(&this);
        thawing::rescue(&this, why);
        true
    }

    /// Goes on being frozen where an earlier agent, waga or qemu-ga, left it so.
    ///
    /// # Errors
    /// The thread that thaws cannot be started.
    pub fn resume(agent: &Arc<Agent>) -> io::Result<()> {
        let this = &agent.freeze;
        let mut inner = this.lock();
        inner.notice = this.marker.notice().filter(|_| this.settings.tells_unasked);
        let left = this.marker.found();
        // Without a marker, too: that goes before extensions are told of the thaw. But not those of an agent that lives.
        if left.is_some() || !this.marker.path().exists() {
            inner.owed = this.marker.owed().into_iter().map(Owed::Left).collect();
        }
        let Some(Left { since, marker }) = left else { return Ok(()) };
        inner.marker = marker;
        inner.phase = Phase::Frozen;
        inner.found = true;
        inner.hook_owed = this.settings.hook.is_some();
        inner.report = Report { status: Status::Frozen, ..Report::default() };
        inner.in_memory = Some(InMemory::hold());
        inner.run += 1;
        let run = inner.run;
        this.set_frozen(true);
        drop(inner);
        tracing::error!(
            marker = %this.marker.path().display(),
            "an agent before this one left filesystems frozen: they stay so until guest-fsfreeze-thaw"
        );
        Self::start_thawer(agent)?;
        let passed = since.and_then(|since| SystemTime::now().duration_since(since).ok());
        let left = this.settings.deadline.map(|limit| limit.saturating_sub(passed.unwrap_or_default()));
        Self::arm(agent, run, left);
        Ok(())
    }

    /// Tells extensions of the thaw that an agent before had told of a freeze, if nothing is frozen any more: no thaw need come that would do
    /// it. Not before it is known that no other agent lives, and extensions have begun.
    pub fn catch_up(agent: &Arc<Agent>) {
        let mut inner = agent.freeze.lock();
        if inner.phase != Phase::Thawed || inner.owed.is_empty() {
            return;
        }
        // As a freeze that has frozen nothing: no other begins meanwhile, and a thaw ends it at once and tells the rest.
        inner.phase = Phase::Freezing;
        inner.cancelled = None;
        drop(inner);
        let its = agent.clone();
        let tell = move || {
            let told = catch_unwind(AssertUnwindSafe(|| its.freeze.tell_owed(&its, false, true)));
            if told.is_err() {
                tracing::error!(
                    "extensions are told of the thaw of an agent before by the next freeze or thaw"
                );
            }
            its.freeze.caught_up();
        };
        if let Err(error) = thread::Builder::new().name("tell".into()).spawn(tell) {
            tracing::error!(%error, "cannot start a thread to tell extensions of the thaw of an agent before");
            agent.freeze.caught_up();
        }
    }

    fn caught_up(&self) {
        let mut inner = self.lock();
        inner.phase = Phase::Thawed;
        (inner.cancelled, inner.stop_hook) = (None, None);
        self.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_the_marker_does_not_say_that_it_thawed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Freeze::rescue(folder.path(), true, "a test"));
        // A link is not followed: as unreadable as a file of somebody else.
        std::os::unix::fs::symlink("/nonexistent", folder.path().join("qga.state.isfrozen")).unwrap();
        assert!(Freeze::was_left(folder.path()));
        assert!(!Freeze::rescue(folder.path(), true, "a test"));
        assert!(Freeze::is_marked(folder.path()));
    }
}
