//! All extensions of a configuration, in its order: which commands each provides, and the way of each from its file to a sandbox.
//!
//! At the start only descriptions are read. What has none yet is compiled beside the requests, and its commands appear when it is known.
//! Each is loaded by its first call. Both happen once, whoever waits for it and however long that one waits.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use event_listener::Event;
use smol::Timer;
use smol::future::{FutureExt, or};
use waga_builtins::{Agent, ExtensionInfo};

use super::engine::{self, Engine, Kind};
use super::handle::Handle;
use super::sandbox::{Sandbox, Unfit};
use super::source::{Fault, Known, Source};
use super::unit::{Phase, Unit, outcome};
use super::{artifact, grants};
use crate::config::command_name::{is_command, is_protected};
use crate::config::{self, Runtime};

/// How often it is tried whether filesystems are still frozen, which keeps extensions from being compiled.
const FROZEN: Duration = Duration::from_secs(1);

/// How long a command is waited for that an extension may turn out to have.
const PATIENCE: Duration = Duration::from_secs(2);

/// The extensions.
pub struct Extensions {
    settings: config::Extensions,
    pub(super) units: Vec<Arc<Unit>>,
    source: Arc<Source>,
    agent: OnceLock<Weak<Agent>>,
    engine: Mutex<Option<Arc<Engine>>>,
    /// What components are run as, once that was tried.
    kind: OnceLock<Kind>,
    /// Told when what is provided has changed; tells those who wait.
    changed: OnceLock<Box<dyn Fn() + Send + Sync>>,
    event: Event,
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions").field("units", &self.units).finish_non_exhaustive()
    }
}

impl Extensions {
    /// Those of a configuration, with what the cache knows of them. No module is read.
    pub fn open(settings: &config::Extensions) -> Arc<Self> {
        let source = Arc::new(Source::new(settings));
        let units: Vec<_> =
            settings.list.iter().map(|extension| Arc::new(Unit::new(extension.clone()))).collect();
        for unit in &units {
            if let Some(known) = source.remembered(unit.name(), &unit.config.module) {
                unit.set(settled(unit, known));
            }
        }
        Arc::new(Self {
            settings: settings.clone(),
            units,
            source,
            agent: OnceLock::new(),
            engine: Mutex::default(),
            kind: OnceLock::new(),
            changed: OnceLock::new(),
            event: Event::new(),
        })
    }

    /// Begins to find out about those of which nothing is known. `changed` is told whenever that changes what is provided.
    pub fn start(self: &Arc<Self>, agent: &Arc<Agent>, changed: impl Fn() + Send + Sync + 'static) {
        let _ = (self.agent.set(Arc::downgrade(agent)), self.changed.set(Box::new(changed)));
        for unit in self.units.iter().filter(|unit| matches!(unit.phase(), Phase::Starting)) {
            self.begin(unit);
        }
    }

    /// What each provides of what nobody else has: `is_taken` by the agent itself, or by one before it. Those that cannot be called now
    /// are among them, where it is known that they would be. A name that stands in `add` may be one that the agent got later: its
    /// operator relies on the extension's, which stays.
    pub fn provided(self: &Arc<Self>, is_taken: impl Fn(&str) -> bool) -> Vec<Handle> {
        let mut handles: Vec<Handle> = Vec::new();
        let mut owners: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        for unit in &self.units {
            let mut outcomes = Vec::new();
            for (name, reason) in unit.offers() {
                let clash = if is_protected(&name) {
                    Some("only the agent may have a command of this name".to_owned())
                } else if is_taken(&name) && unit.config.add.is_none() {
                    Some("the agent has a command of this name".to_owned())
                } else {
                    owners.get(&name).map(|other| format!("extension {other} has a command of this name"))
                };
                let is_mine = clash.is_none();
                let reason = clash.or(reason);
                outcomes.push(outcome(
                    &name,
                    reason.clone().or_else(|| unit.phase().reason().map(str::to_owned)),
                ));
                if is_mine {
                    owners.insert(name.clone(), unit.name().clone());
                    handles.push(Handle::new(self.clone(), unit.clone(), name, reason));
                }
            }
            *unit.provided.lock().unwrap_or_else(PoisonError::into_inner) = outcomes;
        }
        handles
    }

    /// Whether nothing is known yet of some.
    pub fn is_starting(&self) -> bool {
        self.units.iter().any(|unit| matches!(unit.phase(), Phase::Starting))
    }

