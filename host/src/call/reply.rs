//! One line of the agent, understood: what a command returned, or its error.
//!
//! What was returned stays the text that the agent sent. A value of our own would lose the order of members, and the digits of numbers.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::{Error, tame};

/// What stands before the reply to `guest-sync-delimited`, and in no valid text.
pub(super) const SENTINEL: u8 = 0xff;

/// A reply.
#[derive(Debug)]
pub(super) enum Reply<'a> {
    /// The command succeeded with this value, as it was spelt.
    Return(&'a RawValue),
    /// The command failed.
    Error(Failure),
}

/// An error reply.
#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) class: String,
    pub(super) desc: String,
}

impl Failure {
    /// Whether it says that this command does not exist or is switched off.
    pub(super) fn refuses(&self, command: &str) -> bool {
        // The second class is that of old agents.
        matches!(&*self.class, "CommandNotFound" | "CommandDisabled")
            && self.desc.split([' ', ':', '\'']).any(|word| word == command)
    }
}

#[derive(Deserialize)]
struct Members<'a> {
    // Not an `Option` of what is returned, in which a `null` would be as good as nothing.
    #[serde(default, rename = "return", borrow, deserialize_with = "present")]
    returned: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Failure>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Reply<'a> {
    /// Understands a line; `None` if it is not a reply. What stands before a sentinel is the rest of something else.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let start = memchr::memrchr(SENTINEL, line).map_or(0, |place| place + 1);
        let text = line[start..].trim_ascii();
        // An array could stand for the members, to serde.
        if !text.starts_with(b"{") {
            return None;
        }
        match serde_json::from_slice(text).ok()? {
            Members { returned: Some(value), error: None } => Some(Self::Return(value)),
            Members { returned: None, error: Some(failure) } => Some(Self::Error(failure)),
            _ => None,
        }
    }
}

/// What `command` returned, of the line that answers it.
///
/// # Errors
/// The agent's own error, or that this is no reply.
pub(super) fn returned<'a>(command: &str, line: &'a [u8]) -> Result<&'a RawValue, Error> {
    match Reply::read(line) {
        Some(Reply::Return(value)) => Ok(value),
        Some(Reply::Error(Failure { class, desc })) => {
            Err(Error::Agent { command: command.to_owned(), class: Some(class), desc })
        }
        None => {
            let shown = String::from_utf8_lossy(&line[..line.len().min(200)]);
            Err(Error::Transport(format!("{command}: what came is not a reply: {}", tame(&shown))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_from_the_rest() {
        let shown = |line: &[u8]| match Reply::read(line) {
            Some(Reply::Return(value)) => format!("return {value}"),
            Some(Reply::Error(Failure { class, desc })) => format!("error {class}: {desc}"),
            None => "nothing".to_owned(),
        };
        for (line, expected) in [
            (
                &b"{\"return\": {\"b\": 1e400, \"a\": 18446744073709551615}}"[..],
                "return {\"b\": 1e400, \"a\": 18446744073709551615}",
            ),
            (b"{\"return\": null}\r", "return null"),
            (b"{\"return\": 1, \"id\": [2]}", "return 1"),
            (b"{\"retu\xff\xff{\"return\": 1}", "return 1"),
            (
                b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\", \"data\": {}}}",
                "error GenericError: no",
            ),
            (b"{\"return\": 1}\xff", "nothing"),
            (b"{\"return\": 1, \"error\": {\"class\": \"c\", \"desc\": \"d\"}}", "nothing"),
            (b"{\"error\": {}}", "nothing"),
            (b"{\"event\": \"x\"}", "nothing"),
            (b"{\"return\": 1}{\"return\": 1}", "nothing"),
            (b"[1]", "nothing"),
            (b"{\"return\": \"\xfe\"}", "nothing"),
            (b"", "nothing"),
        ] {
            assert_eq!(shown(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_refusal_names_the_command() {
        let refuses = |class: &str, desc: &str, command| {
            Failure { class: class.to_owned(), desc: desc.to_owned() }.refuses(command)
        };
        for desc in [
            "The command guest-sync has not been found",
            "Command guest-sync has been disabled",
            "Command guest-sync has been disabled: the command is not allowed",
        ] {
            assert!(refuses("CommandNotFound", desc, "guest-sync"), "{desc}");
            assert!(!refuses("GenericError", desc, "guest-sync"), "{desc}");
            assert!(!refuses("CommandNotFound", desc, "guest-sync-delimited"), "{desc}");
        }
    }
}
