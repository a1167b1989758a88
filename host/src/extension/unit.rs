//! One extension as it is now: what is known of it, whether it can be called, and if not, why.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::lock::Semaphore;
use waga_builtins::{
    CommandSchema, ExtensionCommand, ExtensionInfo, ExtensionLimits, ExtensionMode, ExtensionPack,
    ExtensionState, exec,
};

use super::call::Grant;
use super::description::Kind;
use super::files::Files;
use super::grants;
use super::health::Health;
use super::reflect::FREEZE_HOOKS;
use super::sandbox::Sandbox;
use super::schema;
use super::scripts::{self, Scripts};
use super::source::Known;
use crate::config::pack::Pack;
use crate::config::{CallLimits, Extension, OwnPlace};

/// How soon something is tried again that failed for a reason that may pass; each time in a row twice as long.
const FIRST: Duration = Duration::from_secs(10);
/// How long at most.
const LONGEST: Duration = Duration::from_secs(600);

/// One extension.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) config: Extension,
    pub(super) grant: Grant,
    /// That of commands that it lays over others: their clients wait less long.
    pub(super) grant_over: Grant,
    pub(super) permits: Arc<Semaphore>,
    pub(super) health: Arc<Health>,
    phase: Mutex<Phase>,
    retry: Mutex<Retry>,
    /// Which of its functions cannot be laid over what they are to be laid over, and why, once it is known.
    pub(super) misfits: Mutex<HashMap<String, String>>,
    /// What was known of its scripts by the configuration before.
    pub(super) scripts_before: Option<Arc<Scripts>>,
    /// What it provides, by name, once that is settled with the others.
    pub(super) provided: Mutex<Vec<ExtensionCommand>>,
}

/// What an extension is.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Nothing is known of it yet.
    Starting,
    /// It is known, and not loaded yet.
    Known(Arc<Known>),
    /// It is being loaded.
    Loading(Arc<Known>),
    /// It can be called.
    Loaded(Arc<Known>, Arc<Sandbox>),
    /// Its file is not there, or something it needs is not.
    Missing(String, Option<Arc<Known>>),
    /// The system is at fault, for now.
    Failed(String, Option<Arc<Known>>),
    /// It is not let run, whatever may be known of it.
    Refused(String, Option<Arc<Known>>),
    /// Its operator switched it off.
    Disabled,
}

/// Where an extension that failed begins anew.
#[derive(Debug)]
pub(super) enum Again {
    /// Nothing was known of it.
    Discover,
    /// This is known of it.
    Load(Arc<Known>),
}

impl Phase {
    pub(super) fn known(&self) -> Option<&Arc<Known>> {
        match self {
            Self::Known(known) | Self::Loading(known) | Self::Loaded(known, _) => Some(known),
            Self::Refused(_, known) | Self::Missing(_, known) | Self::Failed(_, known) => known.as_ref(),
            Self::Starting | Self::Disabled => None,
        }
    }

    /// Why it cannot be called now.
    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Starting => Some("starting"),
            Self::Missing(reason, _) | Self::Failed(reason, _) | Self::Refused(reason, _) => Some(reason),
            Self::Disabled => Some("switched off (enabled = false)"),
            Self::Known(_) | Self::Loading(_) | Self::Loaded(..) => None,
        }
    }
}

/// When something that may have passed is tried again, if it is asked for.
#[derive(Debug, Default)]
struct Retry {
    pause: Duration,
    at: Option<Instant>,
}

impl Unit {
    pub(super) fn new(config: Extension, own: &Arc<[OwnPlace]>) -> Self {
        let grant = Grant {
            name: config.name.clone(),
            config: config.config.as_str().into(),
            limits: Arc::new(config.limits.clone()),
            env: config.env.as_slice().into(),
            files: Arc::new(Files::new(&config.read, &config.write, config.limits.concurrency, own)),
            exec: Arc::new(exec::Rules(config.exec.iter().map(|granted| granted.rule.clone()).collect())),
            while_frozen: config.while_frozen,
            ..Grant::default()
        };
        let over = CallLimits { time: config.limits.time_over, ..config.limits.clone() };
        let grant_over = Grant { limits: Arc::new(over), ..grant.clone() };
        let phase = match config.code.pack().map(|pack| &pack.installed) {
            _ if !config.enabled => Phase::Disabled,
            Some(Err(reason)) => Phase::Refused(reason.clone(), None),
            _ => Phase::Starting,
        };
        Self {
            permits: Arc::new(Semaphore::new(config.limits.concurrency)),
            grant,
            grant_over,
            config,
            health: Arc::default(),
            phase: Mutex::new(phase),
            retry: Mutex::default(),
            misfits: Mutex::default(),
            scripts_before: None,
            provided: Mutex::default(),
        }
    }

