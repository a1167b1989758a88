//! Threads that take freezes off, a filesystem each: one on a disk that does not answer keeps none of the others frozen.
//!
//! They are there before the first filesystem is frozen, for nothing is started then that thaws.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::state::Held;
use super::thawing::exhaust;

/// How long one is waited for before the next has its turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// They make a system call.
const STACK: usize = 64 << 10;

/// What became of one.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) held: Held,
    /// Whether it had been frozen.
    pub(super) thawed: io::Result<bool>,
    pub(super) time: Duration,
}

/// The threads; they end when it is dropped.
#[derive(Debug)]
pub(super) struct Hands {
    jobs: Sender<Held>,
    done: Receiver<Done>,
    /// Handed over, and not heard of yet.
    pending: usize,
    /// Whether any thread could be had.
    any: bool,
}

impl Hands {
    /// How many disks may not answer at once.
    pub(super) const COUNT: usize = 4;

    /// Starts so many; with fewer than there should be it goes on, and with none at all who thaws does it alone.
    pub(super) fn start(count: usize) -> Self {
        let (jobs, wanted) = mpsc::channel::<Held>();
        let (tell, done) = mpsc::channel();
        let wanted = Arc::new(Mutex::new(wanted));
        let hand = |wanted: Arc<Mutex<Receiver<Held>>>, tell: Sender<Done>| {
            move || {
                // Who waits for a job holds the lock meanwhile; the others wait for that.
                while let Ok(held) = { wanted.lock().unwrap_or_else(PoisonError::into_inner).recv() } {
                    let begun = Instant::now();
                    let thawed = exhaust(&held.folder);
                    if tell.send(Done { held, thawed, time: begun.elapsed() }).is_err() {
                        return;
                    }
                }
            }
        };
        let started = (0..count).filter(|_| {
            let builder = thread::Builder::new().name("thaw-one".into()).stack_size(STACK);
            builder.spawn(hand(wanted.clone(), tell.clone())).is_ok()
        });
        Self { jobs, done, pending: 0, any: started.count() > 0 }
    }

    /// Thaws one, and waits for that, or for as long as the others had better not wait. What is known by then, of this and of those before.
    pub(super) fn thaw(&mut self, held: Held) -> Vec<Done> {
        if !self.any {
            let begun = Instant::now();
            let thawed = exhaust(&held.folder);
            return vec![Done { held, thawed, time: begun.elapsed() }];
        }
        let (point, mut known) = (held.mount_point.clone(), Vec::new());
        // It has the other end itself, as long as there is a thread.
        let _ = self.jobs.send(held);
        self.pending += 1;
        let until = Instant::now() + PATIENCE;
        loop {
            match self.done.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(done) => {
                    self.pending -= 1;
                    let is_this = done.held.mount_point == point;
                    known.push(done);
                    if is_this {
                        return known;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    tracing::error!(mount = %point.display(), "takes long to thaw: the others are thawed meanwhile");
                    return known;
                }
                Err(RecvTimeoutError::Disconnected) => return known,
            }
        }
    }

    /// Whether some that were handed over are not heard of.
    pub(super) fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// One of those, waited for as long as it takes.
    pub(super) fn next(&mut self) -> Option<Done> {
        self.pending = self.pending.checked_sub(1)?;
        self.done.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn each_is_told_of_once() {
        let mut hands = Hands::start(Hands::COUNT);
        // procfs is never frozen, so nothing is thawed here.
        let held = |name: &str| Held { mount_point: name.into(), folder: File::open("/proc").unwrap() };
        for name in ["/a", "/b", "/c"] {
            let known = hands.thaw(held(name));
            assert_eq!(known.len(), 1);
            assert!(known[0].held.mount_point.to_str() == Some(name) && matches!(known[0].thawed, Ok(false)));
        }
        assert!(!hands.is_pending() && hands.next().is_none());
    }
}
