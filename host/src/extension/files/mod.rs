//! Files: what an extension was granted of them, as one tree in which nothing else exists.
//!
//! `grant` says what may be granted and opens it, `tree` where a path of the extension's leads, `work` does what it asks for there, and
//! `beneath` opens files so that nothing leads out. All of that may wait for a device and runs on `threads`.

mod beneath;
mod grant;
mod handle;
mod mounts;
#[cfg(test)]
mod tests;
mod threads;
mod tree;
mod work;

use std::sync::{Arc, OnceLock};

use waga_builtins::Agent;

pub(in crate::extension) use self::beneath::How;
use self::grant::{Failure, Grant};
pub(in crate::extension) use self::handle::{Slot, Slots};
pub(in crate::extension) use self::threads::Threads;
pub(in crate::extension) use self::tree::Folder;
pub(in crate::extension) use self::work::{Entry, Facts, File, Kind, Listing, Node, Times};
use crate::config::OwnPlace;

/// Most bytes that are read or written at once.
pub(in crate::extension) const PIECE: usize = 64 << 10;

/// The files of one extension.
#[derive(Debug)]
pub struct Files {
    grants: Vec<Grant>,
    own: Arc<[OwnPlace]>,
    threads: Threads,
    /// What came of opening them.
    opened: OnceLock<Option<String>>,
}

impl Default for Files {
    /// None at all.
    fn default() -> Self {
        Self { grants: Vec::new(), own: Arc::default(), threads: Threads::new(1), opened: OnceLock::new() }
    }
}

impl Files {
    /// Those of these absolute paths, none of them opened yet: to be read, and to be read and written. No more than `concurrency` threads
    /// work with them at a time; `own` is the agent's.
    pub fn new(read: &[String], write: &[String], concurrency: usize, own: &Arc<[OwnPlace]>) -> Self {
        let read = read.iter().map(|path| Grant::new(path, false));
        let write = write.iter().map(|path| Grant::new(path, true));
        let mut grants: Vec<Grant> = write.chain(read).collect();
        // Of two that mean the same, the one that grants more comes first and is kept.
        grants.sort_by(|one, other| one.path.cmp(&other.path));
        grants.dedup_by(|later, first| later.path == first.path);
        Self { grants, own: own.clone(), threads: Threads::new(concurrency), opened: OnceLock::new() }
    }

    /// Opens what is there of them, once, which may wait for a device.
    ///
    /// # Errors
    /// Some must not be granted: which, why, and the way out.
    pub fn open(&self) -> Result<(), String> {
        let open = || {
            let refused = |grant: &Grant| match grant.place(&self.own) {
                Ok(_) | Err(Failure::Missing) => None,
                Err(Failure::Refused(reason)) => {
                    Some(format!("{} \"{}\" {reason}", key(grant), grant.path.display()))
                }
            };
            let refused: Vec<_> = self.grants.iter().filter_map(refused).collect();
            (!refused.is_empty()).then(|| refused.join("; "))
        };
        self.opened.get_or_init(open).clone().map_or(Ok(()), Err)
    }

    /// Whether there is anything to open.
    pub(super) fn are_granted(&self) -> bool {
        !self.grants.is_empty()
    }

    /// What [`Self::open`] found to be refused, if it was done.
    pub(super) fn refusal(&self) -> Option<String> {
        self.opened.get().cloned().flatten()
    }

    /// What is granted, as it is told.
    pub(super) fn told(&self) -> impl Iterator<Item = String> {
        self.grants.iter().map(|grant| format!("{} {}", key(grant), grant.path.display()))
    }

    /// Whose freezes keep it from writing.
    pub(super) fn serve(&self, agent: &Arc<Agent>) {
        self.threads.serve(Arc::downgrade(agent));
    }

    /// Where its work is done.
    pub(super) fn threads(&self) -> &Threads {
        &self.threads
    }
}

fn key(grant: &Grant) -> &'static str {
    if grant.write { "write" } else { "read" }
}