    /// The same extension by a later configuration: how it fared goes on, and so do its turns if there are as many.
    pub(super) fn after(mut self, before: &Self) -> Self {
        self.health = before.health.clone();
        let known = before.phase().known().and_then(|known| known.scripts.clone());
        self.scripts_before = known.or_else(|| before.scripts_before.clone());
        if self.config.limits.concurrency == before.config.limits.concurrency {
            self.permits = before.permits.clone();
        }
        self
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Where its component is: that of its scripts is one for all.
    pub(super) fn module(&self) -> PathBuf {
        match self.folder() {
            None => self.config.code.path().to_owned(),
            Some(_) => scripts::engine(),
        }
    }

    /// The folder of its scripts.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.config.code.scripts()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase_mut().clone()
    }

    /// Puts it into another phase; tells whether that changes what it provides.
    pub(super) fn set(&self, phase: Phase) -> bool {
        let mut current = self.phase_mut();
        let mut retry = self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        match phase {
            Phase::Missing(..) | Phase::Failed(..) => {
                retry.pause = (retry.pause * 2).clamp(FIRST, LONGEST);
                retry.at = Some(Instant::now() + retry.pause);
            }
            // Known is not yet able to be called.
            Phase::Loaded(..) => *retry = Retry::default(),
            Phase::Starting | Phase::Known(_) | Phase::Loading(_) | Phase::Refused(..) | Phase::Disabled => {}
        }
        drop(retry);
        let provides = |phase: &Phase| (phase.reason().map(str::to_owned), phase.known().map(Arc::as_ptr));
        let changes = provides(&current) != provides(&phase);
        *current = phase;
        changes
    }

    /// Known becomes loading: whether it was this call that brought that about.
    pub(super) fn begin_to_load(&self) -> bool {
        let mut phase = self.phase_mut();
        let Phase::Known(known) = &*phase else { return false };
        *phase = Phase::Loading(known.clone());
        true
    }

    /// What failed for a reason that may have passed begins anew, if it is time for that: with what is known of it, or from its file. The
    /// one that brings that about is told so.
    pub(super) fn begin_again(&self) -> Option<Again> {
        let mut phase = self.phase_mut();
        let (Phase::Missing(_, known) | Phase::Failed(_, known)) = &*phase else { return None };
        let at = self.retry.lock().unwrap_or_else(PoisonError::into_inner).at;
        if at.is_none_or(|at| Instant::now() < at) {
            return None;
        }
        let (again, next) = match known.clone() {
            Some(known) => (Again::Load(known.clone()), Phase::Loading(known)),
            None => (Again::Discover, Phase::Starting),
        };
        *phase = next;
        Some(again)
    }

