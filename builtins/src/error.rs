//! The error a command answers with: QAPI's class and description for the peer, and the cause for the log.

use std::fmt;
use std::io;

/// The two error classes that occur on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Everything that is not "no such command".
    GenericError,
    /// The command does not exist or is switched off; clients take it for "not supported here, go on".
    CommandNotFound,
}

impl ErrorClass {
    /// The class as it is spelt on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GenericError => "GenericError",
            Self::CommandNotFound => "CommandNotFound",
        }
    }
}

/// What a command failed with.
///
/// `desc` is for the peer, with qemu-ga's own wording wherever a client could have learnt it; `source` goes to the log only.
#[derive(Debug)]
pub struct Error {
    /// QAPI's class.
    pub class: ErrorClass,
    /// The text that the peer reads.
    pub desc: String,
    /// The rest of the chain, never sent.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A `GenericError` with this description.
    pub fn generic(desc: impl Into<String>) -> Self {
        Self { class: ErrorClass::GenericError, desc: desc.into(), source: None }
    }

    /// A `CommandNotFound` with this description.
    pub fn not_found(desc: impl Into<String>) -> Self {
        Self { class: ErrorClass::CommandNotFound, desc: desc.into(), source: None }
    }

    /// A `GenericError` for what the operator's policy does not let this caller do within a command that it may call; the audit log
    /// tells it from a failure. Nothing on the wire does but the description.
    pub fn refused(desc: impl Into<String>) -> Self {
        Self { class: ErrorClass::GenericError, desc: desc.into(), source: Some(Box::new(Refusal)) }
    }

    /// Whether the operator's policy said no, not the system.
    pub fn is_refusal(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is::<Refusal>())
    }

    /// A `GenericError` that reads `WHAT: TEXT`, with the text of the operating system's error, as qemu-ga spells them.
    pub fn io(what: impl fmt::Display, error: io::Error) -> Self {
        Self {
            class: ErrorClass::GenericError,
            desc: format!("{what}: {}", os_text(&error)),
            source: Some(Box::new(error)),
        }
    }
}

/// The cause of an error that is policy's doing.
#[derive(Debug)]
struct Refusal;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not allowed by policy")
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.desc)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The text of an operating system's error as `strerror` gives it: without the number that Rust adds.
pub fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rfind(" (os error ")) {
        (Some(_), Some(end)) => text[..end].to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_ordinary_error_on_the_wire_and_known_to_the_log() {
        let error = Error::refused("no");
        assert_eq!((error.class, error.desc.as_str()), (ErrorClass::GenericError, "no"));
        assert!(error.is_refusal() && !Error::generic("no").is_refusal());
        assert!(!Error::io("x", io::Error::from_raw_os_error(13)).is_refusal());
    }

    #[test]
    fn the_text_of_an_os_error_has_no_number() {
        let error = Error::io("failed to open file 'x' (mode: 'r')", io::Error::from_raw_os_error(2));
        assert_eq!(error.desc, "failed to open file 'x' (mode: 'r'): No such file or directory");
        assert_eq!(os_text(&io::Error::other("plain")), "plain");
    }
}
