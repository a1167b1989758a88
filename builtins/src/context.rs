//! What a command can reach: the agent's state, who called, and the threads for work that can block. Nothing else; no statics.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;
use smol::future::or;
use smol::lock::{Semaphore, SemaphoreGuardArc};
use smol::{Executor, Timer};

use crate::command::BoxFuture;
use crate::error::{Error, Result};
use crate::extensions::ExtensionInfo;
use crate::fsfreeze::{Freeze, FreezeHook, FreezeSettings};
use crate::introspection::{CommandSchema, ServerStats};
use crate::limits::Limits;
use crate::reload::Reloaded;
use crate::{exec, file, ssh, storage};

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A client of the channel of this name; all clients of all channels share handles and exec records, as with qemu-ga, but where
    /// a channel has [`Limits::owner`].
    Channel(Arc<str>),
    /// An extension, and who called that.
    Extension(Arc<str>, Arc<Caller>),
}

impl Caller {
    /// How many extensions the chain has.
    pub fn depth(&self) -> usize {
        match self {
            Self::Channel(_) => 0,
            Self::Extension(_, asked_by) => 1 + asked_by.depth(),
        }
    }

    /// The channel that the first request of the chain came over.
    pub fn channel(&self) -> &Arc<str> {
        match self {
            Self::Channel(name) => name,
            Self::Extension(_, asked_by) => asked_by.channel(),
        }
    }
}

/// Whom open files and exec records belong to, where not to all the channels together. A kind of its own for each, so that no channel
/// can bear a name that makes it an extension.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Those who may do less than others and share [`Limits::owner`].
    Limited(Arc<str>),
    /// The extension of this name, whoever called it.
    Extension(Arc<str>),
}

/// One entry of `guest-info`: exactly these three members, which clients compare as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommandInfo {
    /// Whether it is on now.
    pub enabled: bool,
    /// Its name.
    pub name: Arc<str>,
    /// Whether its success is answered.
    pub success_response: bool,
}

/// What the agent can do now; the registry's answer to `guest-info`.
pub trait Catalogue: Send + Sync {
    /// Every command, in the order of `guest-info`, as seen by this caller while filesystems are frozen or not.
    fn commands(&self, caller: &Caller, frozen: bool) -> Vec<CommandInfo>;

    /// Every extension, in the order of the configuration.
    fn extensions(&self) -> Vec<ExtensionInfo> {
        Vec::new()
    }

    /// What a command takes and gives, or what all do; nothing of one that there is not.
    fn schemas(&self, _command: Option<&str>) -> Vec<CommandSchema> {
        Vec::new()
    }

    /// What was counted where requests are served.
    fn stats(&self) -> ServerStats {
        ServerStats::default()
    }

    /// The extensions that are told of a freeze, in order, as ready as they will be: none is loaded later.
    fn freeze_hooks(&self) -> BoxFuture<'_, Vec<Box<dyn FreezeHook>>> {
        Box::pin(async { Vec::new() })
    }

    /// Reads the configuration anew; what came of it.
    ///
    /// # Errors
    /// `GenericError` with the reason for which everything stays as it was.
    fn reload(&self) -> BoxFuture<'_, Result<Reloaded>> {
        Box::pin(async { Err(Error::generic("there is no configuration to be read anew")) })
    }
}

/// What the commands are told of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where state is kept between runs.
    pub state_dir: PathBuf,
    /// How filesystems are frozen.
    pub freeze: FreezeSettings,
}

impl Settings {
    /// State in this folder; all else as by default.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), freeze: FreezeSettings::default() }
    }
}

/// The kinds of work that can block. Each has a bound of its own, so that what hangs in one starves no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Reading the kernel's and the system's own files (`/proc`, `/sys`, `/etc`).
    Inspect,
    /// What the host asks to open, read and write.
    Files,
    /// Starting programs.
    Spawn,
    /// Asking for users, which may ask the network.
    Names,
    /// Reading very large arguments.
    Arguments,
    /// Asking mounted filesystems about themselves, which hangs when the device does.
    Mounts,
    /// Letting filesystems give back what they do not use, which takes minutes.
    Trim,
    /// Changing the system's own state: clock, processors.
    Change,
    /// Switching memory, which may take the kernel for ever.
    Memory,
    /// Ending the system, or putting it to sleep.
    Power,
}

