//! The daemon's life: one thread that runs the executor and the reactor, started after everything is open, ended by a signal.
//!
//! SIGTERM and SIGINT end it, SIGHUP reads the configuration anew: policy changes in place, channels stay open (closing the port would
//! make libvirt drop the agent), log files are opened again. A configuration with a fault changes nothing. However it ends, filesystems
//! that are frozen are thawed first.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use smol::channel::Receiver;
use smol::future::FutureExt;
use smol::{Async, Executor, Timer};
use waga_builtins::fsfreeze::{Exclude, Freeze, FreezeSettings};
use waga_builtins::{Agent, Settings};

use crate::audit::Audit;
use crate::background::{self, PidFile, Side};
use crate::channel::{self, House, Passed};
use crate::cli::{Cli, Name};
use crate::config::{Config, Places, STATE_DIR};
use crate::dispatch::Dispatcher;
use crate::registry::Registry;
use crate::reload::{self, Sources};
use crate::{log, service};

/// How long after the start the code of the start is given back.
const SETTLED: Duration = Duration::from_secs(1);

/// Is the agent until a signal ends it; the program's exit code.
///
/// # Errors
/// What keeps it from starting, or that its last channel failed, as it is to be shown.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, String> {
    let mut sources = Sources { cli, places: Places::system() };
    let mut config = sources.load().map_err(|error| unfit(&sources.cli, &error.to_string()))?;
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
    // Where an agent before left filesystems frozen, no file is written to before they are thawed.
    let was_left = Freeze::was_left(&config.state_dir);
    if was_left {
        let _ = log::hold(true);
    }
    log::start(&config.log, config.daemonize).map_err(text)?;
    let background = waiting.is_some();
    let pid_file = match background && !was_left {
        true => Some(PidFile::take(&config.pid_file).map_err(text)?),
        false => None,
    };
    let state_dir = config.state_dir.clone();
    let started = || waiting.map_or(Ok(()), background::Waiting::started);
    let ended = serve(config, sources, passed, started, was_left && background);
    if Freeze::is_marked(&state_dir) {
        // Still frozen: to remove a file might wait for the thaw, and the agent with it.
        std::mem::forget(pid_file);
    }
    log::end();
    ended.map(|()| ExitCode::SUCCESS).map_err(text)
}

/// The end of an agent whose configuration has a fault, which may be one that is to thaw what the agent before it left frozen: nobody else
/// will. Where that kept its state, the configuration would say; by default, and with the distributions' units, it is here.
fn unfit(cli: &Cli, fault: &str) -> String {
    let state_dir = cli.options.state_dir.clone().unwrap_or_else(|| STATE_DIR.into());
    let why = "the agent could not start again with its configuration";
    match Freeze::rescue(&state_dir, cli.name == Name::Waga, why) {
        true => format!("{fault}\nfilesystems that an agent before had left frozen were thawed"),
        false => fault.to_owned(),
    }
}

/// Opens the channels, says so, and serves until a signal ends it or the last channel fails; then nothing is left frozen.
///
/// `late_pid_file`: the pid file is to be taken once filesystems are thawed that an agent before left frozen.
fn serve(
    mut config: Config,
    sources: Sources,
    passed: Vec<Passed>,
    started: impl FnOnce() -> io::Result<()>,
    late_pid_file: bool,
) -> io::Result<()> {
    waga_builtins::allocator::bound();
    let signals = Signals::new()?;
    config.find_packs();
    let executor: Arc<Executor<'static>> = Arc::default();
    let settings = settings(&config);
    let policy = std::mem::take(&mut config.policy);
    // What is passed takes the place of what is configured.
    let served: Vec<Arc<str>> = match &passed[..] {
        [] => config.channels.iter().map(|channel| channel.name.clone()).collect(),
        passed => passed.iter().map(|passed| passed.name.clone()).collect(),
    };
    let registry = Registry::of_config(&config);
    #[cfg_attr(not(feature = "extensions"), expect(unused_variables, reason = "every command is known"))]
    let warned = reload::warn(&policy, &config, &registry, &served);
    let audit = config.audit.as_ref().map(|audit| Audit::start(audit, config.daemonize)).transpose()?;
    let dispatcher = Dispatcher::new(registry, policy, &settings, &executor);
    let dispatcher = dispatcher.audited(audit).serving(&served);
    let (failed, failures) = smol::channel::unbounded();
    let dispatcher = Arc::new(dispatcher);
    let agent = dispatcher.agent();
    Freeze::resume(agent)?;
    // The marker may have come or gone since it was looked for.
    let _ = log::hold(agent.freeze.is_frozen());
    #[cfg(feature = "extensions")]
    if let Some(extensions) = dispatcher.extensions() {
        reload::begin(&extensions, &dispatcher, config.name, &served, warned);
    }
    if agent.freeze.is_frozen() && passed.is_empty() && !channel::can_be_made(&config.channels) {
        let why = "a channel could not be opened otherwise";
        smol::block_on(executor.run(Freeze::end(agent, why)));
    }
    let house = House {
        dispatcher: dispatcher.clone(),
        budget: Arc::default(),
        executor: Arc::downgrade(&executor),
        failed,
    };
    // Opening the port is what makes libvirt connect: everything else is ready by now.
    let opened = channel::open_all(&config.channels, passed, &house);
    let opened = opened.and_then(|channels| started().map(|()| channels));
    if let Err(error) = &opened
        && !is_taken(error)
    {
        // Perhaps nobody comes after this one.
        smol::block_on(executor.run(Freeze::end(agent, "the agent could not start")));
    }
    let channels = opened?;
    // Not while another agent may have the channels, and tell them itself.
    Freeze::catch_up(agent);
    let watchdog = executor.spawn(service::feed_watchdog());
    let late_pid_file =
        late_pid_file.then(|| executor.spawn(take_later(agent.clone(), config.pid_file.clone())));
    let settling = executor.spawn(async {
        // Not before the first requests, which often come at once: they would wait for what is given back.
        Timer::after(SETTLED).await;
        waga_builtins::release_code();
        tracing::debug!("settled");
    });
    let reloads = dispatcher.reloads();
    let attend = async {
        service::ready("serving").await;
        loop {
            let asking = reloads.next().await;
            let outcome = reload::reload(&sources, &config, &served, &dispatcher).await;
            for asker in asking {
                // Whose client has gone does not hear it.
                let _ = asker.try_send(outcome.clone());
            }
        }
    };
    let end = async {
        let ended = until_end(async || signals.next().await, || reloads.signal(), attend);
        let ended = ended.or(deaf(&failures, channels)).await;
        service::stopping();
        agent.freeze.close();
        Freeze::end(agent, "the agent was ended").await;
        ended
    };
    let ended = smol::block_on(executor.run(end));
    drop((watchdog, settling, late_pid_file));
    agent.close();
    // What is under way is dropped here: then the audit tells of it.
    drop(executor);
    // Files that clients left open are for the kernel to close: that may wait for a disk, and the log has not ended yet.
    std::mem::forget(dispatcher);
    ended
}

