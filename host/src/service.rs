//! Word to the service manager (`sd_notify`): started, reloading, stopping, alive. Without one, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;
use smol::Timer;

/// Tells it. That it cannot be told is no reason not to serve.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

/// Everything is open and requests are served; also after a reload.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read anew; [`ready`] has to follow.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Shows the watchdog that the thread that serves everyone gets its turns, twice in each of its periods. Ends at once where none watches.
pub(crate) async fn feed_watchdog() {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let half = (period / 2).max(Duration::from_millis(1));
    loop {
        tell(&[NotifyState::Watchdog]);
        Timer::after(half).await;
    }
}
