//! Freezing: who is told, how long it may last, what is left out.

use std::path::PathBuf;
use std::time::Duration;

use waga_builtins::fsfreeze::HOOK_TIMEOUT;

/// What is said of freezing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// The program that is told of freezing and thawing.
    pub hook: Option<PathBuf>,
    /// How long it may take each time.
    pub hook_timeout: Duration,
    /// After how long the agent thaws by itself; `None`: never.
    pub deadline: Option<Duration>,
    /// Mount points that are never frozen, with wildcards.
    pub exclude: Vec<String>,
}

impl Default for Freeze {
    fn default() -> Self {
        Self { hook: None, hook_timeout: HOOK_TIMEOUT, deadline: None, exclude: Vec::new() }
    }
}

/// What one file says of it.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) hook: Option<PathBuf>,
    pub(super) hook_timeout: Option<Duration>,
    /// `Some(None)`: off.
    pub(super) deadline: Option<Option<Duration>>,
    pub(super) exclude: Vec<String>,
}

impl Freeze {
    /// A later file's word counts; what one excludes no other includes.
    pub(super) fn add(&mut self, said: Said) {
        self.hook = said.hook.or(self.hook.take());
        self.hook_timeout = said.hook_timeout.unwrap_or(self.hook_timeout);
        self.deadline = said.deadline.unwrap_or(self.deadline);
        self.exclude.extend(said.exclude);
    }
}
