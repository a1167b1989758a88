//! What components run as, which is found out when that is first needed, and the engine, which is started by the first that is loaded.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use smol::Timer;
use waga_builtins::Agent;

use super::engine::{self, Engine, Kind};
use super::source::{Fault, Source};
use crate::config;

/// How often it is tried whether filesystems are still frozen, which keeps extensions from being compiled.
const FROZEN: Duration = Duration::from_secs(1);

/// The engine that is, or may come to be.
#[derive(Debug)]
pub(super) struct Runtime {
    choice: config::Runtime,
    /// Bytes of stack that a component may use.
    stack: usize,
    source: Arc<Source>,
    /// What components are run as, once that was tried.
    kind: OnceLock<Kind>,
    engine: Mutex<Option<Arc<Engine>>>,
}

impl Runtime {
    /// None yet.
    pub(super) fn new(settings: &config::Extensions, source: Arc<Source>) -> Self {
        Self {
            choice: settings.runtime,
            stack: settings.stack,
            source,
            kind: OnceLock::new(),
            engine: Mutex::default(),
        }
    }

    /// The engine, if it runs.
    pub(super) fn started(&self) -> Option<Arc<Engine>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The engine, started if it does not run yet.
    pub(super) async fn engine(
        self: &Arc<Self>,
        agent: impl Fn() -> Option<Arc<Agent>>,
    ) -> Result<Arc<Engine>, Fault> {
        let kind = self.kind(agent).await?;
        let this = self.clone();
        let start = move || {
            let mut engine = this.engine.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(engine) = &*engine {
                return Ok(engine.clone());
            }
            let failed =
                |error: &dyn fmt::Display| Fault::Failed(format!("the engine did not start: {error}"));
            let config = engine::config(kind, this.stack).map_err(|error| failed(&error))?;
            let wasmtime = wasmtime::Engine::new(&config).map_err(|error| failed(&error))?;
            let started = Arc::new(Engine::start(wasmtime, kind).map_err(|error| failed(&error))?);
            *engine = Some(started.clone());
            Ok(started)
        };
        smol::unblock(start).await
    }

    /// What components are run as: what the operator says, or what a try comes to.
    pub(super) async fn kind(
        self: &Arc<Self>,
        agent: impl Fn() -> Option<Arc<Agent>>,
    ) -> Result<Kind, Fault> {
        match (self.choice, self.kind.get()) {
            (config::Runtime::Native, _) => return Ok(Kind::Native),
            (config::Runtime::Pulley, _) => return Ok(Kind::Pulley),
            (config::Runtime::Auto, Some(kind)) => return Ok(*kind),
            (config::Runtime::Auto, None) => {}
        }
        let writer = loop {
            thawed(&agent).await;
            let agent = agent().ok_or_else(|| Fault::Failed("the agent ends".into()))?;
            // What is tried is a file in the cache's folder.
            if let Ok(writer) = agent.freeze.writer() {
                break writer;
            }
        };
        let this = self.clone();
        let find = move || {
            let found = this.find_kind();
            drop(writer);
            found
        };
        Ok(smol::unblock(find).await)
    }

    /// What a try comes to, here and now; it is tried once.
    pub(super) fn find_kind(&self) -> Kind {
        *self.kind.get_or_init(|| match self.source.try_page() {
            Ok(()) => Kind::Native,
            Err(error) => {
                tracing::warn!(%error, "no machine code can be run here: components are interpreted");
                Kind::Pulley
            }
        })
    }
}

/// Waits until nothing is frozen: then the cache may be written to.
pub(super) async fn thawed(agent: impl Fn() -> Option<Arc<Agent>>) {
    while agent().is_some_and(|agent| agent.freeze.is_frozen()) {
        Timer::after(FROZEN).await;
    }
}
