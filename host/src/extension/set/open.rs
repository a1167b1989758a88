//! Extensions as a configuration has them: from what the cache knows, or from those of the configuration before.

use std::fs;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use event_listener::Event;

use super::scripts::{tell_faults, with};
use super::{Extensions, settled};
use crate::config;
use crate::extension::module::Fingerprint;
use crate::extension::runtime::Runtime;
use crate::extension::source::{Known, Source};
use crate::extension::state::Stores;
use crate::extension::unit::{Phase, Unit};

/// How long the start waits for the filesystems of the cache and of the modules, and the stack of the thread that asks them, in bytes.
const ANSWERED: Duration = Duration::from_secs(1);
const STACK: usize = 64 << 10;

impl Extensions {
    /// Those of a configuration, with what the cache knows of them. No module is read. None is granted what is the agent's `own`.
    ///
    /// Of a filesystem that does not answer nothing is known at first: it does not keep the agent from starting.
    pub fn open(settings: &config::Extensions, own: &Arc<[config::OwnPlace]>) -> Arc<Self> {
        let units: Vec<_> =
            settings.list.iter().map(|extension| Arc::new(Unit::new(extension.clone(), own))).collect();
        let (told, answered) = mpsc::channel();
        let places: Vec<_> = settings.list.iter().map(|extension| extension.code.path().to_owned()).collect();
        let places = [vec![settings.cache.clone()], places].concat();
        let ask = move || {
            for place in places {
                let _ = fs::metadata(place);
            }
            let _ = told.send(());
        };
        let asked = thread::Builder::new().name("ask".into()).stack_size(STACK).spawn(ask);
        let source = if asked.is_err() || answered.recv_timeout(ANSWERED).is_ok() {
            let source = Source::new(settings);
            for unit in units.iter().filter(|unit| unit.may_run()) {
                if let Some(known) = remembered(&source, unit) {
                    unit.set(settled(unit, known.into()));
                }
            }
            source
        } else {
            let doubt = "the cache or a module does not answer; everything is found out beside the requests";
            tracing::error!("{doubt}");
            Source::without_cache(settings)
        };
        let source = Arc::new(source);
        let stores = Arc::new(Stores::new(&settings.state));
        Self::of(settings, units, Arc::new(Runtime::new(settings, source.clone())), source, stores)
    }

    /// Those of a later configuration. What is still the same component stays loaded, and how each fared goes on. Waits for disks.
    pub fn after(before: &Self, settings: &config::Extensions, own: &Arc<[config::OwnPlace]>) -> Arc<Self> {
        let (runtime, source) = match before.settings.run_like(settings) {
            true => (before.runtime.clone(), before.source.clone()),
            false => {
                let source = Arc::new(Source::new(settings));
                (Arc::new(Runtime::new(settings, source.clone())), source)
            }
        };
        let unit = |extension: &config::Extension| {
            let unit = Unit::new(extension.clone(), own);
            let is_old = |it: &&Arc<Unit>| it.name() == unit.name() && it.config.code == unit.config.code;
            let Some(old) = before.units.iter().find(is_old).filter(|_| unit.may_run()) else { return unit };
            let unit = unit.after(old);
            let phase = old.phase();
            let is_still = |known: &&Arc<Known>| {
                Fingerprint::of(&unit.module()).is_ok_and(|file| file == known.fingerprint)
                    && known.scripts.as_ref().is_none_or(|it| it.saw(&unit.grant.config) && it.is_still())
            };
            if let Some(known) = phase.known().filter(is_still)
                && Arc::ptr_eq(&runtime, &before.runtime)
            {
                let is_ready = unit.grant.files.open();
                unit.set(match (settled(&unit, known.clone()), phase, is_ready) {
                    (Phase::Known(known), _, Err(reason)) => Phase::Refused(reason, Some(known)),
                    (Phase::Known(known), Phase::Loaded(_, sandbox), Ok(())) => Phase::Loaded(known, sandbox),
                    (phase, ..) => phase,
                });
            } else if let Some(known) = remembered(&source, &unit) {
                unit.set(settled(&unit, known.into()));
            }
            unit
        };
        let units = settings.list.iter().map(|extension| Arc::new(unit(extension))).collect();
        // Two that write to the same file would lose each other's changes.
        let stores = match before.settings.state == settings.state {
            true => before.stores.clone(),
            false => Arc::new(Stores::new(&settings.state)),
        };
        Self::of(settings, units, runtime, source, stores)
    }

    fn of(
        settings: &config::Extensions,
        units: Vec<Arc<Unit>>,
        runtime: Arc<Runtime>,
        source: Arc<Source>,
        stores: Arc<Stores>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings: settings.clone(),
            runtime,
            units,
            source,
            stores,
            agent: OnceLock::new(),
            commands: OnceLock::new(),
            changed: OnceLock::new(),
            event: Event::new(),
        })
    }
}

/// What is known of an extension from its last run, if it is still the same. Neither its component nor its scripts are read.
fn remembered(source: &Source, unit: &Unit) -> Option<Known> {
    let known = source.remembered(unit.name(), &unit.module())?;
    let Some(folder) = unit.folder() else { return Some(known) };
    let scripts = source.remembered_scripts(unit.name(), folder, known.digest)?;
    let scripts = Some(scripts).filter(|scripts| scripts.saw(&unit.grant.config))?;
    tell_faults(unit, &scripts);
    Some(with(&known, scripts.into()))
}
