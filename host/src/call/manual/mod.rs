//! `waga call --help COMMAND`: what a command takes and returns, as the agent that is asked says, else as this program knows it.

mod page;
mod sample;
mod types;

use serde_json::Value;

use super::deadline::Deadline;
use super::error::{Error, tame};
use super::known;
use super::options::{About, Place};
use crate::nearest::nearest_command;

/// The page about a command.
///
/// # Errors
/// That there is no such command, with the one that was probably meant.
pub(super) fn of(about: &About) -> Result<String, Error> {
    let About { command, place, timeout } = about;
    let Some(asked) = place else {
        let reason = "none was named by --socket, --vsock or --domain";
        return ours(command, None, reason);
    };
    let deadline = Deadline::after(*timeout);
    let error = match known::of_agent(asked, command, deadline) {
        Ok(schema) => return Ok(page::text(&schema, place.as_ref(), None)),
        Err(error) => error,
    };
    // Whatever it says in words (libvirt loses the class), its list tells whether it has the command.
    if matches!(error, Error::Agent { .. })
        && let Ok(names) = known::names_of_agent(asked, deadline)
    {
        if !names.contains(command) {
            return Err(unknown("the agent has no command", command, &names, ""));
        }
        if known::of_ours(command).is_none() {
            let text = format!("{command}: the agent has it and does not say what it takes ({error})");
            return Err(Error::Transport(text));
        }
    }
    ours(command, place.as_ref(), &error.to_string())
}

/// The page as this program has it.
fn ours(command: &str, place: Option<&Place>, reason: &str) -> Result<String, Error> {
    match known::of_ours(command) {
        Some(schema) => Ok(page::text(&schema, place, Some(reason))),
        None => {
            let reason = format!(" (the agent did not say: {reason})");
            Err(unknown("this waga knows no command", command, &known::our_names(), &reason))
        }
    }
}

fn unknown(who: &str, command: &str, names: &[String], reason: &str) -> Error {
    let meant = nearest_command(command, names.iter().map(String::as_str));
    let meant = meant.map(|name| format!("; did you mean '{}'?", tame(name))).unwrap_or_default();
    Error::Usage(format!("{who} '{command}'{meant}{}", tame(reason)))
}

/// The type that a schema names, and its schema; a schema without a name is its own.
///
/// What an agent says of itself need not make sense: a name may lead to itself, or nowhere.
fn named<'a>(root: &'a Value, mut schema: &'a Value) -> (Option<&'a str>, &'a Value) {
    let mut first = None;
    for _ in 0..16 {
        let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) else {
            return (first, schema);
        };
        first.get_or_insert(name);
        schema = &root["$defs"][name];
    }
    (first, &Value::Null)
}
