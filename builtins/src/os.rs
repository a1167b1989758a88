//! What the guest runs: its operating system, its host name.

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[];
