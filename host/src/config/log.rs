//! Where the log and the audit go.

use std::path::PathBuf;

/// What takes lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Target {
    /// The journal when standard error is connected to it, standard error otherwise.
    #[default]
    Auto,
    /// Standard error.
    Stderr,
    /// A file, appended to; opened again at SIGHUP.
    File(PathBuf),
    /// The system's syslog, through `/dev/log`.
    Syslog,
    /// systemd's journal, through its own socket.
    Journal,
}

/// `[log]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Where lines go.
    pub target: Target,
    /// Whether everything is logged, not only errors.
    pub verbose: bool,
}

/// `[audit]`: one line of JSON for each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Where lines go.
    pub target: Target,
}
