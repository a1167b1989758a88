//! The threads that an extension's file work runs on: never the one that serves channels, nor the one that runs components, so that a
//! disk which does not answer stops neither. They are bounded, for each extension and for all, because a thread that hangs outlives the
//! call that it works for.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::Duration;

use rustix::io::Errno;
use smol::Timer;
use smol::lock::{Semaphore, SemaphoreGuardArc};
use waga_builtins::Agent;

/// How often it is tried whether filesystems are still frozen, which keeps files from being closed.
const FROZEN: Duration = Duration::from_secs(1);

/// Threads of all extensions together.
static ALL: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(64)));

/// What the agent is to work with files.
pub(super) trait Around: Send + Sync {
    /// Lets something write: no freeze begins as long as what is returned is there. `None`: filesystems are frozen.
    fn writer(&self) -> Option<Box<dyn Send>>;

    /// Runs something beside the requests.
    fn spawn(&self, task: BoxFuture<()>);
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Around for Weak<Agent> {
    fn writer(&self) -> Option<Box<dyn Send>> {
        match self.upgrade() {
            Some(agent) => agent.freeze.writer().ok().map(|writer| Box::new(writer) as Box<dyn Send>),
            // Nobody is left who would freeze.
            None => Some(Box::new(())),
        }
    }

    fn spawn(&self, task: BoxFuture<()>) {
        if let Some(agent) = self.upgrade() {
            agent.spawn(task);
        }
    }
}

/// Turns of one extension.
#[derive(Clone)]
pub(in crate::extension) struct Threads {
    turns: Arc<Semaphore>,
    around: Arc<OnceLock<Box<dyn Around>>>,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("turns", &self.turns).finish_non_exhaustive()
    }
}

