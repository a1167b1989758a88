//! Why a call did not succeed, in the classes that the exit code tells apart.

use std::fmt::{self, Display, Formatter};

/// The end of a call that did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// The agent answered with an error.
    Agent {
        /// The command that failed.
        command: String,
        /// QAPI's class. Unknown through libvirt, which keeps it to itself.
        class: Option<String>,
        /// What the agent says about it.
        desc: String,
    },
    /// The words of the command line make no sense.
    Usage(String),
    /// The agent could not be reached, or what came was no answer.
    Transport(String),
    /// The time was over first.
    Timeout(String),
}

impl Error {
    /// The program's exit code; 0 is success.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Agent { .. } => 1,
            Self::Usage(_) => 2,
            Self::Transport(_) => 3,
            Self::Timeout(_) => 4,
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { command, class, desc } => {
                write!(f, "{command}: ")?;
                if let Some(class) = class {
                    write!(f, "{}: ", tame(class))?;
                }
                f.write_str(&tame(desc))
            }
            Self::Usage(text) => write!(f, "{text}\nFor more information, try 'waga call --help'."),
            Self::Transport(text) | Self::Timeout(text) => f.write_str(&tame(text)),
        }
    }
}

impl std::error::Error for Error {}

/// A guest's text on one line: a terminal must not take orders from a guest, so its control characters are escaped.
pub(super) fn tame(text: &str) -> String {
    let mut tame = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            tame.extend(letter.escape_default());
        } else {
            tame.push(letter);
        }
    }
    tame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_stays_text() {
        let error = |class: Option<&str>, desc: &str| {
            let class = class.map(str::to_owned);
            Error::Agent { command: "guest-foo".to_owned(), class, desc: desc.to_owned() }.to_string()
        };
        let desc = "The command guest-foo has not been found";
        assert_eq!(error(Some("CommandNotFound"), desc), format!("guest-foo: CommandNotFound: {desc}"));
        assert_eq!(error(None, desc), format!("guest-foo: {desc}"));
        assert_eq!(error(None, "a\x1b[2J\nb\u{9b}ü"), "guest-foo: a\\u{1b}[2J\\nb\\u{9b}ü");
    }
}
