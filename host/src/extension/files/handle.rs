//! A file that is open, and what it counts against while it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::threads::Threads;

/// Files and folders that a call may have open at a time: each takes one of the agent's descriptors.
const FILES: usize = 32;
/// Streams of them: each may hold a piece of data.
const STREAMS: usize = 64;

/// What a call may have open.
#[derive(Debug, Clone)]
pub(in crate::extension) struct Slots {
    files: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { files: Arc::new(Semaphore::new(FILES)), streams: Arc::new(Semaphore::new(STREAMS)) }
    }
}

impl Slots {
    /// Room for a file, if there is any left.
    pub(in crate::extension) fn file(&self) -> Option<Slot> {
        self.files.try_acquire_arc().map(Slot)
    }

    /// Room for a stream.
    pub(in crate::extension) fn stream(&self) -> Option<Slot> {
        self.streams.try_acquire_arc().map(Slot)
    }
}

/// Room for one.
#[derive(Debug)]
pub(in crate::extension) struct Slot(
    #[expect(dead_code, reason = "held until what it is for is closed")] SemaphoreGuardArc,
);

/// An open file or folder.
#[derive(Debug)]
pub(in crate::extension) struct Handle {
    file: Option<OwnedFd>,
    /// Who closes it, where that may take long.
    closer: Option<Threads>,
    slot: Option<Slot>,
}

impl Handle {
    /// One that stays open as long as the extension does.
    pub(super) fn kept(file: OwnedFd) -> Arc<Self> {
        Arc::new(Self { file: Some(file), closer: None, slot: None })
    }

    /// One of a call.
    pub(super) fn new(file: OwnedFd, slot: Slot) -> Arc<Self> {
        Arc::new(Self { file: Some(file), closer: None, slot: Some(slot) })
    }

    /// One of a call that is written to: closing it may wait for its device.
    pub(super) fn written(file: OwnedFd, slot: Slot, threads: &Threads) -> Arc<Self> {
        Arc::new(Self { file: Some(file), closer: Some(threads.clone()), slot: Some(slot) })
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_ref().expect("it is there until it is dropped").as_fd()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(threads) = &self.closer {
            threads.later((self.file.take(), self.slot.take()));
        }
    }
}
