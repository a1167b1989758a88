//! What `waga check` says of extensions: what each would provide, what it asks for, and what of that it was not granted.

use std::sync::Arc;

use serde_json::{Value, json};
use waga_builtins::{Caller, ExtensionInfo, ExtensionMode, ExtensionState};

use crate::config::command_name::is_command;
use crate::config::{Config, OnFailure};
use crate::policy::{Origin, Policy, Reason};
use crate::registry::Registry;

/// One thing that a component imports, or exports for the agent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ask {
    /// The interface.
    pub(crate) import: String,
    /// The keys that grant it; none for what any extension may have, or none may.
    pub(crate) key: Option<String>,
    pub(crate) answer: Answer,
}

/// What the configuration says to it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "extensions"), expect(dead_code, reason = "nobody asks"))]
pub(crate) enum Answer {
    /// Any extension may have it.
    Free,
    /// It is granted, by what stands there.
    Granted(Vec<Origin>),
    /// It is not, for this reason, which has the line that would grant it, if one would.
    Refused(String),
    /// It is an export that is not called, without the line that is here.
    Idle(String),
}

/// One extension as it would be.
#[derive(Debug)]
pub(super) struct Told {
    info: ExtensionInfo,
    asks: Vec<Ask>,
}

/// Each, in the order of the configuration.
pub(super) fn told(registry: &Registry) -> Vec<Told> {
    let asks = registry.asks().into_iter().map(Some).chain(std::iter::repeat(None));
    let told = |(info, asks): (ExtensionInfo, Option<_>)| Told { info, asks: asks.unwrap_or_default() };
    registry.extensions().into_iter().zip(asks).map(told).collect()
}

impl Told {
    /// Lines for people.
    pub(super) fn text(&self) -> String {
        let name = &self.info.name;
        let is_refused = self.asks.iter().any(|ask| matches!(ask.answer, Answer::Refused(_)));
        let state = match (self.info.state, &self.info.reason) {
            (ExtensionState::Starting, _) => {
                "is compiled when the agent starts, and what it provides known then".into()
            }
            (ExtensionState::Refused, _) if is_refused => "off: it is not granted what it asks for".into(),
            (_, Some(reason)) => format!("off: {reason}"),
            (_, None) if self.info.commands.is_empty() && self.info.freeze_hooks == Some(true) => {
                "is told of freezing and thawing".into()
            }
            (_, None) if self.info.commands.is_empty() => "provides nothing".into(),
            (_, None) => "can be called".to_owned(),
        };
        let mut text = format!("extension {name} ({}): {state}\n", self.info.source);
        for command in &self.info.commands {
            let verb = verb(command.mode);
            text += &match &command.reason {
                None => format!("extension {name}: {verb}s {}\n", command.name),
                reason if *reason == self.info.reason || self.info.state == ExtensionState::Starting => {
                    format!("extension {name}: would {verb} {}\n", command.name)
                }
                Some(reason) => {
                    format!("extension {name}: does not {verb} {}: {reason}\n", command.name)
                }
            };
        }
        for fault in &self.info.faults {
            text += &format!("extension {name}: does not use {fault}\n");
        }
        let mut free = Vec::new();
        for Ask { import, key, answer } in &self.asks {
            let key = key.as_ref().map(|key| format!(" ({key})")).unwrap_or_default();
            match answer {
                Answer::Free => free.push(import.as_str()),
                Answer::Granted(origins) => {
                    let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
                    let by = origins.join(", ");
                    text += &format!("extension {name}: asks for {import}{key}, granted by {by}\n");
                }
                Answer::Idle(line) => {
                    text += &format!("extension {name}: has {import}{key}, which is not called; {line}\n");
                }
                Answer::Refused(reason) => {
                    text += &format!("extension {name}: asks for {import}{key}, {reason}\n");
                }
            }
        }
        if !free.is_empty() {
            text += &format!("extension {name}: uses {}, which any extension may\n", free.join(", "));
        }
        text
    }

    /// The same for programs: what `waga-get-extensions` would tell, and what it asks for.
    pub(super) fn json(&self) -> Value {
        let ask = |ask: &Ask| {
            let (answer, granted_by, reason) = match &ask.answer {
                Answer::Free => ("free", Vec::new(), None),
                Answer::Granted(origins) => ("granted", origins.iter().map(super::place).collect(), None),
                Answer::Refused(reason) => ("refused", Vec::new(), Some(reason)),
                Answer::Idle(line) => ("not-called", Vec::new(), Some(line)),
            };
            json!({"import": ask.import, "key": ask.key, "answer": answer, "granted-by": granted_by, "reason": reason})
        };
        let mut told = serde_json::to_value(&self.info).unwrap_or_default();
        told["asks"] = self.asks.iter().map(ask).collect();
        told
    }
}

fn verb(mode: ExtensionMode) -> &'static str {
    match mode {
        ExtensionMode::Add => "add",
        ExtensionMode::Override => "override",
        ExtensionMode::Wrap => "wrap",
    }
}

/// Wraps that whoever asks can have gone past. No fault, and so not told by the log: what is not there to restrict may well be served so.
pub(super) fn evadable(config: &Config) -> impl Iterator<Item = String> {
    let wraps = config.extensions.list.iter().filter(|it| it.on_failure == OnFailure::BuiltinAlways);
    wraps.filter_map(|extension| {
        let (_, origin) = extension.wraps.first()?;
        Some(format!(
            "{origin}: on-failure = \"builtin-always\" lets whoever can make {} fail, by what they send or how often, have what is below it; \
             if it is there to restrict, say \"builtin\", which covers only what could not be loaded, or nothing",
            extension.name
        ))
    })
}

/// Grants that come to nothing: of commands that are blocked, for block lists hold for extensions too, and of commands that there are not.
pub(crate) fn idle_grants(policy: &Policy, config: &Config, registry: &Registry) -> Vec<String> {
    let mut warnings = Vec::new();
    for extension in &config.extensions.list {
        let nobody = Caller::Channel("".into());
        let caller = Caller::Extension(extension.name.clone(), Arc::new(nobody));
        for (command, granted) in &extension.commands {
            let Some(slot) = registry.find(command) else {
                if !(registry.is_settling() && is_command(command)) {
                    warnings.push(format!("{granted}: no command is called '{command}'"));
                }
                continue;
            };
            if let Reason::Blocked(origin) = policy.verdict(slot, &caller, false).reason {
                warnings.push(format!(
                    "{granted}: {command} is granted and blocked, in {origin}: the extension's calls of it fail"
                ));
            }
        }
    }
    warnings
}
