//! Programs that the host starts.

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[];

/// The children, and what is known of those that ended.
#[derive(Debug, Default)]
pub struct Execs {}