/// How many threads each kind of work may hold at once. They come when needed; that many only when that much hangs.
const BOUNDS: [(Work, usize); 10] = [
    (Work::Inspect, 16),
    (Work::Files, 64),
    (Work::Spawn, 32),
    (Work::Names, 8),
    (Work::Arguments, 4),
    (Work::Mounts, 16),
    (Work::Trim, 4),
    (Work::Change, 4),
    (Work::Memory, 2),
    (Work::Power, 4),
];

/// How long a request waits for what other requests hold, a thread or an open file, before it is refused.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The agent's state that outlives a request.
pub struct Agent {
    /// The open files of `guest-file-*`.
    pub files: file::Files,
    /// The children of `guest-exec`.
    pub execs: exec::Execs,
    /// Questions to mounted filesystems that are still unanswered.
    pub probes: storage::Probes,
    /// Whose ssh keys are being changed.
    pub(crate) turns: ssh::Turns,
    /// The devices that are being trimmed.
    pub trims: storage::Trims,
    /// The frozen state.
    pub freeze: Freeze,
    catalogue: Box<dyn Catalogue>,
    executor: Weak<Executor<'static>>,
    bounds: [Arc<Semaphore>; BOUNDS.len()],
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}

impl Agent {
    /// The state of a freshly started agent. `executor` is the daemon's, which drives what outlives a request until it is dropped.
    pub fn new(
        settings: &Settings,
        catalogue: Box<dyn Catalogue>,
        executor: &Arc<Executor<'static>>,
    ) -> Self {
        Self {
            files: file::Files::new(&settings.state_dir),
            execs: exec::Execs::new(),
            probes: storage::Probes::default(),
            turns: ssh::Turns::default(),
            trims: storage::Trims::default(),
            freeze: Freeze::new(&settings.state_dir, settings.freeze.clone()),
            catalogue,
            executor: Arc::downgrade(executor),
            bounds: BOUNDS.map(|(_, bound)| Arc::new(Semaphore::new(bound))),
        }
    }

    /// The extensions that are told of a freeze, in order.
    pub(crate) async fn freeze_hooks(&self) -> Vec<Box<dyn FreezeHook>> {
        self.catalogue.freeze_hooks().await
    }

    /// Ends it in order: what the next start should know is written, unless a filesystem would make that wait.
    pub fn close(&self) {
        if !self.freeze.is_frozen() {
            self.files.close();
        }
    }

    /// Runs something beside the requests; dropped, it ends. `None` when the agent ends.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<smol::Task<T>> {
        Some(self.executor.upgrade()?.spawn(work))
    }

    /// Runs a task beside the requests until it or the agent ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(executor) = self.executor.upgrade() {
            executor.spawn(task).detach();
        }
    }
}

/// One request's view of the agent.
#[derive(Debug, Clone)]
pub struct Context {
    /// The agent's state.
    pub agent: Arc<Agent>,
    /// Who sent the request.
    pub caller: Caller,
    /// What the caller may do within the command.
    pub limits: Arc<Limits>,
}

impl Context {
    /// Whom the handles and records of this request belong to; `None`: to all the channels, as with qemu-ga.
    pub fn owner(&self) -> Option<Owner> {
        match &self.caller {
            Caller::Extension(name, _) => Some(Owner::Extension(name.clone())),
            Caller::Channel(_) => self.limits.owner.clone().map(Owner::Limited),
        }
    }

    /// What the agent can do now, as `guest-info` lists it.
    pub fn commands(&self) -> Vec<CommandInfo> {
        self.agent.catalogue.commands(&self.caller, self.agent.freeze.is_frozen())
    }

