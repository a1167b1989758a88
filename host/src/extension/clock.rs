//! The tick: while calls are under way a thread counts them time, by which machine code is interrupted, and wakes those whose time is
//! over. While none is, it sleeps without an end.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use wasmtime::Engine;

/// How often it ticks while calls are under way: limits are kept about this exactly.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Bytes of stack that the thread needs at most.
const STACK: usize = 64 << 10;

/// Counts time for the calls of one engine.
#[derive(Debug, Default)]
pub(super) struct Clock {
    calls: Mutex<Calls>,
    thread: OnceLock<Thread>,
}

#[derive(Debug, Default)]
struct Calls {
    /// When each is to end, and who then wants to know.
    under_way: HashMap<u64, (Instant, Option<Waker>)>,
    next: u64,
    asleep: bool,
    ended: bool,
}

impl Clock {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(engine: &Engine) -> io::Result<Arc<Self>> {
        let clock = Arc::new(Self::default());
        let (ticking, engine) = (clock.clone(), engine.weak());
        let run = move || {
            while let Some(engine) = engine.upgrade().filter(|_| !ticking.calls().ended) {
                engine.increment_epoch();
                drop(engine);
                ticking.tick();
            }
        };
        let thread = thread::Builder::new().name("ext-clock".into()).stack_size(STACK).spawn(run)?;
        let _ = clock.thread.set(thread.thread().clone());
        Ok(clock)
    }

    /// A call is under way from here on until this is dropped, and over at `deadline`: that is when the future is ready.
    pub(super) fn until(self: &Arc<Self>, deadline: Instant) -> Until {
        let mut calls = self.calls();
        let number = calls.next;
        calls.next += 1;
        calls.under_way.insert(number, (deadline, None));
        let wake = std::mem::take(&mut calls.asleep);
        drop(calls);
        if wake && let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        Until { clock: self.clone(), number, deadline }
    }

    /// Ends the thread.
    pub(super) fn end(&self) {
        self.calls().ended = true;
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whose time is over, and waits for the next tick or the next call.
    fn tick(&self) {
        let now = Instant::now();
        let mut calls = self.calls();
        if calls.under_way.is_empty() {
            calls.asleep = true;
            drop(calls);
            return thread::park();
        }
        let over = calls.under_way.values_mut().filter(|(deadline, _)| *deadline <= now);
        let wakers: Vec<Waker> = over.filter_map(|(_, waker)| waker.take()).collect();
        drop(calls);
        wakers.into_iter().for_each(Waker::wake);
        thread::park_timeout(TICK);
    }
}

/// Ready once a call's time is over.
#[derive(Debug)]
pub(super) struct Until {
    clock: Arc<Clock>,
    number: u64,
    deadline: Instant,
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        if let Some((_, waker)) = self.clock.calls().under_way.get_mut(&self.number) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Until {
    fn drop(&mut self) {
        self.clock.calls().under_way.remove(&self.number);
    }
}
