//! All extensions of a configuration, in its order: which commands each provides, and the way of each from its file to a sandbox.
//!
//! At the start only descriptions are read. What has none yet is compiled beside the requests, and its commands appear when it is known.
//! Each is loaded by its first call. Both happen once, whoever waits for it and however long that one waits.

mod load;
mod open;
mod provide;
mod scripts;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use event_listener::Event;
use smol::Timer;
use smol::future::{FutureExt, or};
use waga_builtins::{Agent, ExtensionInfo};

use super::call::Grant;
use super::contract;
use super::engine::Engine;
use super::grants;
use super::reach::Commands;
use super::runtime::Runtime;
use super::sandbox::Sandbox;
use super::source::{Fault, Known, Source};
use super::state::Stores;
use super::unit::{Again, Phase, Unit};
use crate::config;
use crate::config::command_name::{is_command, is_protected};
use crate::config::pack::Installed;

/// How long a command is waited for that an extension may turn out to have.
const PATIENCE: Duration = Duration::from_secs(2);

/// An extension that can be called.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) engine: Arc<Engine>,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) known: Arc<Known>,
}

/// What is told of a change.
type Changed = dyn Fn(&Arc<Extensions>) + Send + Sync;

/// The extensions.
pub struct Extensions {
    settings: config::Extensions,
    pub(super) units: Vec<Arc<Unit>>,
    source: Arc<Source>,
    stores: Arc<Stores>,
    runtime: Arc<Runtime>,
    agent: OnceLock<Weak<Agent>>,
    /// What components call other commands through.
    commands: OnceLock<Weak<dyn Commands>>,
    /// Told when what is provided has changed; tells those who wait.
    changed: OnceLock<Box<Changed>>,
    event: Event,
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions").field("units", &self.units).finish_non_exhaustive()
    }
}

impl Extensions {
    /// Waits until something is known of each, whatever that is.
    pub async fn settled(&self) {
        loop {
            let changed = self.event.listen();
            if !self.is_starting() {
                return;
            }
            changed.await;
        }
    }

    /// Finds out here and now what can be: what is refused of the files that each is granted, as when it is loaded, and what is wrong with
    /// scripts. There is no agent; nothing is kept.
    pub fn examine(self: &Arc<Self>) {
        let of_scripts =
            |unit: &&Arc<Unit>| unit.folder().is_some() && matches!(unit.phase(), Phase::Starting);
        for unit in self.units.iter().filter(of_scripts) {
            self.runtime.find_kind();
            let found = smol::block_on(fenced(self.discover(unit)));
            unit.set(found.unwrap_or_else(|fault| phase_of(fault, None)));
        }
        for unit in &self.units {
            let phase = unit.phase();
            if matches!(phase, Phase::Starting | Phase::Known(_) | Phase::Loading(_) | Phase::Loaded(..))
                && let Err(reason) = unit.grant.files.open()
            {
                unit.set(Phase::Refused(reason, phase.known().cloned()));
            }
        }
    }

    /// Begins to find out about those of which nothing is known. `changed` is told whenever that changes what is provided.
    pub fn start(
        self: &Arc<Self>,
        agent: &Arc<Agent>,
        commands: Weak<dyn Commands>,
        changed: impl Fn(&Arc<Self>) + Send + Sync + 'static,
    ) {
        let _ = (self.agent.set(Arc::downgrade(agent)), self.commands.set(commands));
        let _ = self.changed.set(Box::new(changed));
        for unit in self.units.iter().filter(|unit| unit.grant.files.are_granted()) {
            unit.grant.files.serve(agent);
            self.open_files(unit);
        }
        for unit in self.units.iter().filter(|unit| matches!(unit.phase(), Phase::Starting)) {
            self.begin(unit);
        }
    }

    /// Whether nothing is known yet of some.
    pub fn is_starting(&self) -> bool {
        self.units.iter().any(|unit| matches!(unit.phase(), Phase::Starting))
    }

