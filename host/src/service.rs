//! Word to the service manager (`sd_notify`): started, reloading, stopping, alive. Without one, nothing happens.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use smol::future::FutureExt;
use smol::{Async, Timer};

/// How long it may take to take what it is told; it may be busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket for what it is to be told; `None` where nobody wants to know. Sending to it never waits: a service manager that hangs must
/// not take the agent with it.
fn connected() -> io::Result<Option<UnixDatagram>> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(&name)?,
    }
    Ok(Some(socket))
}

fn text(states: &[NotifyState<'_>]) -> String {
    states.iter().map(|state| format!("{state}\n")).collect()
}

/// That it cannot be told is no reason not to serve.
fn told(sent: io::Result<()>) {
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

/// Tells it what it waits for, and so waits for it, but not for ever.
async fn tell(states: &[NotifyState<'_>]) {
    let sent = async {
        let Some(socket) = connected()? else { return Ok(()) };
        Async::new_nonblocking(socket)?.send(text(states).as_bytes()).await.map(drop)
    };
    let late = async {
        Timer::after(PATIENCE).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    told(sent.or(late).await);
}

/// Tells it if it takes that at once.
fn try_tell(states: &[NotifyState<'_>]) {
    let socket = connected();
    told(
        socket.and_then(|socket| {
            socket.map_or(Ok(()), |socket| socket.send(text(states).as_bytes()).map(drop))
        }),
    );
}

/// Everything is open and requests are served; also after a reload.
pub(crate) async fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]).await;
}

/// The configuration is being read anew; [`ready`] has to follow.
pub(crate) async fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]).await,
        Err(_) => tell(&[NotifyState::Reloading]).await,
    }
}

/// The end has begun.
pub(crate) fn stopping() {
    try_tell(&[NotifyState::Stopping]);
}

/// Shows the watchdog that the thread that serves everyone gets its turns, twice in each of its periods. Ends at once where none watches.
pub(crate) async fn feed_watchdog() {
    // A period of nothing is none, as systemd's own library has it.
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else { return };
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let half = (period / 2).max(Duration::from_millis(1));
    loop {
        try_tell(&[NotifyState::Watchdog]);
        Timer::after(half).await;
    }
}
