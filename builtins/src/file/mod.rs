//! Files that the host opens, reads and writes.

use std::path::Path;

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] = &[];

/// The open files.
#[derive(Debug)]
pub struct Files {}

impl Files {
    /// No file open yet; the counter of handles goes on from the state kept in `state_dir`.
    pub fn new(_state_dir: &Path) -> Self {
        Self {}
    }
}
