//! One request to at most one response: look the command up, ask policy, run it behind a fence.
//!
//! The only call site of policy, and of providers. It names no command. A panic in a command becomes an error reply: an agent that
//! dies while filesystems are frozen cannot thaw them.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use smol::Executor;
use smol::future::FutureExt;
use waga_builtins::fsfreeze::FreezeHook;
use waga_builtins::qapi::Arguments;
use waga_builtins::{
    Agent, BoxFuture, Caller, Catalogue, CommandInfo, CommandSchema, Context, Error, ErrorClass,
    ExtensionInfo, Reloaded, Reply, Result, ServerStats, Settings,
};

use crate::audit::{Audit, By, Line, Outcome};
use crate::policy::{Policy, Reason};
use crate::registry::{Flags, Registry};
use crate::stats::{Channel, Client, Stats};
use crate::wire::{Request, Response};
use crate::{reload, schema};

/// Serves requests of every channel; shared by all of them.
#[derive(Debug)]
pub struct Dispatcher {
    current: Arc<Current>,
    agent: Arc<Agent>,
    audit: Option<Audit>,
    stats: Arc<Stats>,
    reloads: Arc<reload::Requests>,
}

/// What there is and what is allowed: a reload swaps it as one. A request in flight ends with what it began with.
#[derive(Debug)]
struct Commands {
    registry: Arc<Registry>,
    policy: Policy,
}

/// The commands of this moment.
#[derive(Debug)]
struct Current(RwLock<Arc<Commands>>);

impl Current {
    fn get(&self) -> Arc<Commands> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, commands: Commands) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(commands);
    }
}

/// The commands, as `guest-info` asks for them.
struct Listing {
    current: Arc<Current>,
    stats: Arc<Stats>,
    reloads: Arc<reload::Requests>,
}

impl Catalogue for Listing {
    /// In reverse order of registration, as qemu-ga lists them.
    fn commands(&self, caller: &Caller, frozen: bool) -> Vec<CommandInfo> {
        let current = self.current.get();
        let info = |slot: &Arc<crate::registry::Slot>| CommandInfo {
            enabled: current.policy.verdict(slot, caller, frozen).is_allowed()
                && slot.unavailable().is_none(),
            name: slot.name.clone(),
            success_response: slot.flags.replies,
        };
        current.registry.slots().iter().rev().map(info).collect()
    }

    fn extensions(&self) -> Vec<ExtensionInfo> {
        self.current.get().registry.extensions()
    }

    fn schemas(&self, command: Option<&str>) -> Vec<CommandSchema> {
        schema::of(&self.current.get().registry, command)
    }

    fn stats(&self) -> ServerStats {
        self.stats.told(self.current.get().registry.slots())
    }

    fn freeze_hooks(&self) -> BoxFuture<'_, Vec<Box<dyn FreezeHook>>> {
        let registry = self.current.get().registry.clone();
        Box::pin(async move { registry.freeze_hooks().await })
    }

    fn reload(&self) -> BoxFuture<'_, Result<Reloaded>> {
        Box::pin(self.reloads.ask())
    }
}

impl Dispatcher {
    /// A dispatcher with fresh state; tasks that outlive a request run on `executor`.
    pub fn new(
        registry: Registry,
        policy: Policy,
        settings: &Settings,
        executor: &Arc<Executor<'static>>,
    ) -> Self {
        let commands = Commands { registry: Arc::new(registry), policy };
        let current = Arc::new(Current(RwLock::new(Arc::new(commands))));
        let stats = Arc::new(Stats::default());
        let reloads = Arc::<reload::Requests>::default();
        let listing = Listing { current: current.clone(), stats: stats.clone(), reloads: reloads.clone() };
        let agent = Agent::new(settings, Box::new(listing), executor);
        Self { current, agent: Arc::new(agent), audit: None, stats, reloads }
    }

    /// Counts what comes over these channels.
    #[must_use]
    pub fn serving(self, channels: &[Arc<str>]) -> Self {
        self.stats.serve(channels);
        self
    }

    /// A connection of a channel is open from here on, until what this returns is dropped.
    pub(crate) fn connected(&self, caller: &Caller) -> Client {
        self.stats.connected(caller)
    }

    /// Writes a line for each request from here on, if there is an audit.
    #[must_use]
    pub fn audited(mut self, audit: Option<Audit>) -> Self {
        self.audit = audit;
        self
    }

    /// Puts other commands and another policy in force, as one, for requests that begin from here on.
    pub fn replace(&self, registry: Registry, policy: Policy) {
        self.current.set(Commands { registry: Arc::new(registry), policy });
    }

