//! What is known of commands: by the agent that is asked, and by this program. For the manual, and for hints.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::arguments::Arguments;
use super::ask::ask;
use super::deadline::Deadline;
use super::error::Error;
use super::options::Place;
use super::reply;
use super::request::Request;

/// What a command takes and gives, as `waga-get-schema` tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Schema {
    #[serde(default)]
    pub(super) name: String,
    pub(super) docs: Option<String>,
    pub(super) arguments: Value,
    pub(super) result: Value,
    /// The extension that adds it.
    pub(super) extension: Option<String>,
    /// What the schemas do not say.
    pub(super) note: Option<String>,
}

/// What the agent says of a command.
///
/// # Errors
/// That it does not: it has no `waga-get-schema`, or no such command; it cannot be reached; what it says is something else.
pub(super) fn of_agent(place: &Place, command: &str, deadline: Deadline) -> Result<Schema, Error> {
    const ASKED: &str = "waga-get-schema";
    let arguments = Arguments::one("command", command);
    let schemas: Vec<Schema> = returned(place, &Request::new(ASKED, Some(&arguments))?, deadline)?;
    let found = schemas.into_iter().find(|schema| schema.name == command);
    found.ok_or_else(|| Error::Transport(format!("{ASKED}: it told of other commands")))
}

/// The names of the commands that the agent has, whether they are on or not.
///
/// # Errors
/// That it does not say.
pub(super) fn names_of_agent(place: &Place, deadline: Deadline) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Info {
        supported_commands: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
    }
    let info: Info = returned(place, &Request::new("guest-info", None)?, deadline)?;
    Ok(info.supported_commands.into_iter().map(|entry| entry.name).collect())
}

/// What this program knows of a command.
pub(super) fn of_ours(command: &str) -> Option<Schema> {
    // Of each no more is read than where it ends.
    let all: HashMap<&str, &RawValue> = serde_json::from_str(waga_wit::SCHEMA).unwrap_or_default();
    let schema: Schema = serde_json::from_str(all.get(command)?.get()).ok()?;
    Some(Schema { name: command.to_owned(), ..schema })
}

/// The names of the commands that this program knows.
pub(super) fn our_names() -> Vec<String> {
    let all: HashMap<String, IgnoredAny> = serde_json::from_str(waga_wit::SCHEMA).unwrap_or_default();
    all.into_keys().collect()
}

/// What a command returns, understood.
fn returned<T: for<'de> Deserialize<'de>>(
    place: &Place,
    request: &Request,
    deadline: Deadline,
) -> Result<T, Error> {
    let command = request.command();
    let line = ask(place, request, deadline)?.unwrap_or_default();
    let value = reply::returned(command, &line)?;
    serde_json::from_str(value.get())
        .map_err(|error| Error::Transport(format!("{command}: not what it should be: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_knows_its_own() {
        let schema = of_ours("guest-sync").unwrap();
        assert_eq!((&*schema.name, &schema.arguments["required"][0]), ("guest-sync", &"id".into()));
        assert!(of_ours("guest-acme-x").is_none());
        assert!(our_names().len() > 40 && our_names().iter().any(|name| name == "guest-sync"));
    }
}
