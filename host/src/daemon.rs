//! The daemon's life: one thread that runs the executor and the reactor, started after everything is open, ended by a signal.
//!
//! SIGTERM and SIGINT end it, SIGHUP reads the configuration anew: policy changes in place, channels stay open (closing the port would
//! make libvirt drop the agent), log files are opened again. A configuration with a fault changes nothing.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use smol::channel::Receiver;
use smol::future::FutureExt;
use smol::{Async, Executor};
use waga_builtins::Settings;

use crate::audit::Audit;
use crate::background::{self, PidFile, Side};
use crate::channel::{self, House, Passed};
use crate::check;
use crate::cli::{Cli, Name};
use crate::config::{Config, ConfigError, Places};
use crate::dispatch::Dispatcher;
use crate::policy::Policy;
use crate::registry::Registry;
use crate::{log, service};

/// Is the agent until a signal ends it; the program's exit code.
///
/// # Errors
/// What keeps it from starting, or that its last channel failed, as it is to be shown.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, String> {
    let mut sources = Sources { cli, places: Places::system() };
    let mut config = sources.load().map_err(|error| error.to_string())?;
    let text = |error: io::Error| error.to_string();
    // They are meant for the process that was started, which is not the one in the background.
    let passed = channel::passed(config.name == Name::QemuGa).map_err(text)?;
    let waiting = if config.daemonize {
        sources.make_absolute();
        config.make_absolute();
        match background::split().map_err(|error| format!("cannot go to the background: {error}"))? {
            Side::Parent(code) => return Ok(code),
            Side::Child(waiting) => Some(waiting),
        }
    } else {
        None
    };
    log::start(&config.log).map_err(text)?;
    let pid_file = waiting.as_ref().map(|_| PidFile::take(&config.pid_file)).transpose().map_err(text)?;
    let ended = serve(config, sources, passed, || waiting.map_or(Ok(()), background::Waiting::started));
    drop(pid_file);
    log::end();
    ended.map(|()| ExitCode::SUCCESS).map_err(text)
}

/// Where the configuration comes from, each time it is read.
#[derive(Debug, Clone)]
struct Sources {
    cli: Cli,
    places: Places,
}

impl Sources {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.cli, &self.places).map(|resolved| resolved.config)
    }

    /// Independent of the working folder.
    fn make_absolute(&mut self) {
        for path in self.cli.config.iter_mut().chain([&mut self.places.qemu_ga_conf]) {
            if let Ok(absolute) = std::path::absolute(&*path) {
                *path = absolute;
            }
        }
    }
}

/// Opens the channels, says so, and serves until a signal ends it or the last channel fails.
fn serve(
    mut config: Config,
    sources: Sources,
    passed: Vec<Passed>,
    started: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    waga_builtins::allocator::bound();
    let signals = Signals::new()?;
    let executor: Arc<Executor<'static>> = Arc::default();
    let settings = Settings { state_dir: config.state_dir.clone() };
    let policy = std::mem::take(&mut config.policy);
    warn(config.name, &policy);
    let audit = config.audit.as_ref().map(Audit::start).transpose()?;
    let dispatcher = Dispatcher::new(Registry::builtins(), policy, &settings, executor.clone());
    let dispatcher = dispatcher.audited(audit);
    let (failed, failures) = smol::channel::unbounded();
    let dispatcher = Arc::new(dispatcher);
    let house =
        House { dispatcher: dispatcher.clone(), budget: Arc::default(), executor: executor.clone(), failed };
    // Opening the port is what makes libvirt connect: everything else is ready by now.
    let channels = channel::open_all(&config.channels, passed, &house)?;
    started()?;
    service::ready("serving");
    waga_builtins::release_code();
    let watchdog = executor.spawn(service::feed_watchdog());
    let reload = || reload(&sources, &config, &dispatcher);
    let end = signals.until_end(reload).or(deaf(&failures, channels));
    let ended = smol::block_on(executor.run(end));
    drop(watchdog);
    service::stopping();
    dispatcher.agent().close();
    ended
}

/// A list that names no command does not do what its author meant: what it was to block is on. That is an error to us, and nothing to
/// qemu-ga, whose lists may name what only other versions have.
fn warn(name: Name, policy: &Policy) {
    for warning in check::warnings(policy, &Registry::builtins()) {
        match name {
            Name::Waga => tracing::error!("{warning}"),
            Name::QemuGa => tracing::warn!("{warning}"),
        }
    }
}

/// Opens log files anew, reads the configuration anew and puts its policy in force.
async fn reload(sources: &Sources, running: &Config, dispatcher: &Dispatcher) {
    log::reopen();
    if dispatcher.agent().freeze.is_frozen() {
        // Reading a file may wait for a frozen filesystem.
        tracing::error!("not reloaded: filesystems are frozen; the configuration stays as it was");
        return;
    }
    service::reloading();
    let again = sources.clone();
    let loaded = smol::unblock(move || again.load()).await;
    match loaded {
        Ok(mut config) => {
            if running.daemonize {
                config.make_absolute();
            }
            let restart = [
                ("[[channel]]", config.channels != running.channels),
                ("[log]", config.log != running.log),
                ("[audit]", config.audit != running.audit),
                ("[state]", config.state_dir != running.state_dir),
                ("[daemon]", (config.daemonize, &config.pid_file) != (running.daemonize, &running.pid_file)),
            ];
            for (table, _) in restart.into_iter().filter(|(_, differs)| *differs) {
                tracing::error!(table, "changed, which takes a restart");
            }
            warn(config.name, &config.policy);
            dispatcher.set_policy(config.policy);
            tracing::info!("reloaded");
            waga_builtins::release_code();
            service::ready("serving");
        }
        Err(error) => {
            tracing::error!(%error, "not reloaded; the configuration stays as it was");
            service::ready("serving; the last reload failed, the log says why");
        }
    }
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

/// SIGTERM, SIGINT and SIGHUP as a descriptor. (SIGPIPE is ignored by Rust's runtime.)
struct Signals(Async<SignalFd>);

impl Signals {
    /// Blocks them, before any thread is started.
    fn new() -> io::Result<Self> {
        let set: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        // Writing past a limit on file sizes is an error, not the end. Blocked, but nobody asks for it.
        let mut blocked = set;
        blocked.add(Signal::SIGXFSZ);
        blocked.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self(Async::new_nonblocking(fd)?))
    }

    /// Reloads at each SIGHUP; returns at a signal to end.
    async fn until_end<F: Future<Output = ()>>(&self, reload: impl Fn() -> F) -> io::Result<()> {
        loop {
            self.0.readable().await?;
            match self.0.get_ref().read_signal()?.map(|info| info.ssi_signo) {
                Some(number) if number == Signal::SIGHUP as u32 => reload().await,
                Some(number) => {
                    tracing::info!(number, "received a signal to end");
                    return Ok(());
                }
                None => {}
            }
        }
    }
}
