//! Reading the configuration anew, at SIGHUP or `waga-reload`: policy changes in place, channels stay open, log files are opened again.
//!
//! Whatever is wrong with what is there now, what was in force stays in force.

use std::sync::{Arc, Mutex, PoisonError};

use smol::channel::{Receiver, Sender};
use waga_builtins::{Error, ExtensionInfo, ExtensionState, Reloaded};

use crate::check;
use crate::cli::{Cli, Name};
use crate::config::{Config, ConfigError, Places};
use crate::dispatch::Dispatcher;
#[cfg(feature = "extensions")]
use crate::extension::Extensions;
use crate::policy::Policy;
use crate::registry::Registry;
use crate::{log, service};

/// Where the configuration comes from, each time it is read.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) cli: Cli,
    pub(crate) places: Places,
}

impl Sources {
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.cli, &self.places).map(|resolved| resolved.config)
    }

    /// Independent of the working folder.
    pub(crate) fn make_absolute(&mut self) {
        for path in self.cli.config.iter_mut().chain([&mut self.places.qemu_ga_conf]) {
            if let Ok(absolute) = std::path::absolute(&*path) {
                *path = absolute;
            }
        }
    }
}

/// What a reload came to, or why all stays as it was.
pub(crate) type Outcome = Result<Reloaded, String>;

/// The requests for a reload. Those that come while one is under way are served by one more: it may have read the files before they changed.
#[derive(Debug)]
pub(crate) struct Requests {
    wake: Sender<()>,
    woken: Receiver<()>,
    waiting: Mutex<Vec<Sender<Outcome>>>,
}

impl Default for Requests {
    fn default() -> Self {
        let (wake, woken) = smol::channel::bounded(1);
        Self { wake, woken, waiting: Mutex::default() }
    }
}

impl Requests {
    /// Asks for one, and does not wait.
    pub(crate) fn signal(&self) {
        // One waits already, and will read what is there then.
        let _ = self.wake.try_send(());
    }

    /// Asks for one and waits for it.
    pub(crate) async fn ask(&self) -> waga_builtins::Result<Reloaded> {
        let (answer, answered) = smol::channel::bounded(1);
        self.waiting().push(answer);
        self.signal();
        let outcome = answered.recv().await.unwrap_or_else(|_| Err("the agent ends".into()));
        outcome.map_err(|reason| Error::generic(not_reloaded(&reason)))
    }

