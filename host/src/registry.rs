//! Name → the chain of who provides it, outermost first. Built whole, never edited in place.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cli::Name;
use waga_builtins::{BoxFuture, Builtin, Context, FAMILIES, Reply, Result, WhileFrozen, qapi::Arguments};

/// Who can serve a command. Closed on purpose: what comes from outside comes as an extension.
#[derive(Debug, Clone)]
pub enum Provider {
    /// One of the agent's own commands.
    Builtin(&'static Builtin),
}

impl Provider {
    fn call<'a>(&'a self, cx: &'a Context, arguments: Arguments) -> BoxFuture<'a, Result<Reply>> {
        match self {
            Self::Builtin(builtin) => builtin.call(cx, arguments),
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
    pub fn arguments(&self) -> &'static [&'static str] {
        self.builtin().map(|builtin| (builtin.arguments)()).unwrap_or_default()
    }

    /// Whether its result may be written down too; one of an extension never is.
    pub(crate) fn result_audited(&self) -> bool {
        match self.chain[0] {
            Provider::Builtin(builtin) => builtin.result_audited,
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
        }
    }
}

/// Every command there is.
#[derive(Debug)]
pub struct Registry {
    slots: Vec<Slot>,
    places: HashMap<Arc<str>, usize>,
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
        Self { slots, places }
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
