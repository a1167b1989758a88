//! CPU time of one call, by the clock of the thread that runs it: counted while the call is being polled, and asked for in between, at
//! each tick, by what interrupts it. And how long it waited for what it asked for, which is not how long it waited for the thread.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How long one call has computed so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Nanoseconds of the polls that are over.
    spent: AtomicU64,
    /// What the thread's clock said when this poll began; 0 between polls.
    since: AtomicU64,
    turn: Mutex<Turn>,
}

/// Whose turn it is: the call's, that of what it waits for, or nobody's, once it could go on and the thread is busy with others.
#[derive(Debug, Default)]
struct Turn {
    /// Since when it is polled.
    polled: Option<Instant>,
    /// Since when it waits for something of its own.
    waits: Option<Instant>,
    /// Whether what it waits for came about while it was polled: it yielded.
    woken: bool,
    /// How long it waited for such things before.
    waited: Duration,
}

impl Meter {
    /// CPU time so far; asked on the thread that runs the call, or between its polls.
    pub(super) fn spent(&self) -> Duration {
        // Written and read by the one thread that polls it at the time.
        let since = self.since.load(Ordering::Relaxed);
        let running = if since == 0 { 0 } else { now().saturating_sub(since) };
        Duration::from_nanos(self.spent.load(Ordering::Relaxed) + running)
    }

    /// How much time it made use of so far, computing or waiting for what it asked for; the rest went to others. Asked by whoever waits for
    /// it, once it is over or while the thread is stuck.
    pub(super) fn used(&self) -> Duration {
        let turn = self.turn();
        let now = [turn.polled, turn.waits].into_iter().flatten().map(|since| since.elapsed());
        Duration::from_nanos(self.spent.load(Ordering::Relaxed)) + turn.waited + now.sum::<Duration>()
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes down when a call could go on.
struct Woken {
    meter: Arc<Meter>,
    waker: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut turn = self.meter.turn();
        turn.woken = true;
        if let Some(since) = turn.waits.take() {
            turn.waited += since.elapsed();
        }
        drop(turn);
        self.waker.wake_by_ref();
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
        let waker = Waker::from(Arc::new(Woken { meter: self.meter.clone(), waker: cx.waker().clone() }));
        self.meter.since.store(since.max(1), Ordering::Relaxed);
        let mut turn = self.meter.turn();
        if let Some(since) = turn.waits.take() {
            turn.waited += since.elapsed();
        }
        (turn.polled, turn.woken) = (Some(Instant::now()), false);
        drop(turn);
        let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
        self.meter.since.store(0, Ordering::Relaxed);
        self.meter.spent.fetch_add(now().saturating_sub(since), Ordering::Relaxed);
        let mut turn = self.meter.turn();
        turn.polled = None;
        turn.waits = (!turn.woken).then(Instant::now);
        drop(turn);
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // What it spends in the agent's functions is not interrupted: it is looked at here.
            Poll::Pending if self.meter.spent() >= self.most => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "what passes is what is measured")]
mod tests {
    use std::future::poll_fn;
    use std::thread;

    use super::*;

    const WHILE: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_others_take_is_not_used() {
        let meter = Arc::new(Meter::default());
        let waiting: Arc<Mutex<Option<Waker>>> = Arc::default();
        let (told, mut polls) = (waiting.clone(), 0);
        // It yields; then waits for somebody; then ends.
        let call = poll_fn(move |cx| {
            polls += 1;
            match polls {
                1 => cx.waker().wake_by_ref(),
                2 => *told.lock().unwrap() = Some(cx.waker().clone()),
                _ => return Poll::Ready(polls),
            }
            Poll::Pending
        });
        let mut call = Box::pin(Metered::new(call, meter.clone(), LONG));
        let mut poll = || call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(poll(), Poll::Pending);
        // Others have the thread.
        thread::sleep(WHILE);
        assert!(meter.used() < WHILE, "{:?}", meter.used());
        assert_eq!(poll(), Poll::Pending);
        // What it waits for takes its time, and is counted while it does.
        thread::sleep(WHILE);
        assert!(meter.used() >= WHILE);
        waiting.lock().unwrap().take().unwrap().wake();
        let used = meter.used();
        thread::sleep(WHILE);
        // It could have gone on.
        assert_eq!(meter.used(), used);
        assert_eq!(poll(), Poll::Ready(Some(3)));
    }

    #[test]
    fn what_is_stuck_in_a_poll_uses_its_time() {
        let meter = Arc::new(Meter::default());
        let seen = meter.clone();
        let call = poll_fn(move |_| {
            thread::sleep(WHILE);
            Poll::Ready(seen.used())
        });
        let mut call = Box::pin(Metered::new(call, meter, LONG));
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Some(used)) if used >= WHILE), "{polled:?}");
    }
}