    /// The commands that there are.
    #[cfg(feature = "extensions")]
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.current.get().registry.clone()
    }

    /// What runs the extensions, if there are any.
    #[cfg(feature = "extensions")]
    pub fn extensions(&self) -> Option<Arc<crate::extension::Extensions>> {
        self.current.get().registry.set().cloned()
    }

    /// Asks the extensions again what they provide, for requests that begin from here on; whether they are those in force.
    #[cfg(feature = "extensions")]
    pub fn renew(&self, name: crate::cli::Name, extensions: &Arc<crate::extension::Extensions>) -> bool {
        let current = self.current.get();
        let in_force = current.registry.set().is_some_and(|set| Arc::ptr_eq(set, extensions));
        if in_force {
            let registry = Arc::new(Registry::of_agent(name).extended(extensions));
            self.current.set(Commands { registry, policy: current.policy.clone() });
        }
        in_force
    }

    /// What the policy in force says that has no effect.
    #[cfg(feature = "extensions")]
    pub(crate) fn warnings(&self, is_served: impl Fn(&str) -> bool) -> Vec<String> {
        let current = self.current.get();
        crate::check::warnings(&current.policy, &current.registry, is_served)
    }

    /// Whether the policy in force has rules of their own for channels of this name.
    pub fn has_rules_for(&self, channel: &str) -> bool {
        self.current.get().policy.channel(channel).is_some()
    }

    /// The requests for a reload, which whoever has the files is to serve.
    pub(crate) fn reloads(&self) -> Arc<reload::Requests> {
        self.reloads.clone()
    }

    /// The agent's state.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Runs a request; `None` if it succeeded and its success is not answered.
    pub async fn serve(&self, caller: &Caller, request: Request) -> Option<Response> {
        let Request { id, command, arguments } = request;
        let (result, flags) = self.perform(caller, &command, arguments).await;
        match flags {
            Some(flags) if result.is_ok() && !flags.replies => None,
            flags => Some(Response::new(id, flags.is_some_and(|flags| flags.delimited), result)),
        }
    }

    /// Runs a command for a client or for an extension; the flags of what ran, or failed.
    async fn perform(
        &self,
        caller: &Caller,
        command: &str,
        arguments: Arguments,
    ) -> (Result<Reply>, Option<Flags>) {
        let asked = Instant::now();
        let mut line = self.counted(caller, asked);
        let mut current = self.current.get();
        if current.registry.find(command).is_none() && current.registry.settle(command).await {
            current = self.current.get();
        }
        let slot = current.registry.find(command);
        let arguments = line.line.describe(command, slot.map(|slot| &**slot), arguments).await;
        // An unknown command is told before a disabled one, as qemu-ga does.
        let Some(slot) = slot else {
            self.stats.unknown();
            line.end(Outcome::Unknown);
            let desc = format!("The command {command} has not been found");
            return (Err(Error::not_found(desc)), None);
        };
        let frozen = self.agent.freeze.is_frozen();
        let verdict = current.policy.verdict(slot, caller, frozen);
        let counts = self.stats.of(slot);
        if !verdict.is_allowed() {
            counts.refuse();
            let by = if matches!(verdict.reason, Reason::Frozen) { By::Frozen } else { By::Policy };
            line.end(Outcome::Refused(by, ErrorClass::CommandNotFound));
            tracing::info!(command, channel = &**caller.channel(), "refused");
            let desc = format!("Command {command} has been disabled: the command is not allowed");
            return (Err(Error::not_found(desc)), None);
        }
        tracing::debug!(command, channel = &**caller.channel(), "called");
        let cx =
            Context { agent: self.agent.clone(), caller: caller.clone(), limits: verdict.limits.clone() };
        let from = slot.called_by(caller);
        let mut call = counts.begin(asked);
        let ended = AssertUnwindSafe(from.call(&cx, arguments)).catch_unwind().await;
        if let Ok(Ok(reply)) = &ended
            && slot.result_audited()
        {
            line.line.returned(reply);
        }
        call.failed = !matches!(ended, Ok(Ok(_)));
        drop(call);
        line.end(match &ended {
            Ok(Ok(_)) => Outcome::Ok,
            Ok(Err(error)) if error.is_refusal() => Outcome::Refused(By::Limits, error.class),
            Ok(Err(error)) => Outcome::Error(error.class),
            Err(_) => Outcome::Panic,
        });
        let result = ended.unwrap_or_else(|_| {
            // What it said was logged where it happened, unless that quotes a value.
            tracing::error!(command, channel = &**caller.channel(), "the command panicked");
            Err(Error::generic(format!("{command} failed by a fault of the agent; its log says more")))
        });
        if let Err(error) = &result {
            // Not the text: it may quote an argument.
            tracing::debug!(command, class = error.class.as_str(), "failed");
        }
        (result, Some(slot.flags))
    }

    /// A message came.
    fn counted<'a>(&'a self, caller: &'a Caller, now: Instant) -> Counted<'a> {
        Counted { line: Line::begin(self.audit.as_ref(), caller), channel: self.stats.asked(caller, now) }
    }

    /// Takes down that a message came which was no request.
    pub fn malformed(&self, caller: &Caller) {
        self.counted(caller, Instant::now()).end(Outcome::Malformed);
    }

    /// Takes down that a message was not looked at for want of memory.
    pub fn overloaded(&self, caller: &Caller) {
        let outcome = Outcome::Refused(By::Memory, ErrorClass::GenericError);
        self.counted(caller, Instant::now()).end(outcome);
    }
}

/// What is taken down of one request: its line in the audit, and its number among those of its channel.
struct Counted<'a> {
    line: Line<'a>,
    channel: Option<&'a Channel>,
}

impl Counted<'_> {
    /// The result is known.
    fn end(self, outcome: Outcome) {
        if let Some(channel) = self.channel {
            channel.ended(outcome);
        }
        self.line.end(outcome);
    }
}

/// What extensions call goes the way of what clients call.
#[cfg(feature = "extensions")]
impl crate::extension::Commands for Dispatcher {
    fn call(
        self: Arc<Self>,
        caller: Caller,
        command: String,
        arguments: Arguments,
    ) -> BoxFuture<'static, Result<Reply>> {
        Box::pin(async move { self.perform(&caller, &command, arguments).await.0 })
    }
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
