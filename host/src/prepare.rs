//! What an agent finds out about its extensions at its start, done beforehand: for the tool that installs packs and fills caches.

use std::sync::Arc;

use smol::Executor;
use waga_builtins::{ExtensionInfo, Settings};

use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::registry::Registry;
use crate::{check, reload};

/// What came of it.
#[derive(Debug)]
pub struct Prepared {
    /// Each extension, in the order of the configuration, as `waga-get-extensions` would tell it.
    pub extensions: Vec<ExtensionInfo>,
    /// What of the configuration does not do what its author meant, or should be known of it, as `waga check` tells it.
    pub warnings: Vec<String>,
}

/// Compiles what is not compiled yet, with the limits of the configuration and by its compiler, and keeps it in its cache; scripts are run
/// once for what they define. What is found is what an agent would find that starts now.
///
/// No command is called, and nothing is frozen or thawed: this agent knows no state but the extensions'.
pub fn prepare(config: &Config) -> Prepared {
    let executor = Arc::new(Executor::new());
    let doubts = config.doubts.iter().cloned();
    let registry = Registry::of_agent(config.name);
    if config.extensions.list.is_empty() {
        let warnings = check::warnings(&config.policy, &registry, |_| true);
        return Prepared { extensions: Vec::new(), warnings: doubts.chain(warnings).collect() };
    }
    let extensions = crate::extension::Extensions::open(&config.extensions, &config.own_places().into());
    // The marker of a freeze is looked for in the folder of state: this is none.
    let settings = Settings::new("/nonexistent");
    let dispatcher = Arc::new(Dispatcher::new(registry, config.policy.clone(), &settings, &executor));
    smol::block_on(executor.run(async {
        reload::begin(&extensions, &dispatcher, config.name, &[], Vec::new());
        extensions.settled().await;
    }));
    let registry = Registry::of_agent(config.name).extended(&extensions);
    let mut warnings = check::warnings(&config.policy, &registry, |_| true);
    warnings.extend(check::idle_grants(&config.policy, config, &registry));
    warnings.extend(doubts);
    Prepared { extensions: registry.extensions(), warnings }
}