/// Whether another agent has what was to be opened: perhaps the one that froze, and will be asked to thaw.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::AddrInUse)
}

/// What the commands are told.
fn settings(config: &Config) -> Settings {
    let freeze = FreezeSettings {
        // RHEL's and Fedora's way of writing that there is none.
        hook: config.freeze.hook.clone().filter(|hook| hook != Path::new("/dev/null")),
        hook_timeout: config.freeze.hook_timeout,
        deadline: config.freeze.deadline,
        exclude: Exclude::new(&config.freeze.exclude).unwrap_or_default(),
        tells_unasked: config.name == Name::Waga,
        hold_files: log::hold,
    };
    Settings { freeze, ..Settings::new(config.state_dir.clone()) }
}

/// Takes the pid file once nothing is frozen any more, and has it until it is dropped. Nobody is left to be told that it cannot.
async fn take_later(agent: Arc<Agent>, path: PathBuf) {
    while agent.freeze.is_frozen() {
        Timer::after(Duration::from_secs(1)).await;
    }
    match smol::unblock(move || PidFile::take(&path)).await {
        Ok(_taken) => std::future::pending().await,
        Err(error) => tracing::error!(%error, "going on without a pid file"),
    }
}

/// Waits until the last channel has failed: an agent that nobody can reach ends, so that its service manager starts it again.
async fn deaf(failures: &Receiver<io::Error>, mut channels: usize) -> io::Result<()> {
    loop {
        let error = failures.recv().await.unwrap_or_else(io::Error::other);
        channels -= 1;
        if channels == 0 {
            // Standard error, where it is said as well, may be nobody's by now.
            tracing::error!("{error}: that was the last channel");
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

    /// The next of them.
    async fn next(&self) -> io::Result<Signal> {
        loop {
            self.0.readable().await?;
            if let Some(info) = self.0.get_ref().read_signal()? {
                return Ok(Signal::try_from(info.ssi_signo.cast_signed())?);
            }
        }
    }
}

/// Returns at a signal to end, whatever is being attended to: a reload may wait for a disk. SIGHUP is passed on.
async fn until_end(
    next: impl AsyncFn() -> io::Result<Signal>,
    hang_up: impl Fn(),
    attend: impl Future<Output = Infallible>,
) -> io::Result<()> {
    let signals = async {
        loop {
            let signal = next().await?;
            if signal != Signal::SIGHUP {
                tracing::info!(number = signal as i32, "received a signal to end");
                return Ok(());
            }
            hang_up();
        }
    };
    let attended = async { match attend.await {} };
    signals.or(attended).await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_end_does_not_wait_for_a_reload_and_no_hangup_is_lost() {
        let sent = [Signal::SIGHUP, Signal::SIGHUP, Signal::SIGHUP, Signal::SIGTERM];
        let (place, begun) = (Cell::new(0), Cell::new(0));
        let next = async || {
            smol::future::yield_now().await;
            Ok(sent[place.replace(place.get() + 1)])
        };
        let reloads = reload::Requests::default();
        let attend = async {
            loop {
                reloads.next().await;
                begun.set(begun.get() + 1);
                if begun.get() == 2 {
                    std::future::pending::<()>().await;
                }
            }
        };
        smol::block_on(until_end(next, || reloads.signal(), attend)).unwrap();
        assert_eq!((place.get(), begun.get()), (4, 2));
    }
}