    fn phase_mut(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its operator lets it run, and its pack is there.
    pub(super) fn may_run(&self) -> bool {
        self.config.enabled && self.config.code.pack().is_none_or(|pack| pack.installed.is_ok())
    }

    /// What it would add, were it alone: the names, and why not, of those that it has or was to have. Those that it lays over others are
    /// not among them.
    pub(super) fn additions(&self) -> Vec<(Arc<str>, Option<String>)> {
        if let Some(names) = &self.config.add {
            return names.iter().map(|(name, _)| (name.clone(), self.lack(name))).collect();
        }
        let phase = self.phase();
        let known = phase.known().map(|known| &known.description.commands[..]).unwrap_or_default();
        let laid = |name: &str| {
            self.config.overrides.iter().chain(&self.config.wraps).any(|(other, _)| **other == *name)
        };
        let added = known.iter().filter(|command| !laid(&command.name));
        added.map(|command| (command.name.as_str().into(), self.lack(&command.name))).collect()
    }

    /// Why its component cannot provide a command, as far as that is known.
    pub(super) fn lack(&self, name: &str) -> Option<String> {
        let phase = self.phase();
        let known = phase.known()?;
        let Some(command) = known.description.commands.iter().find(|command| command.name == name) else {
            return Some(self.none(known));
        };
        match &command.kind {
            Kind::Refused(reason) => Some(reason.clone()),
            Kind::Typed(_) | Kind::Handler => {
                self.misfits.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
            }
        }
    }

    /// Why it has not a command that it is said to have.
    fn none(&self, known: &Known) -> String {
        let Some(folder) = self.folder() else { return "its component has no such command".to_owned() };
        let faults = known.scripts.as_ref().map(|scripts| scripts.faults()).unwrap_or_default();
        let faults = if faults.is_empty() { String::new() } else { format!(" ({})", faults.join("; ")) };
        format!("no script in {} defines it{faults}", folder.display())
    }

    /// Why it is not let run that is to be told of freezing and thawing: a backup would rely on what nobody does.
    pub(super) fn hookless(&self, known: &Known) -> Option<String> {
        let has = match &known.scripts {
            Some(scripts) => scripts.hooked().next().is_some(),
            None => known.description.freeze_hooks,
        };
        (self.config.freeze_hooks && !has).then(|| {
            let none = match self.folder() {
                Some(folder) => format!("no script in {} exports freeze or thaw", folder.display()),
                None => format!("its component exports no {FREEZE_HOOKS}"),
            };
            format!("{none}; take out of {}: freeze-hooks = true", self.config.origin)
        })
    }

    /// The names of a command's arguments, where they are known.
    pub(super) fn arguments(&self, command: &str) -> Vec<Arc<str>> {
        let phase = self.phase();
        let commands = phase.known().map(|known| &known.description.commands[..]).unwrap_or_default();
        match commands.iter().find(|it| it.name == command).map(|it| &it.kind) {
            Some(Kind::Typed(signature)) => {
                signature.params.iter().map(|(name, _)| name.as_str().into()).collect()
            }
            _ => {
                let rule = phase.known().and_then(|known| known.scripts.as_ref()?.rule(command));
                rule.map(|rule| rule.names().map(Into::into).collect()).unwrap_or_default()
            }
        }
    }

    /// What a command takes and gives, as far as that is known.
    pub(super) fn schema(&self, command: &str) -> CommandSchema {
        let phase = self.phase();
        let commands = phase.known().map(|known| &known.description.commands[..]).unwrap_or_default();
        match commands.iter().find(|it| it.name == command) {
            Some(known) => schema::of(known, self.name()),
            None => {
                let why = phase.reason().unwrap_or("its component has no such command");
                schema::any(command, self.name(), Some(format!("nothing is known of it: {why}")))
            }
        }
    }

    /// As `waga-get-extensions` tells it.
    pub(super) fn info(&self) -> ExtensionInfo {
        let phase = self.phase();
        let totals = self.health.totals();
        let known = phase.known();
        let mut commands = self.provided.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for command in &mut commands {
            command.paused_ms = self.health.pause(&command.name).map(|pause| milliseconds(pause.left));
        }
        ExtensionInfo {
            name: self.name().clone(),
            state: match phase {
                Phase::Starting | Phase::Loading(_) => ExtensionState::Starting,
                Phase::Known(_) | Phase::Loaded(..) => ExtensionState::Ready,
                Phase::Missing(..) => ExtensionState::Missing,
                Phase::Failed(..) => ExtensionState::Failed,
                Phase::Refused(..) => ExtensionState::Refused,
                Phase::Disabled => ExtensionState::Disabled,
            },
            reason: phase.reason().filter(|_| !matches!(phase, Phase::Starting)).map(str::to_owned),
            source: self.config.code.path().display().to_string(),
            digest: known.map(|known| known.digest.to_string()),
            pack: self.config.code.pack().map(pack),
            runtime: match &phase {
                Phase::Loaded(known, _) => Some(known.kind.as_str()),
                _ => None,
            },
            commands,
            grants: match (phase.reason(), known) {
                (None, Some(known)) => {
                    let files = self.grant.files.told();
                    let has = |import: &&String| grants::has(&self.config, import);
                    let imports = known.description.imports.iter().filter(has).cloned();
                    imports.chain(files).chain(grants::told(&self.config)).collect()
                }
                _ => Vec::new(),
            },
            faults: known
                .and_then(|known| Some(known.scripts.as_ref()?.faults().to_vec()))
                .unwrap_or_default(),
            freeze_hooks: known
                .filter(|known| known.description.freeze_hooks)
                .map(|_| self.config.freeze_hooks),
            while_frozen: self.config.while_frozen,
            on_failure: self.config.on_failure.as_str(),
            limits: limits(&self.config.limits),
            calls: totals.calls,
            failures: totals.failures,
            running: totals.running,
            last_error: totals.last_error,
            last_error_seconds: totals.last_error_at.map(seconds),
            last_call_seconds: totals.last_call_at.map(seconds),
            cpu_us: microseconds(totals.cpu),
            wall_us: microseconds(totals.wall),
            max_wall_us: microseconds(totals.longest),
        }
    }
}

/// One command of an extension, as it came out.
pub(super) fn outcome(name: &Arc<str>, mode: ExtensionMode, reason: Option<String>) -> ExtensionCommand {
    ExtensionCommand { name: name.clone(), mode, enabled: reason.is_none(), reason, paused_ms: None }
}

/// Where a pack is from, as far as that is known.
fn pack(pack: &Pack) -> ExtensionPack {
    let receipt = pack.installed.as_ref().ok().map(|installed| &installed.receipt);
    let signer = receipt.and_then(|receipt| receipt.signer.as_ref());
    ExtensionPack {
        name: pack.name.clone(),
        version: pack.version.clone(),
        publisher: receipt.map(|receipt| receipt.publisher.clone()),
        digest: receipt.map(|receipt| receipt.digest.clone()),
        signer: signer.map(|signer| signer.name.clone()),
        key: signer.map(|signer| signer.key.to_string()),
    }
}

fn limits(limits: &CallLimits) -> ExtensionLimits {
    ExtensionLimits {
        cpu_ms: milliseconds(limits.cpu),
        time_ms: milliseconds(limits.time),
        memory: limits.memory,
        message: limits.message,
        host_calls: limits.host_calls,
        concurrency: limits.concurrency as u64,
        log: limits.log,
        state: limits.state,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn seconds(time: std::time::SystemTime) -> i64 {
    let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