    /// Waits, if a command of this name may be among those of an extension of which nothing is known yet; whether there was such a one.
    pub async fn settle(&self, command: &str) -> bool {
        // Nothing is compiled while filesystems are frozen: there is nothing to wait for.
        let is_frozen = self.agent().is_some_and(|agent| agent.freeze.is_frozen());
        if is_frozen || !is_command(command) || is_protected(command) {
            return false;
        }
        let is_open = |unit: &Arc<Unit>| unit.config.add.is_none() && matches!(unit.phase(), Phase::Starting);
        let deadline = Instant::now() + PATIENCE;
        let mut waited = false;
        loop {
            let changed = self.event.listen();
            if !self.units.iter().any(is_open) {
                return waited;
            }
            waited = true;
            if !in_time(changed, deadline).await {
                return true;
            }
        }
    }

    /// Each, as `waga-get-extensions` tells it.
    pub fn info(&self) -> Vec<ExtensionInfo> {
        self.units.iter().map(|unit| unit.info()).collect()
    }

    /// The engine and what it can call of an extension, which is loaded if nobody did it before; else why it cannot be called.
    pub(super) async fn sandbox(
        self: &Arc<Self>,
        unit: &Arc<Unit>,
        deadline: Instant,
    ) -> Result<(Arc<Engine>, Arc<Sandbox>), String> {
        loop {
            let changed = self.event.listen();
            let phase = unit.phase();
            match &phase {
                Phase::Loaded(_, sandbox) => {
                    let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    return Ok((engine.ok_or("has no engine")?, sandbox.clone()));
                }
                Phase::Missing(reason, _) | Phase::Refused(reason, _) => return Err(reason.clone()),
                Phase::Known(known) => {
                    if unit.begin_to_load() {
                        self.load(unit, known.clone());
                    }
                }
                Phase::Starting | Phase::Loading(_) => {}
            }
            if !in_time(changed, deadline).await {
                return Err("starting".to_owned());
            }
        }
    }

    /// Finds out about an extension, beside the requests.
    fn begin(self: &Arc<Self>, unit: &Arc<Unit>) {
        let (this, unit) = (self.clone(), unit.clone());
        self.spawn(async move {
            let known = fenced(this.discover(&unit)).await;
            this.enter(
                &unit,
                known.map_or_else(|fault| phase_of(fault, None), |known| settled(&unit, known)),
            );
        });
    }

    /// Loads an extension that is known, beside the requests. If its module is another one by now, it is found out about anew first.
    fn load(self: &Arc<Self>, unit: &Arc<Unit>, known: Arc<Known>) {
        let (this, unit) = (self.clone(), unit.clone());
        self.spawn(async move {
            let loaded = fenced(this.loaded(&unit, known.clone())).await;
            // What it provides stays known: its commands answer that they cannot be called.
            let phase = loaded.unwrap_or_else(|fault| phase_of(fault, Some(known)));
            this.enter(&unit, phase);
        });
    }

    async fn loaded(self: &Arc<Self>, unit: &Arc<Unit>, mut known: Arc<Known>) -> Result<Phase, Fault> {
        let engine = self.engine().await?;
        // What is in the cache may have been compiled for what turns out not to run here, or be damaged, or have been changed meanwhile:
        // each is mended by finding out anew, once.
        for last in [false, true] {
            let (this, what, again) = (self.clone(), unit.clone(), known.clone());
            let with = engine.clone();
            let sandbox = smol::unblock(move || {
                if again.kind != with.kind() {
                    return Ok(None);
                }
                let Some(file) = this.source.artifact(&what.config.module, &again)? else { return Ok(None) };
                let component = match artifact::load(with.wasmtime(), &file) {
                    Ok(component) => component,
                    Err(error) => {
                        tracing::warn!(extension = &**what.name(), %error, "not loaded: compiled anew");
                        return Ok(None);
                    }
                };
                match Sandbox::new(&component, &again.description) {
                    Ok(sandbox) => Ok(Some(sandbox)),
                    Err(unfit @ Unfit::Description) if !last => {
                        tracing::warn!(extension = &**what.name(), "{unfit}: compiled anew");
                        Ok(None)
                    }
                    Err(unfit) => Err(Fault::Refused(unfit.to_string())),
                }
            });
            if let Some(sandbox) = sandbox.await? {
                return Ok(Phase::Loaded(known, Arc::new(sandbox)));
            }
            if last {
                break;
            }
            match settled(unit, self.rediscover(unit, &known).await?) {
                Phase::Known(again) => known = again,
                other => return Ok(other),
            }
        }
        Err(Fault::Refused("what was compiled of it cannot be loaded; the agent's log says why".into()))
    }

    /// What an extension is, from the cache or by compiling it.
    async fn discover(self: &Arc<Self>, unit: &Arc<Unit>) -> Result<Known, Fault> {
        self.thawed().await;
        let kind = self.kind().await?;
        self.source.known(self.agent(), unit.name(), &unit.config.module, kind, None).await
    }

