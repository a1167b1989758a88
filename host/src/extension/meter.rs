//! CPU time of one call, by the clock of the thread that runs it: counted while the call is being polled, and asked for in between, at
//! each tick, by what interrupts it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long one call has computed so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Nanoseconds of the polls that are over.
    spent: AtomicU64,
    /// What the thread's clock said when this poll began; 0 between polls.
    since: AtomicU64,
}

impl Meter {
    /// CPU time so far; asked on the thread that runs the call, or between its polls.
    pub(super) fn spent(&self) -> Duration {
        // Written and read by the one thread that polls it at the time.
        let since = self.since.load(Ordering::Relaxed);
        let running = if since == 0 { 0 } else { now().saturating_sub(since) };
        Duration::from_nanos(self.spent.load(Ordering::Relaxed) + running)
    }
}

/// Nanoseconds that this thread has computed.
fn now() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

/// A future whose polls are counted; `None` once they came to more than they may.
pub(super) struct Metered<F> {
    future: Pin<Box<F>>,
    meter: Arc<Meter>,
    most: Duration,
}

impl<F: Future> Metered<F> {
    /// Counts the polls of `future`, which may compute for so long.
    pub(super) fn new(future: F, meter: Arc<Meter>, most: Duration) -> Self {
        Self { future: Box::pin(future), meter, most }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let since = now();
        self.meter.since.store(since.max(1), Ordering::Relaxed);
        let polled = self.future.as_mut().poll(cx);
        self.meter.since.store(0, Ordering::Relaxed);
        self.meter.spent.fetch_add(now().saturating_sub(since), Ordering::Relaxed);
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // What it spends in the agent's functions is not interrupted: it is looked at here.
            Poll::Pending if self.meter.spent() >= self.most => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
