//! What is frozen, and who is about to change that.
//!
//! A freeze has a thread, and a thaw has another one, which is there before the first filesystem is frozen: whatever freezing waits for
//! (a disk that does not answer, a filesystem whose image lies on one that is frozen already), what is frozen can be thawed. Nothing here
//! is locked while the kernel works.

use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use smol::Timer;
use smol::channel::Sender;

use super::extensions::Owed;
use super::gate::{Gate, Writer};
use super::hands::Hands;
use super::marker::Marker;
use super::report::{By, Report, Status};
use super::{FreezeSettings, thawing};
use crate::context::Agent;
use crate::error::{Error, Result};
use crate::sys::freeze::InMemory;

/// How long after a thaw that failed the deadline tries again.
const AGAIN: Duration = Duration::from_secs(5);

/// It spells paths and numbers, and starts programs.
const STACK: usize = 256 << 10;

/// The frozen state of the guest's filesystems, as far as this agent knows.
#[derive(Debug)]
pub struct Freeze {
    pub(super) settings: FreezeSettings,
    pub(super) marker: Marker,
    pub(super) gate: Arc<Gate>,
    /// Asked at each request.
    frozen: AtomicBool,
    inner: Mutex<Inner>,
    /// A request to thaw came, or something was frozen, or freezing has ended.
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) phase: Phase,
    /// Counts freezes.
    pub(super) run: u64,
    /// What may be frozen, in the order of freezing.
    pub(super) held: Vec<Held>,
    /// Whether an earlier agent froze: then nobody knows what, and all there is may be.
    pub(super) found: bool,
    /// Who wants the freeze that is under way to end.
    pub(super) cancelled: Option<By>,
    /// Whether the hook was told of freezing and not of thawing yet.
    pub(super) hook_owed: bool,
    /// The extensions that were told of freezing and not of thawing yet, in that order.
    pub(super) owed: Vec<Owed>,
    /// Whether the agent ends: then no freeze begins any more.
    pub(super) ending: bool,
    /// What the next thaw is to be answered with: that it comes too late.
    pub(super) notice: Option<String>,
    pub(super) report: Report,
    pub(super) in_memory: Option<InMemory>,
    /// The marker, locked: as long as it is, no other agent takes it for one that was left.
    pub(super) marker: Option<File>,
    /// Ends the hook that is told of freezing.
    pub(super) stop_hook: Option<Sender<()>>,
    requests: VecDeque<Request>,
    /// Whether the thread that thaws is there.
    thawer: bool,
}

/// Where it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Thawed,
    /// A thread freezes; or has frozen nothing, and tells extensions what an agent before this one did not come to.
    Freezing,
    Frozen,
    /// All are thawed, and the hooks are told so.
    Thawing,
}

/// A filesystem that may be frozen, by an open file on it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) mount_point: PathBuf,
    pub(super) folder: File,
}

#[derive(Debug)]
struct Request {
    by: By,
    /// The freeze that it means; `None`: whatever there is.
    run: Option<u64>,
    /// Why, for the notice of one that nobody asked for.
    why: String,
    answer: Sender<Result<i64>>,
}

impl Inner {
    /// Leaves a request to thaw. A freeze that is meant is cancelled at once, and its hook, if that runs, is not waited for.
    fn ask(&mut self, request: Request) {
        if self.phase == Phase::Freezing && request.run.is_none_or(|run| run == self.run) {
            self.cancelled.get_or_insert(request.by);
            if let Some(stop) = self.stop_hook.take() {
                // It may have just ended.
                let _ = stop.try_send(());
            }
        }
        self.requests.push_back(request);
    }

    /// Whether that freeze is not over.
    fn lasts(&self, run: u64) -> bool {
        self.run == run && matches!(self.phase, Phase::Freezing | Phase::Frozen)
    }
}

