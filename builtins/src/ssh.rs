//! The keys that open the guest's accounts over ssh.

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[];