    /// Waits, if a command of this name may be among those of an extension of which nothing is known yet; whether there was such a one.
    pub async fn settle(self: &Arc<Self>, command: &str) -> bool {
        // Nothing is compiled while filesystems are frozen: there is nothing to wait for.
        if self.is_frozen() || !is_command(command) || is_protected(command) {
            return false;
        }
        let is_open = |unit: &Arc<Unit>| unit.config.add.is_none() && matches!(unit.phase(), Phase::Starting);
        let deadline = Instant::now() + PATIENCE;
        let mut waited = false;
        loop {
            let changed = self.event.listen();
            if !waited {
                // One of those of which nothing is known may have it, and be there by now.
                let lost = |unit: &&Arc<Unit>| unit.config.add.is_none() && unit.phase().known().is_none();
                for unit in self.units.iter().filter(lost) {
                    self.again(unit);
                }
            }
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
    ) -> Result<Loaded, String> {
        loop {
            let changed = self.event.listen();
            let phase = unit.phase();
            match &phase {
                Phase::Loaded(known, sandbox) => {
                    let engine = self.runtime.started().ok_or("has no engine")?;
                    return Ok(Loaded { engine, sandbox: sandbox.clone(), known: known.clone() });
                }
                // Nothing is read then.
                _ if self.is_frozen() => return Err("not loaded before filesystems were frozen".into()),
                Phase::Missing(..) | Phase::Failed(..) if self.again(unit) => {}
                Phase::Missing(reason, _) | Phase::Failed(reason, _) | Phase::Refused(reason, _) => {
                    return Err(reason.clone());
                }
                Phase::Known(known) => {
                    if unit.begin_to_load() {
                        self.load(unit, known.clone());
                    }
                }
                Phase::Disabled => return Err(phase.reason().unwrap_or_default().to_owned()),
                Phase::Starting | Phase::Loading(_) => {}
            }
            if !in_time(changed, deadline).await {
                return Err("starting".to_owned());
            }
        }
    }

    /// Adds to a call's grant what is the agent's: the extension's state, above all.
    pub(super) fn lend(&self, unit: &Unit, grant: &mut Grant) {
        let config = &unit.config;
        grant.agent = self.agent.get().cloned().unwrap_or_default();
        let agent = grant.agent.clone();
        grant.state =
            Arc::new(self.stores.session(&config.name, config.code.home(), config.limits.state, agent));
    }

    /// Begins anew with an extension that failed for a reason that may have passed, if it is time for that; whether it did.
    fn again(self: &Arc<Self>, unit: &Arc<Unit>) -> bool {
        match unit.begin_again() {
            Some(Again::Discover) => self.begin(unit),
            Some(Again::Load(known)) => self.load(unit, known),
            None => return false,
        }
        true
    }

    /// Opens what an extension was granted of files, beside the requests, so that what is refused of it is known before its first call.
    fn open_files(self: &Arc<Self>, unit: &Arc<Unit>) {
        let (this, unit) = (self.clone(), unit.clone());
        self.spawn(async move {
            let files = unit.grant.files.clone();
            let refused = smol::unblock(move || files.open()).await;
            // What is not known yet, or being loaded, is looked at when that ends.
            if let (Err(reason), Phase::Known(known)) = (refused, unit.phase()) {
                this.enter(&unit, Phase::Refused(reason, Some(known)));
            }
        });
    }

    /// Finds out about an extension, beside the requests.
    fn begin(self: &Arc<Self>, unit: &Arc<Unit>) {
        let (this, unit) = (self.clone(), unit.clone());
        self.spawn(async move {
            let phase = fenced(this.discover(&unit)).await;
            this.enter(&unit, phase.unwrap_or_else(|fault| phase_of(fault, None)));
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

    /// Puts an extension into another phase, and tells those whom it concerns.
    fn enter(self: &Arc<Self>, unit: &Arc<Unit>, phase: Phase) {
        let extension = &**unit.name();
        if let Some(reason) = phase.reason() {
            tracing::error!(extension, "cannot be called: {reason}");
        } else {
            tracing::debug!(extension, loaded = matches!(phase, Phase::Loaded(..)), "ready");
        }
        if unit.set(phase)
            && let Some(changed) = self.changed.get()
        {
            changed(self);
        }
        self.event.notify(usize::MAX);
    }

    /// Whether filesystems are frozen.
    pub(super) fn is_frozen(&self) -> bool {
        self.agent().is_some_and(|agent| agent.freeze.is_frozen())
    }

    /// What components call other commands through.
    pub(super) fn commands(&self) -> Option<Arc<dyn Commands>> {
        self.commands.get()?.upgrade()
    }

    pub(super) fn agent(&self) -> Option<Arc<Agent>> {
        self.agent.get()?.upgrade()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(agent) = self.agent() {
            agent.spawn(task);
        }
    }
}

/// What an extension of which this is known is: let run, or not.
fn settled(unit: &Unit, known: Arc<Known>) -> Phase {
    *unit.misfits.lock().unwrap_or_else(PoisonError::into_inner) =
        contract::misfits(&unit.config, &known.description);
    if let Some(reason) = grants::too_many(&known.description) {
        // None of them is to be listed.
        return Phase::Refused(reason, None);
    }
    let other = unit.config.code.pack().and_then(|pack| pack.installed.as_ref().ok()).filter(|installed| {
        installed.receipt.component_digest().is_some_and(|digest| digest != known.digest.to_string())
    });
    if let Some(Installed { receipt, .. }) = other {
        let reason = format!(
            "its component is not the one of pack {} {} as it was installed (waga-ext doctor)",
            receipt.name, receipt.version
        );
        return Phase::Refused(reason, None);
    }
    let refusal = grants::refusal(&unit.config, &known.description).or_else(|| unit.grant.files.refusal());
    match refusal.or_else(|| unit.hookless(&known)) {
        Some(reason) => Phase::Refused(reason, Some(known)),
        None => Phase::Known(known),
    }
}

/// What an extension is of which this is the end, for now; `known` is what was known of it before.
fn phase_of(fault: Fault, known: Option<Arc<Known>>) -> Phase {
    match fault {
        Fault::Missing(reason) => Phase::Missing(reason, known),
        Fault::Failed(reason) => Phase::Failed(reason, known),
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
