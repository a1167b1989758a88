//! What the agent's extensions are and how they fare. What runs them is no matter of this crate: it tells through the catalogue.

use std::sync::Arc;

use serde::Serialize;

use crate::command::{Builtin, Command, Empty, WhileFrozen};
use crate::context::Context;
use crate::error::Result;

pub(crate) const COMMANDS: &[Builtin] = &[Builtin::of::<WagaGetExtensions>()];

/// Tells every extension: its state and why, what it provides, what it may do, how its calls went.
struct WagaGetExtensions;

impl Command for WagaGetExtensions {
    const NAME: &'static str = "waga-get-extensions";
    // It reads memory only.
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::On;
    type Args = Empty;
    type Return = Vec<ExtensionInfo>;

    async fn run(cx: &Context, _: Empty) -> Result<Vec<ExtensionInfo>> {
        Ok(cx.extensions())
    }
}

/// One extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExtensionInfo {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What it is now.
    pub state: ExtensionState,
    /// Why it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The file of its component, or the folder of its scripts.
    pub source: String,
    /// SHA-256 of that, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The pack that it is from, if it is from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack: Option<ExtensionPack>,
    /// `native` or `pulley`, once it is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<&'static str>,
    /// What it provides, or would.
    pub commands: Vec<ExtensionCommand>,
    /// What it was granted: the interfaces that it imports, and, each as the key's own word and what stands there, its files (`read /PATH`,
    /// `write /PATH`), programs (`exec PROGRAM ARGUMENT…`), commands (`call NAME`) and variables (`env NAME`, never their values).
    pub grants: Vec<String>,
    /// What of it is not used, each with the reason: the files of scripts that have faults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Whether its freeze hooks are called: not, if the operator does not say so. Absent: it has none, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_hooks: Option<bool>,
    /// Whether its commands may run while filesystems are frozen.
    pub while_frozen: bool,
    /// What is done where a command that it lays over another fails: `error`, `builtin` or `builtin-always`.
    pub on_failure: &'static str,
    /// What bounds a call.
    pub limits: ExtensionLimits,
    /// Calls so far.
    pub calls: u64,
    /// How many of them ended by a trap or a limit.
    pub failures: u64,
    /// Calls under way.
    pub running: u64,
    /// How the last failure was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was, in seconds of Unix time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_seconds: Option<i64>,
    /// When the last call began, in seconds of Unix time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_call_seconds: Option<i64>,
    /// Microseconds that all calls computed.
    pub cpu_us: u64,
    /// Microseconds that all calls lasted.
    pub wall_us: u64,
    /// Microseconds that the longest call lasted.
    pub max_wall_us: u64,
}

/// The pack that an extension is from. What is absent is not known, for the pack is not there, or not let run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExtensionPack {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Who publishes it, in that one's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// SHA-256, in hex, of its list of digests, which stands for all of its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// By what name the key is trusted that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// That public key, as minisign writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What an extension is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtensionState {
    /// It can be called.
    Ready,
    /// It is being compiled or loaded.
    Starting,
    /// Its file is not there; a call looks again.
    Missing,
    /// It could not be compiled or loaded for a reason that may pass; a call tries again.
    Failed,
    /// It is not let run.
    Refused,
    /// The operator has switched it off.
    Disabled,
}

/// One command of an extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExtensionCommand {
    /// Its name.
    pub name: Arc<str>,
    /// How it is provided.
    pub mode: ExtensionMode,
    /// Whether the extension provides it; policy may still keep a channel from it.
    pub enabled: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how many milliseconds it still rests after failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_ms: Option<u64>,
}

/// How an extension provides a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtensionMode {
    /// Nobody else has it.
    Add,
    /// It takes the place of another's.
    Override,
    /// It runs around another's.
    Wrap,
}

/// What bounds a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExtensionLimits {
    /// Milliseconds of CPU time.
    pub cpu_ms: u64,
    /// Milliseconds by the clock on the wall.
    pub time_ms: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of arguments, and of the result.
    pub message: u64,
    /// Calls of the agent.
    pub host_calls: u64,
    /// Calls at the same time.
    pub concurrency: u64,
    /// Bytes that it may log.
    pub log: u64,
    /// Bytes of what is kept from one call to the next.
    pub state: u64,
}
