//! Memory blocks that can be switched off and on.

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[];
