//! Why a call of a component did not end well, in words that name the limit to change.

use std::fmt;
use std::time::Duration;

use wasmtime::Trap;

use super::call::{Call, Ended};
use super::state::Unusable;
use crate::config::{CallLimits, size};

/// What the engine says when more is passed than the fuel for it lets pass.
const TOO_MUCH: &str = "too much data is being copied between the host and the guest";

/// Why a call ended that was not the component's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It computed for too long.
    Cpu,
    /// It, or the waiting for it, lasted too long.
    Time,
    /// It wanted more memory, and ended when it got none.
    Memory(String),
    /// Arguments of so many bytes.
    Arguments(usize),
    /// A result that is larger than it may be.
    Result,
    /// What it passed in one call of the agent is larger than it may be.
    Passed,
    /// It called the agent too often.
    HostCalls,
    /// It recursed too deeply.
    Stack,
    /// It did what ends a component: the engine's word for that.
    Trap(String),
    /// It called for its own end.
    Exit,
    /// What it answered is no answer, for this reason.
    Answer(&'static str),
    /// What it answered is not what clients expect of the command that it is laid over.
    Breach(String),
    /// What it changed was not kept, for this reason.
    Unkept(String),
    /// The agent's own fault.
    Agent(String),
}

impl Failure {
    /// What the engine's error means.
    pub(super) fn of(error: &wasmtime::Error, call: &Call) -> Self {
        if let Some(ended) = error.downcast_ref::<Ended>() {
            return match ended {
                Ended::HostCalls => Self::HostCalls,
                Ended::Exit => Self::Exit,
            };
        }
        if let Some(Unusable(reason)) = error.downcast_ref() {
            return Self::Agent(format!("cannot be told its state: {reason}"));
        }
        if call.exceeded {
            return Self::HostCalls;
        }
        let text = || {
            let text = error.root_cause().to_string();
            text.strip_prefix("wasm trap: ").map(str::to_owned).unwrap_or(text)
        };
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Cpu,
            Some(Trap::StackOverflow) => Self::Stack,
            _ if call.denied => Self::Memory(text()),
            Some(_) => Self::Trap(text()),
            None if error.root_cause().to_string().contains(TOO_MUCH) => Self::Passed,
            None => Self::Trap(text()),
        }
    }

    /// The text for the peer, without the extension's name.
    pub fn text(&self, limits: &CallLimits) -> String {
        let limit = |key: &str, value: &dyn fmt::Display| format!("(limits.{key} = \"{value}\")");
        match self {
            Self::Cpu => {
                format!("used up the CPU time of a call {}", limit("cpu", &time(limits.cpu)))
            }
            Self::Time => format!("did not answer in time {}", limit("time", &time(limits.time))),
            Self::Memory(trap) => {
                format!(
                    "ended when it got no more memory {}: {trap}",
                    limit("memory", &size::format(limits.memory))
                )
            }
            Self::Arguments(bytes) => format!(
                "does not take arguments of {bytes} bytes {}",
                limit("message", &size::format(limits.message))
            ),
            Self::Result => {
                format!(
                    "answered more than a message may hold {}",
                    limit("message", &size::format(limits.message))
                )
            }
            Self::Passed => format!(
                "passed more to the agent than a message may hold {}",
                limit("message", &size::format(limits.message))
            ),
            Self::HostCalls => {
                format!("called the agent too often (limits.host-calls = {})", limits.host_calls)
            }
            Self::Stack => "recursed too deeply ([extensions] stack)".into(),
            Self::Trap(trap) => format!("failed: {trap}"),
            Self::Exit => "ended itself instead of answering".into(),
            Self::Answer(reason) => format!("gave no valid answer: {reason}"),
            Self::Breach(reason) => format!("gave no valid answer in the place of the agent's own: {reason}"),
            Self::Unkept(reason) => format!("did not keep what it changed: {reason}"),
            Self::Agent(reason) => reason.clone(),
        }
    }
}

/// A time as a configuration spells it.
fn time(time: Duration) -> impl fmt::Display {
    humantime::format_duration(time)
}
