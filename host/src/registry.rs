//! Name → the chain of who provides it, outermost first. Built whole, never edited in place.

mod slot;

use std::collections::HashMap;
use std::sync::Arc;

use crate::check::Ask;
use crate::cli::Name;
use crate::config::Config;
#[cfg(feature = "extensions")]
use crate::extension::Extensions;
pub use slot::{ArgumentNames, Below, Flags, Provider, Slot};
use waga_builtins::fsfreeze::FreezeHook;
use waga_builtins::{Builtin, ExtensionInfo, FAMILIES};

/// Every command there is.
#[derive(Debug)]
pub struct Registry {
    slots: Vec<Arc<Slot>>,
    places: HashMap<Arc<str>, usize>,
    #[cfg(feature = "extensions")]
    extensions: Option<Arc<Extensions>>,
}

impl Registry {
    /// The agent's own commands.
    pub fn builtins() -> Self {
        Self::of(FAMILIES.iter().copied().flatten())
    }

    /// Those that an agent of this name has: qemu-ga has none of waga's own.
    pub fn of_agent(name: Name) -> Self {
        let builtins = FAMILIES.iter().copied().flatten();
        Self::of(builtins.filter(|builtin| name == Name::Waga || !builtin.name.starts_with("waga-")))
    }

    /// With what extensions provide.
    #[cfg(feature = "extensions")]
    #[must_use]
    pub fn extended(mut self, extensions: &Arc<Extensions>) -> Self {
        use waga_builtins::{ExtensionMode, WhileFrozen};
        let mut chains: HashMap<Arc<str>, (Vec<Provider>, Vec<Provider>)> = HashMap::new();
        for handle in extensions.provided(|name| self.places.contains_key(name)) {
            let name = handle.name().clone();
            let place = self.places.get(&name).copied();
            if place.is_none() {
                self.places.insert(name.clone(), self.slots.len());
                // What it does nobody knows: it waits for the thaw, unless the operator says otherwise.
                let while_frozen =
                    if handle.runs_while_frozen() { WhileFrozen::On } else { WhileFrozen::Off };
                let flags = Flags { while_frozen, replies: true, delimited: false, on_by_default: true };
                self.slots.push(Arc::new(Slot::new(name.clone(), flags, Vec::new())));
            }
            let (surplus, chain) = chains.entry(name).or_default();
            if handle.is_surplus() {
                surplus.push(Provider::Extension(handle));
                continue;
            }
            // They come as they are laid over one another, but wraps in the order of the file, the first outermost.
            let wraps = chain.iter().take_while(|it| it.mode() == Some(ExtensionMode::Wrap)).count();
            let at = if handle.mode() == ExtensionMode::Wrap { wraps } else { 0 };
            chain.insert(at, Provider::Extension(handle));
        }
        // Who refuses each call does so before anything is run.
        for (name, (mut chain, laid)) in chains {
            let slot = &mut self.slots[self.places[&name]];
            chain.extend(laid);
            chain.extend(slot.chain.iter().cloned());
            *slot = Arc::new(Slot::new(name, slot.flags, chain));
        }
        self.extensions = Some(extensions.clone());
        self
    }

    /// What runs the extensions, if there are any.
    #[cfg(feature = "extensions")]
    pub(crate) fn set(&self) -> Option<&Arc<Extensions>> {
        self.extensions.as_ref()
    }

    /// Whether there may be commands that are not known yet.
    pub fn is_settling(&self) -> bool {
        #[cfg(feature = "extensions")]
        if let Some(extensions) = &self.extensions {
            return extensions.is_starting();
        }
        false
    }

    /// Commands of the agent that an extension adds as if nobody had them, and that extension.
    pub fn replaced(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        let slots = self.slots.iter().filter(|slot| slot.builtin().is_some());
        slots.filter_map(|slot| Some((&slot.name, slot.added()?)))
    }

    /// What an operator should know of extensions that may not be laid over a command as well, each in a sentence.
    pub(crate) fn surplus(&self) -> Vec<String> {
        #[cfg(feature = "extensions")]
        return self.slots.iter().flat_map(|slot| slot.surplus()).collect();
        #[cfg(not(feature = "extensions"))]
        return Vec::new();
    }

    /// Every extension, as `waga-get-extensions` tells it.
    pub fn extensions(&self) -> Vec<ExtensionInfo> {
        #[cfg(feature = "extensions")]
        if let Some(extensions) = &self.extensions {
            return extensions.info();
        }
        Vec::new()
    }

    /// Those that are told of a freeze, in order.
    pub(crate) async fn freeze_hooks(&self) -> Vec<Box<dyn FreezeHook>> {
        #[cfg(feature = "extensions")]
        if let Some(extensions) = &self.extensions {
            return extensions.freeze_hooks().await;
        }
        Vec::new()
    }

    /// What each of them asks for, as far as it is known.
    pub(crate) fn asks(&self) -> Vec<Vec<Ask>> {
        #[cfg(feature = "extensions")]
        if let Some(extensions) = &self.extensions {
            return extensions.asks();
        }
        Vec::new()
    }

    /// Waits, for a moment, if an extension may yet turn out to have a command of this name; whether there was anything to wait for.
    #[cfg(feature = "extensions")]
    pub(crate) async fn settle(&self, name: &str) -> bool {
        match &self.extensions {
            Some(extensions) => extensions.settle(name).await,
            None => false,
        }
    }

    /// Nobody but the agent has commands.
    #[cfg(not(feature = "extensions"))]
    pub(crate) async fn settle(&self, _: &str) -> bool {
        false
    }

    /// Those of a configuration: the agent's own, and what extensions add of which something is known already.
    pub fn of_config(config: &Config) -> Self {
        let registry = Self::of_agent(config.name);
        #[cfg(feature = "extensions")]
        if !config.extensions.list.is_empty() {
            return registry.extended(&Extensions::open(&config.extensions, &config.own_places().into()));
        }
        registry
    }

    /// As [`Self::of_config`], to explain it: what extensions may have of files is looked at, which may wait for a device.
    pub(crate) fn examined(config: &Config) -> Self {
        let registry = Self::of_agent(config.name);
        #[cfg(feature = "extensions")]
        if !config.extensions.list.is_empty() {
            let extensions = Extensions::open(&config.extensions, &config.own_places().into());
            extensions.examine();
            return registry.extended(&extensions);
        }
        registry
    }

    /// These commands.
    pub(crate) fn of(builtins: impl Iterator<Item = &'static Builtin>) -> Self {
        let slot = |builtin: &'static Builtin| {
            let flags = Flags {
                while_frozen: builtin.while_frozen,
                replies: builtin.replies,
                delimited: builtin.delimited,
                on_by_default: builtin.on_by_default,
            };
            Arc::new(Slot::new(builtin.name.into(), flags, vec![Provider::Builtin(builtin)]))
        };
        let slots: Vec<Arc<Slot>> = builtins.map(slot).collect();
        let places = slots.iter().enumerate().map(|(place, slot)| (slot.name.clone(), place)).collect();
        Self {
            slots,
            places,
            #[cfg(feature = "extensions")]
            extensions: None,
        }
    }

    /// The command of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Slot>> {
        self.places.get(name).map(|&place| &self.slots[place])
    }

    /// Every command, in the order of registration.
    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }
}
