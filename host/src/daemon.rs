//! The daemon's life: one thread that runs the executor and the reactor, started after everything is open, ended by a signal.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use smol::channel::Receiver;
use smol::future::FutureExt;
use smol::{Async, Executor};
use waga_builtins::Settings;

use crate::channel::{self, House};
use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::registry::Registry;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// A channel that cannot be opened.
pub(crate) fn run(config: Config) -> io::Result<()> {
    waga_builtins::allocator::bound();
    let signals = Signals::new()?;
    let executor: Arc<Executor<'static>> = Arc::default();
    let settings = Settings { state_dir: config.state_dir };
    let dispatcher = Dispatcher::new(Registry::builtins(), config.policy, &settings, executor.clone());
    let (failed, failures) = smol::channel::unbounded();
    let dispatcher = Arc::new(dispatcher);
    let house = House { dispatcher, budget: Arc::default(), executor: executor.clone(), failed };
    // Opening the port is what makes libvirt connect: everything else is ready by now.
    let channels = channel::open_all(&config.channels, config.retry_path, false, &house)?;
    let end = signals.wait().or(deaf(&failures, channels));
    let ended = smol::block_on(executor.run(end));
    house.dispatcher.agent().close();
    ended
}

/// Waits until the last channel has failed: an agent that nobody can reach ends, so that its service manager starts it again.
async fn deaf(failures: &Receiver<io::Error>, mut channels: usize) -> io::Result<()> {
    loop {
        let error = failures.recv().await.unwrap_or_else(io::Error::other);
        channels -= 1;
        if channels == 0 {
            return Err(error);
        }
        tracing::error!(%error, "going on with the other channels");
    }
}

/// SIGTERM and SIGINT as a descriptor. (SIGPIPE is ignored by Rust's runtime.)
struct Signals(Async<SignalFd>);

impl Signals {
    /// Blocks them, before any thread is started.
    fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGINT);
        // Writing past a limit on file sizes is an error, not the end. Blocked, but nobody asks for it.
        let mut blocked = set;
        blocked.add(Signal::SIGXFSZ);
        blocked.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self(Async::new_nonblocking(fd)?))
    }

    async fn wait(&self) -> io::Result<()> {
        self.0.readable().await?;
        tracing::info!(descriptor = ?self.0.as_fd(), "received a signal to end");
        Ok(())
    }
}
