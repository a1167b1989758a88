//! What a command of the agent takes and gives, by the schema: an extension that is laid over it has to keep to that, for clients do not
//! know that it is there.

mod fits;
mod holds;

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::description::{Kind, Signature};
use crate::config::Extension;
use crate::extension::description::Description;

/// The schema of one command.
#[derive(Debug)]
pub(super) struct Contract {
    arguments: Value,
    result: Value,
}

impl Contract {
    /// That of a command, if it is one of the agent's.
    pub(super) fn of(command: &str) -> Option<Self> {
        // Of the others no more is read than where they end.
        let all: HashMap<&str, &RawValue> = serde_json::from_str(waga_wit::SCHEMA).ok()?;
        let mut schema: Value = serde_json::from_str(all.get(command)?.get()).ok()?;
        Some(Self { arguments: schema["arguments"].take(), result: schema["result"].take() })
    }

    /// Why a function cannot take the place of the command.
    pub(super) fn misfit(&self, signature: &Signature) -> Option<String> {
        let takes = fits::takes(&signature.params, &self.arguments);
        takes.and_then(|()| fits::gives(signature.result.as_ref(), &self.result)).err()
    }

    /// What is wrong with checked JSON as its result.
    pub(super) fn breach(&self, result: &[u8]) -> Option<String> {
        holds::holds(result, &self.result, &self.result, "").err()
    }
}

/// Which functions of a component cannot be laid over what the configuration says, and why.
pub(super) fn misfits(extension: &Extension, description: &Description) -> HashMap<String, String> {
    let laid = extension.overrides.iter().chain(&extension.wraps);
    let misfit = |name: &str| {
        let command = description.commands.iter().find(|command| command.name == name)?;
        let Kind::Typed(signature) = &command.kind else { return None };
        Some((name.to_owned(), Contract::of(name)?.misfit(signature)?))
    };
    laid.filter_map(|(name, _)| misfit(name)).collect()
}

/// What a reference of a schema stands for.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|path| path.strip_prefix('#')) {
        Some(path) => root.pointer(path).unwrap_or(&Value::Null),
        None => schema,
    }
}

#[cfg(test)]
mod tests;