    /// Waits until one is asked for; who is to be told what came of it.
    pub(crate) async fn next(&self) -> Vec<Sender<Outcome>> {
        // Neither end is ever closed.
        let _ = self.woken.recv().await;
        std::mem::take(&mut *self.waiting())
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Sender<Outcome>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_reloaded(reason: &str) -> String {
    format!("not reloaded: {reason}; the configuration stays as it was")
}

/// Opens log files anew, reads the configuration anew and puts its policy in force; tells the service manager before and after.
pub(crate) async fn reload(
    sources: &Sources,
    running: &Config,
    served: &[Arc<str>],
    dispatcher: &Arc<Dispatcher>,
) -> Outcome {
    log::reopen();
    service::reloading().await;
    let outcome = replace(sources, running, served, dispatcher).await;
    let status = match &outcome {
        Ok(_) => "serving",
        Err(reason) => {
            tracing::error!("{}", not_reloaded(reason));
            "serving; the last reload failed, the log says why"
        }
    };
    service::ready(status).await;
    outcome
}

/// Puts the policy that is written down now in force; else why not.
async fn replace(
    sources: &Sources,
    running: &Config,
    served: &[Arc<str>],
    dispatcher: &Arc<Dispatcher>,
) -> Outcome {
    if dispatcher.agent().freeze.is_frozen() {
        // Reading a file may wait for a frozen filesystem.
        return Err("filesystems are frozen".into());
    }
    let (again, daemonize) = (sources.clone(), running.daemonize);
    let read = move || {
        let mut config = again.load()?;
        if daemonize {
            config.make_absolute();
        }
        config.find_packs();
        Ok::<_, ConfigError>(config)
    };
    let config = smol::unblock(read).await.map_err(|error| error.to_string())?;
    if let Some(name) = lost(&config, running, served, dispatcher) {
        return Err(format!("the channel '{name}' is served until a restart, and its rules would be lost"));
    }
    let restart = [
        ("[[channel]]", config.channels != running.channels),
        ("[log]", config.log != running.log),
        ("[audit]", config.audit != running.audit),
        ("[state]", config.state_dir != running.state_dir),
        ("[freeze]", config.freeze != running.freeze),
        ("[daemon]", (config.daemonize, &config.pid_file) != (running.daemonize, &running.pid_file)),
    ];
    let changed = restart.into_iter().filter(|(_, differs)| *differs);
    let needs_restart: Vec<_> = changed.map(|(table, _)| table).collect();
    for table in &needs_restart {
        tracing::error!(table, "changed, which takes a restart");
    }
    let registry = commands(&config, served, dispatcher).await;
    let mut warnings = warn(&config.policy, &config, &registry, served);
    warnings.extend(idle_extensions(&registry));
    dispatcher.replace(registry, config.policy);
    tracing::info!(target: log::LIFE, "reloaded");
    waga_builtins::release_code();
    Ok(Reloaded { needs_restart, warnings })
}

/// The extensions that do not run though they should, and the scripts, with the reason, which the log has of each.
fn idle_extensions(registry: &Registry) -> impl Iterator<Item = String> {
    let is_idle = |state| !matches!(state, ExtensionState::Ready | ExtensionState::Disabled);
    let reasons = move |it: ExtensionInfo| {
        let reason = is_idle(it.state).then(|| it.reason.unwrap_or_else(|| "not ready yet".into()));
        let reasons = reason.into_iter().chain(it.faults);
        reasons.map(|reason| format!("extension {}: {reason}", it.name)).collect::<Vec<_>>()
    };
    registry.extensions().into_iter().flat_map(reasons)
}

/// The commands of a configuration, with its extensions compiled and described while those of the last still serve.
#[cfg(feature = "extensions")]
async fn commands(config: &Config, served: &[Arc<str>], dispatcher: &Arc<Dispatcher>) -> Registry {
    let registry = Registry::of_agent(config.name);
    if config.extensions.list.is_empty() {
        return registry;
    }
    let (before, settings) = (dispatcher.extensions(), config.extensions.clone());
    let own = config.own_places().into();
    let extensions = smol::unblock(move || match before {
        Some(before) => Extensions::after(&before, &settings, &own),
        None => Extensions::open(&settings, &own),
    })
    .await;
    begin(&extensions, dispatcher, config.name, served, Vec::new());
    extensions.settled().await;
    registry.extended(&extensions)
}

/// Nobody but the agent has commands.
#[cfg(not(feature = "extensions"))]
async fn commands(config: &Config, _: &[Arc<str>], _: &Arc<Dispatcher>) -> Registry {
    Registry::of_agent(config.name)
}

/// Has extensions found out about beside the requests. Once that is done, what has no effect is told that was not `said` before.
#[cfg(feature = "extensions")]
pub(crate) fn begin(
    extensions: &Arc<Extensions>,
    dispatcher: &Arc<Dispatcher>,
    name: Name,
    served: &[Arc<str>],
    said: Vec<String>,
) {
    let (renewed, served) = (Arc::downgrade(dispatcher), served.to_vec());
    let said = Mutex::new(extensions.is_starting().then_some(said));
    let commands: std::sync::Weak<dyn crate::extension::Commands> = renewed.clone();
    extensions.start(dispatcher.agent(), commands, move |extensions| {
        let Some(dispatcher) = renewed.upgrade() else { return };
        // Those that are not in force yet are told of when they are.
        if !dispatcher.renew(name, extensions) {
            return;
        }
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = said.take_if(|_| !dispatcher.registry().is_settling()) {
            warn_settled(&dispatcher, name, &served, &said);
        }
    });
}

/// Channels that are served until the restart, but are no longer configured: no table can speak of them any more, so their rules would go.
fn lost<'a>(
    config: &Config,
    running: &'a Config,
    served: &[Arc<str>],
    dispatcher: &Dispatcher,
) -> Option<&'a str> {
    let named = |config: &Config, name: &str| config.channels.iter().any(|channel| &*channel.name == name);
    let lost = |name: &&str| {
        let is_served = served.iter().any(|it| **it == **name);
        is_served
            && dispatcher.has_rules_for(name)
            && !named(config, name)
            && config.policy.channel(name).is_none()
    };
    running.channels.iter().map(|channel| &*channel.name).find(lost)
}

/// What does not do what its author meant: told even to a quiet log, but for qemu-ga's.
pub(crate) fn warn(
    policy: &Policy,
    config: &Config,
    registry: &Registry,
    served: &[Arc<str>],
) -> Vec<String> {
    let is_served = |name: &str| served.iter().any(|it| **it == *name);
    let mut warnings = config.doubts.clone();
    warnings.extend(check::warnings(policy, registry, is_served));
    warnings.extend(check::idle_grants(policy, config, registry));
    for warning in &warnings {
        tell(config.name, warning);
    }
    warnings
}

/// The same once every command is known, of what was not said before.
#[cfg(feature = "extensions")]
pub(crate) fn warn_settled(dispatcher: &Dispatcher, name: Name, served: &[Arc<str>], said: &[String]) {
    let is_served = |name: &str| served.iter().any(|it| **it == *name);
    for warning in dispatcher.warnings(is_served).iter().filter(|warning| !said.contains(warning)) {
        tell(name, warning);
    }
}

fn tell(name: Name, warning: &str) {
    match name {
        Name::Waga => tracing::error!("{warning}"),
        Name::QemuGa => tracing::warn!("{warning}"),
    }
}
