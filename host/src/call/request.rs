//! What is sent: a command with its arguments, as one line.

use super::arguments::Arguments;
use super::error::Error;

/// Commands that do not answer when they succeed (in QAPI: `success-response` is false).
const SILENT: [&str; 4] =
    ["guest-shutdown", "guest-suspend-disk", "guest-suspend-hybrid", "guest-suspend-ram"];

/// A command and its arguments.
#[derive(Debug)]
pub(super) struct Request {
    command: String,
    text: String,
}

impl Request {
    /// A command; without arguments it is sent without the member `arguments`.
    ///
    /// # Errors
    /// If `command` cannot be the name of a command.
    pub(super) fn new(command: &str, arguments: Option<&Arguments>) -> Result<Self, Error> {
        if command.is_empty() || command.contains(['=', '{', '"', ' ']) {
            return Err(Error::Usage(format!(
                "'{command}' is no command: its name comes before its arguments, as in \
                 'waga call --socket PATH guest-file-open path=/etc/motd'"
            )));
        }
        let name = serde_json::to_string(command).expect("a string is JSON");
        let text = match arguments {
            Some(arguments) => format!("{{\"execute\":{name},\"arguments\":{}}}", arguments.text()),
            None => format!("{{\"execute\":{name}}}"),
        };
        Ok(Self { command: command.to_owned(), text })
    }

    /// The name of the command.
    pub(super) fn command(&self) -> &str {
        &self.command
    }

    /// The request as JSON, on one line without its end.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether silence means success.
    pub(super) fn is_silent(&self) -> bool {
        is_silent(&self.command)
    }
}

/// Whether a command does not answer when it succeeds.
pub(super) fn is_silent(command: &str) -> bool {
    SILENT.contains(&command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line() {
        let text = |command| Request::new(command, None).map(|request| request.text().to_owned());
        assert_eq!(text("guest-ping").unwrap(), r#"{"execute":"guest-ping"}"#);
        assert_eq!(text("it's\n\\").unwrap(), r#"{"execute":"it's\n\\"}"#);
        for wrong in ["", "path=/x", "{\"a\":1}", "guest-ping x"] {
            let Err(Error::Usage(text)) = text(wrong) else { panic!("{wrong:?} is taken") };
            assert!(text.starts_with(&format!("'{wrong}' is no command")), "{text}");
        }
        assert!(Request::new("guest-suspend-ram", None).unwrap().is_silent());
        assert!(!Request::new("guest-ping", None).unwrap().is_silent());
    }
}
