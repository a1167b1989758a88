//! One command: who provides it, outermost first, and how a call goes through them.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use waga_builtins::qapi::Arguments;
use waga_builtins::{BoxFuture, Builtin, Caller, Context, Error, Reply, Result, WhileFrozen};

#[cfg(feature = "extensions")]
use crate::extension::Handle;
use crate::stats::Counts;

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
    /// How an extension provides it.
    #[cfg(feature = "extensions")]
    pub(super) fn mode(&self) -> Option<waga_builtins::ExtensionMode> {
        match self {
            Self::Builtin(_) => None,
            Self::Extension(handle) => Some(handle.mode()),
        }
    }
}

/// What policy and wire need to know of a command; whoever is laid over a builtin inherits them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// Whether it may run while filesystems are frozen.
    pub while_frozen: WhileFrozen,
    /// Whether its success is answered.
    pub replies: bool,
    /// Whether its reply is preceded by the byte 0xFF.
    pub delimited: bool,
    /// Whether it is on where the operator says nothing of it.
    pub on_by_default: bool,
}

/// One command.
#[derive(Debug)]
pub struct Slot {
    /// Its name.
    pub name: Arc<str>,
    /// Its flags.
    pub flags: Flags,
    /// Wraps, override, builtin; never empty.
    pub(super) chain: Vec<Provider>,
    /// What its calls come to, from the first on. A registry that is built anew finds them again by the name.
    pub(crate) counts: OnceLock<Arc<Counts>>,
}

/// Providers of a command from one of them on, which is below whoever has this.
#[derive(Debug, Clone)]
pub struct Below {
    slot: Arc<Slot>,
    at: usize,
    /// Whether a component waits for it.
    nested: bool,
}

impl Below {
    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.at >= self.slot.chain.len()
    }

    /// Whether a component waits for what is called here, which keeps others of its kind waiting.
    pub fn is_nested(&self) -> bool {
        self.nested
    }

    /// The same, for a component to wait for.
    #[must_use]
    pub fn nested(mut self) -> Self {
        self.nested = true;
        self
    }

    /// Runs the first of them.
    ///
    /// # Errors
    /// `GenericError` if there is nobody, and whatever the command fails with.
    pub fn call<'a>(&'a self, cx: &'a Context, arguments: Arguments) -> BoxFuture<'a, Result<Reply>> {
        match self.slot.chain.get(self.at) {
            Some(Provider::Builtin(builtin)) => builtin.call(cx, arguments),
            #[cfg(feature = "extensions")]
            Some(Provider::Extension(handle)) => {
                let below = Self { slot: self.slot.clone(), at: self.at + 1, nested: self.nested };
                Box::pin(handle.call(cx, arguments, below))
            }
            None => {
                let text = format!("there is nothing below {}", self.slot.name);
                Box::pin(async { Err(Error::generic(text)) })
            }
        }
    }
}

impl Slot {
    pub(super) fn new(name: Arc<str>, flags: Flags, chain: Vec<Provider>) -> Self {
        Self { name, flags, chain, counts: OnceLock::new() }
    }

    /// Those of its providers that a call goes through: all of them; or, where an extension that is one of them calls it, what is below
    /// that.
    pub fn called_by(self: &Arc<Self>, caller: &Caller) -> Below {
        let at = match caller {
            #[cfg(feature = "extensions")]
            Caller::Extension(extension, _) => {
                let is_own = |provider: &Provider| matches!(provider, Provider::Extension(handle) if handle.extension() == extension);
                self.chain.iter().position(is_own).map_or(0, |place| place + 1)
            }
            _ => 0,
        };
        Below { slot: self.clone(), at, nested: caller.depth() > 0 }
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
        #[cfg(feature = "extensions")]
        for (place, provider) in self.chain.iter().enumerate() {
            let Provider::Extension(handle) = provider else { return None };
            let reason = handle.unavailable()?;
            // What is below would serve it, if that can.
            if !handle.gives_way() || place + 1 == self.chain.len() {
                return Some(reason);
            }
        }
        None
    }

    /// What there is to say of extensions that may not be laid over it as well.
    #[cfg(feature = "extensions")]
    pub(super) fn surplus(&self) -> impl Iterator<Item = String> {
        let handles = self.chain.iter().filter_map(|provider| match provider {
            Provider::Extension(handle) if handle.is_surplus() => Some(handle),
            _ => None,
        });
        handles.map(|handle| {
            let (name, reason) = (&self.name, handle.unavailable().unwrap_or_default());
            let comes_to = match handle.gives_way() {
                true => "calls go past it",
                false => "so nobody can call that; take it out of a list, or say on-failure = \"builtin\"",
            };
            format!("extension {}: is not laid over {name} ({reason}): {comes_to}", handle.extension())
        })
    }

    /// The extension that adds it, if one does.
    pub(super) fn added(&self) -> Option<&Arc<str>> {
        #[cfg(feature = "extensions")]
        return self.adds().map(Handle::extension);
        #[cfg(not(feature = "extensions"))]
        return None;
    }

    /// The extension's command that nobody had before, if it is one.
    #[cfg(feature = "extensions")]
    pub(crate) fn adds(&self) -> Option<&Handle> {
        self.chain.iter().find_map(|provider| match provider {
            Provider::Extension(handle) if handle.mode() == waga_builtins::ExtensionMode::Add => Some(handle),
            _ => None,
        })
    }

    /// The extension that the outermost provider is of.
    pub fn extension(&self) -> Option<&Arc<str>> {
        match &self.chain[0] {
            Provider::Builtin(_) => None,
            #[cfg(feature = "extensions")]
            Provider::Extension(handle) => Some(handle.extension()),
        }
    }

    /// The extensions that provide it, outermost first.
    pub(crate) fn extensions(&self) -> impl Iterator<Item = &Arc<str>> {
        self.chain.iter().filter_map(|provider| match provider {
            Provider::Builtin(_) => None,
            #[cfg(feature = "extensions")]
            Provider::Extension(handle) => Some(handle.extension()),
        })
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
    pub(super) fn builtin(&self) -> Option<&'static Builtin> {
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
