//! The guest's clock and time zone.

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[];