impl Freeze {
    /// Nothing is frozen; [`Freeze::resume`] looks whether an earlier agent left it otherwise.
    pub(crate) fn new(state_dir: &Path, settings: FreezeSettings) -> Self {
        Self {
            settings,
            marker: Marker::new(state_dir),
            gate: Arc::default(),
            frozen: AtomicBool::new(false),
            inner: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Whether the agent has filesystems frozen now, or is just freezing them.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// What became of the last freeze.
    pub(super) fn report(&self) -> Report {
        self.lock().report.clone()
    }

    /// The thread that froze is gone by a fault: what it left is for the one that thaws.
    pub(super) fn abandon(&self) {
        let mut inner = self.lock();
        if inner.phase == Phase::Freezing {
            inner.phase = Phase::Frozen;
        }
        self.notify();
    }

    /// A fault ended a thaw: if all was thawed by then, it is over, or no freeze could ever begin again.
    fn thaw_failed(&self) {
        let mut inner = self.lock();
        if inner.phase == Phase::Thawing {
            inner.phase = Phase::Thawed;
            inner.report.status = Status::Thawed;
        }
    }

    /// Before the agent writes to a filesystem: a freeze waits until the writer is dropped.
    ///
    /// # Errors
    /// Filesystems are frozen.
    pub fn writer(&self) -> Result<Writer> {
        // Counted before it is asked, so that no freeze begins in between.
        let writer = self.gate.enter();
        if self.is_frozen() { Err(Error::generic("filesystems are frozen by now")) } else { Ok(writer) }
    }

    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    pub(super) fn wait<'a>(&self, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner)
    }

    /// Thaws by itself after `left`, unless that freeze is over by then.
    pub(super) fn arm(agent: &Arc<Agent>, run: u64, left: Option<Duration>) {
        let (Some(left), Some(limit)) = (left, agent.freeze.settings.deadline) else { return };
        let its = agent.clone();
        agent.spawn(async move {
            Timer::after(left).await;
            // What cannot be thawed may be some time.
            while its.freeze.lock().lasts(run) {
                // The log has it, and so has the next thaw.
                let why = format!("the deadline of {limit:?} had passed");
                drop(Self::request(&its, By::Deadline, Some(run), why).await);
                Timer::after(AGAIN).await;
            }
        });
    }

    /// Lets no freeze begin any more: before the thaw of an agent that ends.
    pub fn close(&self) {
        self.lock().ending = true;
    }

    /// Thaws if there is anything to thaw, because the agent ends or for some such reason: `the agent was ended`. A thaw that is under way
    /// is waited for: extensions may still have to be told of it, each in bounded time, and without the agent nobody tells them.
    pub async fn end(agent: &Arc<Agent>, why: &str) {
        let Inner { phase, run, .. } = *agent.freeze.lock();
        let run = match phase {
            Phase::Thawed => return,
            Phase::Freezing | Phase::Frozen => None,
            // That freeze does not last by then: nothing is done but in its turn.
            Phase::Thawing => Some(run),
        };
        // The log has it, and so has the next thaw.
        drop(Self::request(agent, By::End, run, why.to_owned()).await);
    }

    /// Lets the thread for it thaw; how many filesystems it thawed.
    pub(super) async fn thaw(agent: &Arc<Agent>, by: By, why: String) -> Result<i64> {
        Self::request(agent, by, None, why).await
    }

    async fn request(agent: &Arc<Agent>, by: By, run: Option<u64>, why: String) -> Result<i64> {
        let (answer, answered) = smol::channel::bounded(1);
        agent.freeze.lock().ask(Request { by, run, why, answer });
        if let Err(error) = Self::start_thawer(agent) {
            return Err(Error::io("failed to start a thread", error));
        }
        agent.freeze.notify();
        let lost = |_| Err(Error::generic("the thaw failed by a fault of the agent; its log says more"));
        answered.recv().await.unwrap_or_else(lost)
    }

    /// Starts the thread that thaws, if it is not there.
    pub(super) fn start_thawer(agent: &Arc<Agent>) -> std::io::Result<()> {
        let mut inner = agent.freeze.lock();
        if inner.thawer {
            return Ok(());
        }
        let its = agent.clone();
        // Where nothing is frozen there is no hurry.
        let mut hands = Hands::start(if inner.phase == Phase::Thawed { 0 } else { Hands::COUNT });
        let builder = thread::Builder::new().name("thaw".into()).stack_size(STACK);
        builder.spawn(move || its.freeze.attend(&its, &mut hands))?;
        inner.thawer = true;
        Ok(())
    }

    /// Serves requests to thaw as long as anything may be frozen.
    fn attend(&self, agent: &Arc<Agent>, hands: &mut Hands) {
        if self.lock().found {
            thawing::open_all(self);
        }
        loop {
            let mut inner = self.lock();
            let request = loop {
                if let Some(request) = inner.requests.pop_front() {
                    break request;
                }
                if inner.phase == Phase::Thawed {
                    inner.thawer = false;
                    return;
                }
                inner = self.wait(inner);
            };
            drop(inner);
            let Request { by, run, why, answer } = request;
            if run.is_some_and(|run| !self.lock().lasts(run)) {
                // It was thawed while this waited its turn, and perhaps another has begun.
                drop(answer.try_send(Ok(0)));
                continue;
            }
            // A fault must not end the one thread that can thaw.
            let thawed = catch_unwind(AssertUnwindSafe(|| thawing::thaw(self, agent, hands, by, &why)));
            if let Ok(result) = thawed {
                drop(answer.try_send(result));
            } else {
                self.thaw_failed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Caller, Context, Settings, Work, test_agent, test_agent_of};

    #[test]
    fn the_deadline_of_one_freeze_does_not_end_the_next() {
        let (agent, _executor) = test_agent_of(&Settings::new("/nonexistent"));
        let freeze = &agent.freeze;
        {
            let mut inner = freeze.lock();
            (inner.phase, inner.run) = (Phase::Freezing, 2);
        }
        let late = Freeze::request(&agent, By::Deadline, Some(1), "a test".to_owned());
        assert_eq!(smol::block_on(late).unwrap(), 0);
        let mut inner = freeze.lock();
        assert_eq!((inner.phase, inner.cancelled), (Phase::Freezing, None));
        // One that is meant cancels it before anybody serves the request, so that no hook begins in between.
        let (answer, _) = smol::channel::bounded(1);
        inner.ask(Request { by: By::Host, run: None, why: "a test".to_owned(), answer });
        assert_eq!(inner.cancelled, Some(By::Host));
        (inner.phase, inner.requests) = (Phase::Thawed, VecDeque::new());
        freeze.notify();
    }

    #[test]
    fn a_thaw_ends_the_hook_of_a_freeze_that_began_after_it_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (agent, _executor) = test_agent_of(&Settings::new(folder.path()));
        let freeze = &agent.freeze;
        let (answer, answered) = smol::channel::bounded(1);
        freeze.lock().ask(Request { by: By::Failure, run: None, why: "a test".to_owned(), answer });
        freeze.lock().phase = Phase::Freezing;
        let stopped = freeze.stopped().unwrap();
        Freeze::start_thawer(&agent).unwrap();
        stopped.recv_blocking().unwrap();
        assert!(freeze.stopped().is_err());
        freeze.lock().phase = Phase::Frozen;
        freeze.notify();
        assert_eq!(answered.recv_blocking().unwrap().unwrap(), 0);
    }

    #[test]
    fn a_fault_in_a_thaw_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(folder.path());
        settings.freeze.hold_files = |held| {
            assert!(held, "a fault");
            true
        };
        let (agent, _executor) = test_agent_of(&settings);
        let freeze = &agent.freeze;
        let marker = freeze.marker.set().unwrap();
        freeze.lock().marker = Some(marker);
        freeze.lock().phase = Phase::Frozen;
        freeze.set_frozen(true);
        let thaw = || smol::block_on(Freeze::thaw(&agent, By::Deadline, "a test".to_owned()));
        assert!(thaw().unwrap_err().desc.contains("a fault of the agent"));
        // The thread that thaws ends with that.
        let mut inner = freeze.lock();
        while inner.thawer {
            drop(inner);
            thread::yield_now();
            inner = freeze.lock();
        }
        assert_eq!(inner.phase, Phase::Thawed);
        assert!(!freeze.is_frozen() && freeze.marker.found().is_none());
    }

    #[test]
    fn what_writes_is_waited_for_and_does_not_begin_while_frozen() {
        let (agent, executor) = test_agent();
        let freeze = &agent.freeze;
        let cx =
            Context { agent: agent.clone(), caller: Caller::Channel("test".into()), limits: Arc::default() };
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = std::sync::mpsc::channel();
        let mut writes = Box::pin(cx.writing(Work::Files, move || {
            begun.send(()).unwrap();
            wait.recv()
        }));
        assert!(smol::block_on(executor.run(smol::future::poll_once(&mut writes))).is_none());
        begins.recv().unwrap();
        // Its client left: it writes on.
        drop(writes);
        freeze.set_frozen(true);
        assert_eq!(freeze.gate.wait(Duration::from_millis(20)), 1);
        let refused = smol::block_on(executor.run(cx.writing(Work::Files, || ())));
        assert_eq!(refused.unwrap_err().desc, "filesystems are frozen by now");
        go.send(()).unwrap();
        assert_eq!(freeze.gate.wait(Duration::from_secs(60)), 0);
        freeze.set_frozen(false);
        smol::block_on(executor.run(cx.writing(Work::Files, || ()))).unwrap();
    }
}