    /// As [`Self::discover`], but what the cache holds of it did not do.
    async fn rediscover(self: &Arc<Self>, unit: &Arc<Unit>, known: &Arc<Known>) -> Result<Known, Fault> {
        self.thawed().await;
        let kind = self.kind().await?;
        // Of another kind it was not looked for yet.
        let distrusted = (known.kind == kind).then_some(known.digest);
        self.source.known(self.agent(), unit.name(), &unit.config.module, kind, distrusted).await
    }

    /// Puts an extension into another phase, and tells those whom it concerns.
    fn enter(&self, unit: &Arc<Unit>, phase: Phase) {
        let extension = &**unit.name();
        if let Some(reason) = phase.reason() {
            tracing::error!(extension, "cannot be called: {reason}");
        } else {
            tracing::debug!(extension, loaded = matches!(phase, Phase::Loaded(..)), "ready");
        }
        if unit.set(phase)
            && let Some(changed) = self.changed.get()
        {
            changed();
        }
        self.event.notify(usize::MAX);
    }

    /// The engine, started when the first extension is loaded.
    async fn engine(self: &Arc<Self>) -> Result<Arc<Engine>, Fault> {
        let kind = self.kind().await?;
        let this = self.clone();
        let start = move || {
            let mut engine = this.engine.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(engine) = &*engine {
                return Ok(engine.clone());
            }
            let failed =
                |error: &dyn fmt::Display| Fault::Refused(format!("the engine did not start: {error}"));
            let config = engine::config(kind, this.settings.stack).map_err(|error| failed(&error))?;
            let wasmtime = wasmtime::Engine::new(&config).map_err(|error| failed(&error))?;
            let started = Arc::new(Engine::start(wasmtime, kind).map_err(|error| failed(&error))?);
            *engine = Some(started.clone());
            Ok(started)
        };
        smol::unblock(start).await
    }

    /// What components are run as: what the operator says, or what a try comes to.
    async fn kind(self: &Arc<Self>) -> Result<Kind, Fault> {
        match (self.settings.runtime, self.kind.get()) {
            (Runtime::Native, _) => return Ok(Kind::Native),
            (Runtime::Pulley, _) => return Ok(Kind::Pulley),
            (Runtime::Auto, Some(kind)) => return Ok(*kind),
            (Runtime::Auto, None) => {}
        }
        let writer = loop {
            self.thawed().await;
            let agent = self.agent().ok_or_else(|| Fault::Refused("the agent ends".into()))?;
            // What is tried is a file in the cache's folder.
            if let Ok(writer) = agent.freeze.writer() {
                break writer;
            }
        };
        let this = self.clone();
        let find = move || {
            let found = *this.kind.get_or_init(|| match this.source.try_page() {
                Ok(()) => Kind::Native,
                Err(error) => {
                    tracing::warn!(%error, "no machine code can be run here: components are interpreted");
                    Kind::Pulley
                }
            });
            drop(writer);
            found
        };
        Ok(smol::unblock(find).await)
    }

    /// Waits until nothing is frozen: then the cache may be written to.
    async fn thawed(&self) {
        while self.agent().is_some_and(|agent| agent.freeze.is_frozen()) {
            Timer::after(FROZEN).await;
        }
    }

    fn agent(&self) -> Option<Arc<Agent>> {
        self.agent.get()?.upgrade()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(agent) = self.agent() {
            agent.spawn(task);
        }
    }
}

/// What an extension of which this is known is: let run, or not.
fn settled(unit: &Unit, known: Known) -> Phase {
    let known = Arc::new(known);
    if let Some(reason) = grants::too_many(&known.description) {
        // None of them is to be listed.
        return Phase::Refused(reason, None);
    }
    match grants::refusal(&unit.config, &known.description) {
        Some(reason) => Phase::Refused(reason, Some(known)),
        None => Phase::Known(known),
    }
}

/// What an extension is of which this is the end, for now; `known` is what was known of it before.
fn phase_of(fault: Fault, known: Option<Arc<Known>>) -> Phase {
    match fault {
        Fault::Missing(reason) => Phase::Missing(reason, known),
        Fault::Refused(reason) => Phase::Refused(reason, known),
    }
}

/// A fault of the agent must not leave an extension for ever between two phases, with all who wait for it.
async fn fenced<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let ended = AssertUnwindSafe(work).catch_unwind().await;
    ended.unwrap_or_else(|_| {
        Err(Fault::Refused("not loaded, by a fault of the agent; its log says more".into()))
    })
}

/// Whether it happens before the deadline.
async fn in_time(event: impl Future<Output = ()>, deadline: Instant) -> bool {
    let happened = async {
        event.await;
        true
    };
    let late = async {
        Timer::at(deadline).await;
        false
    };
    or(happened, late).await
}