impl Threads {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(concurrency.max(1))), around: Arc::default() }
    }

    /// Whose freezes keep it from writing.
    pub(super) fn serve(&self, around: impl Around + 'static) {
        let _ = self.around.set(Box::new(around));
    }

    /// Does something that may take long. Dropped before it has begun, it never does; later, it goes on to its end.
    pub(in crate::extension) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let turn = self.turn().await;
        smol::unblock(move || {
            let result = work();
            drop(turn);
            result
        })
        .await
    }

    /// As [`Self::run`], for what changes a filesystem: no freeze begins meanwhile.
    ///
    /// # Errors
    /// `EBUSY`: filesystems are frozen.
    pub(in crate::extension) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, Errno> {
        let turn = self.turn().await;
        // Asked last: a freeze waits for who has it, and need not wait for who waits for a turn.
        let writer = self.writer().ok_or(Errno::BUSY)?;
        smol::unblock(move || {
            let result = work();
            drop((writer, turn));
            result
        })
        .await
    }

    /// Closes something that was written to, which may write what is left: once nothing is frozen.
    pub(super) fn later(&self, what: impl Send + 'static) {
        let Some(around) = self.around.get() else { return };
        let this = self.clone();
        around.spawn(Box::pin(async move {
            loop {
                let turn = this.turn().await;
                if let Some(writer) = this.writer() {
                    return smol::unblock(move || drop((what, writer, turn))).await;
                }
                drop(turn);
                Timer::after(FROZEN).await;
            }
        }));
    }

    /// Keeps a freeze from beginning; `None`: one has.
    fn writer(&self) -> Option<Box<dyn Send>> {
        self.around.get().map_or_else(|| Some(Box::new(()) as Box<dyn Send>), |around| around.writer())
    }

    async fn turn(&self) -> (SemaphoreGuardArc, SemaphoreGuardArc) {
        let own = self.turns.acquire_arc().await;
        (own, ALL.acquire_arc().await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};

    use smol::block_on;

    use super::*;

    /// An agent that says of itself that it is frozen, or not, and counts who writes, and who was not let.
    #[derive(Clone, Default)]
    struct Fake(Arc<(AtomicBool, AtomicUsize, AtomicUsize)>);

    struct Inside(Fake);

    impl Drop for Inside {
        fn drop(&mut self) {
            self.0.0.1.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Around for Fake {
        fn writer(&self) -> Option<Box<dyn Send>> {
            if self.0.0.load(Ordering::SeqCst) {
                self.0.2.fetch_add(1, Ordering::SeqCst);
                return None;
            }
            self.0.1.fetch_add(1, Ordering::SeqCst);
            Some(Box::new(Inside(self.clone())))
        }

        fn spawn(&self, task: BoxFuture<()>) {
            block_on(task);
        }
    }

    fn poll<T>(work: &mut BoxFuture<T>) -> Poll<T> {
        work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn nothing_is_changed_while_filesystems_are_frozen_and_all_may_be_read() {
        let (threads, agent) = (Threads::new(2), Fake::default());
        threads.serve(agent.clone());
        assert_eq!(block_on(threads.change(|| Ok(1))), Ok(1));
        agent.0.0.store(true, Ordering::SeqCst);
        let done = Arc::new(AtomicBool::new(false));
        let does = done.clone();
        let changed = block_on(threads.change(move || {
            does.store(true, Ordering::SeqCst);
            Ok(())
        }));
        assert_eq!((changed, done.load(Ordering::SeqCst)), (Err(Errno::BUSY), false));
        assert_eq!(block_on(threads.run(|| 2)), 2);
        agent.0.0.store(false, Ordering::SeqCst);
        assert_eq!(block_on(threads.change(|| Ok(3))), Ok(3));
    }

    /// What has begun is waited for by a freeze, even if its call is long over, and takes one of the turns.
    #[test]
    fn what_hangs_is_bounded_and_known_to_write() {
        let (threads, agent) = (Threads::new(2), Fake::default());
        threads.serve(agent.clone());
        let (release, stuck) = mpsc::channel::<()>();
        let stuck = Arc::new(std::sync::Mutex::new(stuck));
        let (begun, begins) = mpsc::channel();
        for _ in 0..2 {
            let (stuck, begun, threads) = (stuck.clone(), begun.clone(), threads.clone());
            let mut hangs: BoxFuture<_> = Box::pin(async move {
                let hang = move || {
                    begun.send(()).unwrap();
                    let _ = stuck.lock().unwrap().recv();
                    Ok(())
                };
                threads.change(hang).await
            });
            assert!(poll(&mut hangs).is_pending());
            begins.recv().unwrap();
        }
        assert_eq!(agent.0.1.load(Ordering::SeqCst), 2, "its calls are over, and it may still write");
        let other = threads.clone();
        let mut waits: BoxFuture<_> = Box::pin(async move { other.run(|| 1).await });
        assert!(poll(&mut waits).is_pending());
        // Of another extension nothing waits for it.
        assert_eq!(block_on(Threads::new(1).run(|| 2)), 2);
        drop(release);
        assert_eq!(block_on(waits), 1);
        while agent.0.1.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_was_written_is_closed_once_nothing_is_frozen() {
        let (threads, agent) = (Threads::new(1), Fake::default());
        threads.serve(agent.clone());
        let count = || agent.0.1.fetch_add(1, Ordering::SeqCst);
        count();
        threads.later(Inside(agent.clone()));
        assert_eq!(agent.0.1.load(Ordering::SeqCst), 0);
        count();
        agent.0.0.store(true, Ordering::SeqCst);
        std::thread::scope(|scope| {
            scope.spawn(|| threads.later(Inside(agent.clone())));
            // Others have their turns meanwhile.
            assert_eq!(block_on(threads.run(|| 1)), 1);
            while agent.0.2.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            assert_eq!(agent.0.1.load(Ordering::SeqCst), 1);
            agent.0.0.store(false, Ordering::SeqCst);
        });
        assert_eq!(agent.0.1.load(Ordering::SeqCst), 0);
    }
}
