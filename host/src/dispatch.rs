//! One request to at most one response: look the command up, ask policy, run it behind a fence.
//!
//! The only call site of policy, and of providers. It names no command. A panic in a command becomes an error reply: an agent that
//! dies while filesystems are frozen cannot thaw them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use smol::Executor;
use smol::future::FutureExt;
use waga_builtins::{Agent, Caller, Catalogue, CommandInfo, Context, Error, Limits, Settings};

use crate::policy::{Policy, Verdict};
use crate::registry::Registry;
use crate::wire::{Request, Response};

/// Serves requests of every channel; shared by all of them.
#[derive(Debug)]
pub struct Dispatcher {
    commands: Arc<Commands>,
    agent: Arc<Agent>,
    /// What callers may do within commands.
    limits: Arc<Limits>,
}

/// What there is and what is allowed: what a reload will swap as one.
#[derive(Debug)]
struct Commands {
    registry: Registry,
    policy: Policy,
}

/// The commands, as `guest-info` asks for them.
struct Listing(Arc<Commands>);

impl Catalogue for Listing {
    /// In reverse order of registration, as qemu-ga lists them.
    fn commands(&self, caller: &Caller, frozen: bool) -> Vec<CommandInfo> {
        let info = |slot: &crate::registry::Slot| CommandInfo {
            enabled: self.0.policy.verdict(slot, caller, frozen) == Verdict::Allowed,
            name: slot.name.clone(),
            success_response: slot.flags.replies,
        };
        self.0.registry.slots().iter().rev().map(info).collect()
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
        let commands = Arc::new(Commands { registry, policy });
        let agent = Agent::new(settings, Box::new(Listing(commands.clone())), executor);
        Self { commands, agent: Arc::new(agent), limits: Arc::default() }
    }

    /// The agent's state.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Runs a request; `None` if it succeeded and its success is not answered.
    pub async fn serve(&self, caller: &Caller, request: Request) -> Option<Response> {
        let Request { id, command, arguments } = request;
        // An unknown command is told before a disabled one, as qemu-ga does.
        let Some(slot) = self.commands.registry.find(&command) else {
            let desc = format!("The command {command} has not been found");
            return Some(Response::error(id, Error::not_found(desc)));
        };
        let frozen = self.agent.freeze.is_frozen();
        if self.commands.policy.verdict(slot, caller, frozen) == Verdict::Disabled {
            tracing::info!(command, ?caller, "refused");
            let desc = format!("Command {command} has been disabled: the command is not allowed");
            return Some(Response::error(id, Error::not_found(desc)));
        }
        tracing::debug!(command, ?caller, "called");
        let cx = Context { agent: self.agent.clone(), caller: caller.clone(), limits: self.limits.clone() };
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
