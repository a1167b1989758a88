//! Network interfaces and routes.

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[];