    /// Every extension, as `waga-get-extensions` tells it.
    pub fn extensions(&self) -> Vec<ExtensionInfo> {
        self.agent.catalogue.extensions()
    }

    /// What a command takes and gives, or what all do.
    pub(crate) fn schemas(&self, command: Option<&str>) -> Vec<CommandSchema> {
        self.agent.catalogue.schemas(command)
    }

    /// What was counted where requests are served.
    pub(crate) fn server_stats(&self) -> ServerStats {
        self.agent.catalogue.stats()
    }

    /// Reads the configuration anew.
    pub(crate) async fn reload(&self) -> Result<Reloaded> {
        self.agent.catalogue.reload().await
    }

    /// Runs work that can block on a thread for such work, at most so many of its kind at once.
    ///
    /// Dropped while it waits for a thread, nothing happens; later, the work goes on to its end and its result is lost.
    ///
    /// # Errors
    /// `GenericError` when all threads of the kind hang for [`PATIENCE`].
    pub async fn blocking<T: Send + 'static>(
        &self,
        kind: Work,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let bound = self.bound(kind);
        let permit = match bound.try_acquire_arc() {
            Some(permit) => Some(permit),
            None => in_time(bound.acquire_arc()).await,
        };
        Self::run(permit, work).await
    }

    /// As [`Self::blocking`], for work that may write to a filesystem: no freeze begins before it has ended, even if nobody waits for it
    /// any more.
    ///
    /// # Errors
    /// As [`Self::blocking`]; and when filesystems have been frozen since the command began.
    pub async fn writing<T: Send + 'static>(
        &self,
        kind: Work,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let writer = self.agent.freeze.writer()?;
        let work = move || {
            let result = work();
            drop(writer);
            result
        };
        self.blocking(kind, work).await
    }

    /// As [`Self::blocking`], but gives up when all threads of the kind are taken: for work that is known to hang.
    ///
    /// # Errors
    /// `GenericError` when there is no thread to be had.
    pub async fn try_blocking<T: Send + 'static>(
        &self,
        kind: Work,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        Self::run(self.bound(kind).try_acquire_arc(), work).await
    }

    /// As [`Self::blocking`], but waits for a thread as long as it takes: for work that is known to take long, under a limit of the
    /// caller's.
    ///
    /// # Errors
    /// None of its own.
    pub async fn blocking_in_turn<T: Send + 'static>(
        &self,
        kind: Work,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let permit = self.bound(kind).acquire_arc().await;
        Self::run(Some(permit), work).await
    }

    fn bound(&self, kind: Work) -> &Arc<Semaphore> {
        let place = BOUNDS.iter().position(|(work, _)| *work == kind).unwrap_or_default();
        &self.agent.bounds[place]
    }

    async fn run<T: Send + 'static>(
        permit: Option<SemaphoreGuardArc>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let permit = permit.ok_or_else(|| Error::generic("too many operations of this kind hang already"))?;
        Ok(blocking::unblock(move || {
            let result = work();
            drop(permit);
            result
        })
        .await)
    }
}

/// Waits for something that another request holds, but not for ever.
pub(crate) async fn in_time<T>(wait: impl Future<Output = T>) -> Option<T> {
    let limit = async {
        Timer::after(PATIENCE).await;
        None
    };
    or(async { Some(wait.await) }, limit).await
}

/// An agent for tests, and the executor that runs what it starts.
#[cfg(test)]
pub(crate) fn test_agent() -> (Arc<Agent>, Arc<Executor<'static>>) {
    test_agent_of(&Settings::new("/nonexistent"))
}

/// As [`test_agent`], with these settings.
#[cfg(test)]
pub(crate) fn test_agent_of(settings: &Settings) -> (Arc<Agent>, Arc<Executor<'static>>) {
    struct Nothing;
    impl Catalogue for Nothing {
        fn commands(&self, _: &Caller, _: bool) -> Vec<CommandInfo> {
            Vec::new()
        }
    }
    let executor = Arc::new(Executor::new());
    (Arc::new(Agent::new(settings, Box::new(Nothing), &executor)), executor)
}
