//! Who is logged in.

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[];
