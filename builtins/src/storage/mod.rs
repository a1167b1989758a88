//! Filesystems and disks.

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[];

/// Questions to mounted filesystems that are still unanswered: at most one of each, so that a dead device holds one thread.
#[derive(Debug, Default)]
pub struct Probes {}
