//! Processors: which are on, how busy they are, the load.

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[];
