//! Name → the chain of who provides it, outermost first. Built whole, never edited in place.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::cli::Name;
use crate::config::Config;
#[cfg(feature = "extensions")]
use crate::extension::{Extensions, Handle};
use waga_builtins::qapi::Arguments;
use waga_builtins::{BoxFuture, Builtin, Context, ExtensionInfo, FAMILIES, Reply, Result, WhileFrozen};

/// Who can serve a command. Closed on purpose: what comes from outside comes as an extension.
#[derive(Debug, Clone)]
pub enum Provider {
    /// One of the agent's own commands.
    Builtin(&'static Builtin),
    /// One of an extension.
    #[cfg(feature = "extensions")]
    Extension(Handle),
}

impl Provider {
    fn call<'a>(&'a self, cx: &'a Context, arguments: Arguments) -> BoxFuture<'a, Result<Reply>> {
        match self {
            Self::Builtin(builtin) => builtin.call(cx, arguments),
            #[cfg(feature = "extensions")]
            Self::Extension(handle) => Box::pin(handle.call(arguments)),
        }
    }

    /// Why it cannot be called now, whatever policy says.
    fn unavailable(&self) -> Option<String> {
        match self {
            Self::Builtin(_) => None,
            #[cfg(feature = "extensions")]
            Self::Extension(handle) => handle.unavailable(),
        }
    }
}

/// What policy and wire need to know of a command; whoever overrides a builtin inherits them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// Whether it may run while filesystems are frozen.
    pub while_frozen: WhileFrozen,
    /// Whether its success is answered.
    pub replies: bool,
    /// Whether its reply is preceded by the byte 0xFF.
    pub delimited: bool,
}

/// One command.
#[derive(Debug)]
pub struct Slot {
    /// Its name.
    pub name: Arc<str>,
    /// Its flags.
    pub flags: Flags,
    /// Wraps, override, builtin; never empty.
    chain: Vec<Provider>,
}

impl Slot {
    /// Runs the outermost provider.
    pub fn call<'a>(&'a self, cx: &'a Context, arguments: Arguments) -> BoxFuture<'a, Result<Reply>> {
        self.chain[0].call(cx, arguments)
    }

    /// The names of its arguments, by the schema.
    pub fn arguments(&self) -> ArgumentNames {
        match self.chain.last() {
            Some(Provider::Builtin(builtin)) => ArgumentNames::Fixed((builtin.arguments)()),
            #[cfg(feature = "extensions")]
            Some(Provider::Extension(handle)) => ArgumentNames::Reflected(handle.arguments().clone()),
            None => ArgumentNames::default(),
        }
    }

    /// Why it cannot be called now, whatever policy says.
    pub fn unavailable(&self) -> Option<String> {
        self.chain[0].unavailable()
    }

    /// The extension that the outermost provider is of.
    pub fn extension(&self) -> Option<&Arc<str>> {
        match &self.chain[0] {
            Provider::Builtin(_) => None,
            #[cfg(feature = "extensions")]
            Provider::Extension(handle) => Some(handle.extension()),
        }
    }

    /// Whether its result may be written down too; one of an extension never is.
    pub(crate) fn result_audited(&self) -> bool {
        match &self.chain[0] {
            Provider::Builtin(builtin) => builtin.result_audited,
            #[cfg(feature = "extensions")]
            Provider::Extension(_) => false,
        }
    }

    /// The arguments whose values may be written down.
    pub fn audited(&self) -> &'static [&'static str] {
        self.builtin().map(|builtin| builtin.audited).unwrap_or_default()
    }

    /// The agent's own command of this name, whoever stands before it.
    fn builtin(&self) -> Option<&'static Builtin> {
        match self.chain.last()? {
            Provider::Builtin(builtin) => Some(builtin),
            #[cfg(feature = "extensions")]
            Provider::Extension(_) => None,
        }
    }
}

/// The names of a command's arguments.
#[derive(Debug, Clone)]
pub enum ArgumentNames {
    /// Those of one of the agent's own.
    Fixed(&'static [&'static str]),
    /// Those of a component's function.
    Reflected(Arc<[Arc<str>]>),
}

impl Default for ArgumentNames {
    fn default() -> Self {
        Self::Fixed(&[])
    }
}

impl ArgumentNames {
    /// This name, if it is one of them.
    pub fn find(&self, name: &str) -> Option<Cow<'static, str>> {
        match self {
            Self::Fixed(names) => names.iter().find(|known| **known == name).map(|&known| known.into()),
            Self::Reflected(names) => {
                names.iter().find(|known| ***known == *name).map(|known| known.to_string().into())
            }
        }
    }
}

/// Every command there is.
#[derive(Debug)]
pub struct Registry {
    slots: Vec<Slot>,
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

    /// With what extensions add to them.
    #[cfg(feature = "extensions")]
    #[must_use]
    pub fn extended(mut self, extensions: &Arc<Extensions>) -> Self {
        let provided = extensions.provided(|name| self.places.contains_key(name));
        for handle in provided {
            let name = handle.name().clone();
            if let Some(&place) = self.places.get(&name) {
                self.slots[place].chain.insert(0, Provider::Extension(handle));
                continue;
            }
            self.places.insert(name.clone(), self.slots.len());
            // What it does nobody knows: it waits for the thaw.
            let flags = Flags { while_frozen: WhileFrozen::Off, replies: true, delimited: false };
            self.slots.push(Slot { name, flags, chain: vec![Provider::Extension(handle)] });
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

    /// Commands of the agent that an extension's stands before, and that extension.
    pub fn replaced(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        let slots = self.slots.iter().filter(|slot| slot.chain.len() > 1);
        slots.filter_map(|slot| Some((&slot.name, slot.extension()?)))
    }

    /// Every extension, as `waga-get-extensions` tells it.
    pub fn extensions(&self) -> Vec<ExtensionInfo> {
        #[cfg(feature = "extensions")]
        if let Some(extensions) = &self.extensions {
            return extensions.info();
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
            return registry.extended(&Extensions::open(&config.extensions));
        }
        registry
    }

    /// These commands.
    pub(crate) fn of(builtins: impl Iterator<Item = &'static Builtin>) -> Self {
        let slot = |builtin: &'static Builtin| Slot {
            name: builtin.name.into(),
            flags: Flags {
                while_frozen: builtin.while_frozen,
                replies: builtin.replies,
                delimited: builtin.delimited,
            },
            chain: vec![Provider::Builtin(builtin)],
        };
        let slots: Vec<Slot> = builtins.map(slot).collect();
        let places = slots.iter().enumerate().map(|(place, slot)| (slot.name.clone(), place)).collect();
        Self {
            slots,
            places,
            #[cfg(feature = "extensions")]
            extensions: None,
        }
    }

    /// The command of this name.
    pub fn find(&self, name: &str) -> Option<&Slot> {
        self.places.get(name).map(|&place| &self.slots[place])
    }

    /// Every command, in the order of registration.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }
}
