//! One request to at most one response: look the command up, ask policy, run it behind a fence.
//!
//! The only call site of policy, and of providers. It names no command. A panic in a command becomes an error reply: an agent that
//! dies while filesystems are frozen cannot thaw them.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};

use smol::Executor;
use smol::future::FutureExt;
use waga_builtins::{Agent, Caller, Catalogue, CommandInfo, Context, Error, Settings};

use crate::policy::Policy;
use crate::registry::Registry;
use crate::wire::{Request, Response};

/// Serves requests of every channel; shared by all of them.
#[derive(Debug)]
pub struct Dispatcher {
    current: Arc<Current>,
    agent: Arc<Agent>,
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
struct Listing(Arc<Current>);

impl Catalogue for Listing {
    /// In reverse order of registration, as qemu-ga lists them.
    fn commands(&self, caller: &Caller, frozen: bool) -> Vec<CommandInfo> {
        let current = self.0.get();
        let info = |slot: &crate::registry::Slot| CommandInfo {
            enabled: current.policy.verdict(slot, caller, frozen).is_allowed(),
            name: slot.name.clone(),
            success_response: slot.flags.replies,
        };
        current.registry.slots().iter().rev().map(info).collect()
    }
}

impl Dispatcher {
    /// A dispatcher with fresh state; tasks that outlive a request run on `executor`.
    pub fn new(
        registry: Registry,
        policy: Policy,
        settings: &Settings,
        executor: Arc<Executor<'static>>,
    ) -> Self {
        let commands = Commands { registry: Arc::new(registry), policy };
        let current = Arc::new(Current(RwLock::new(Arc::new(commands))));
        let agent = Agent::new(settings, Box::new(Listing(current.clone())), executor);
        Self { current, agent: Arc::new(agent) }
    }

    /// Puts another policy in force, for requests that begin from here on.
    pub fn set_policy(&self, policy: Policy) {
        let registry = self.current.get().registry.clone();
        self.current.set(Commands { registry, policy });
    }

    /// The agent's state.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Runs a request; `None` if it succeeded and its success is not answered.
    pub async fn serve(&self, caller: &Caller, request: Request) -> Option<Response> {
        let Request { id, command, arguments } = request;
        let current = self.current.get();
        // An unknown command is told before a disabled one, as qemu-ga does.
        let Some(slot) = current.registry.find(&command) else {
            let desc = format!("The command {command} has not been found");
            return Some(Response::error(id, Error::not_found(desc)));
        };
        let frozen = self.agent.freeze.is_frozen();
        let verdict = current.policy.verdict(slot, caller, frozen);
        if !verdict.is_allowed() {
            tracing::info!(command, ?caller, "refused");
            let desc = format!("Command {command} has been disabled: the command is not allowed");
            return Some(Response::error(id, Error::not_found(desc)));
        }
        tracing::debug!(command, ?caller, "called");
        let cx =
            Context { agent: self.agent.clone(), caller: caller.clone(), limits: verdict.limits.clone() };
        let outcome = AssertUnwindSafe(slot.call(&cx, arguments)).catch_unwind().await;
        let result = outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().copied();
            let text =
                text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
            tracing::error!(command, text, "the command panicked");
            Err(Error::generic(format!("{command} failed by a fault of the agent; its log says more")))
        });
        if let Err(error) = &result {
            // Not the text: it may quote an argument.
            tracing::debug!(command, class = error.class.as_str(), "failed");
        } else if !slot.flags.replies {
            return None;
        }
        Some(Response::new(id, slot.flags.delimited, result))
    }
}
