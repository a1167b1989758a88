//! What a caller may do within the commands that it may call: which programs it may start, and which files it may open.
//!
//! The configuration is read elsewhere; the rules themselves stand beside what they limit, in [`exec`] and [`file`].

use std::sync::Arc;

use crate::{exec, file};

/// The limits of one caller. The default is none, as with qemu-ga.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Set where a channel may do less than others: its open files and exec records are then its own (and of others with the same
    /// name here), and it sees no others'. `None`: shared, as with qemu-ga.
    pub owner: Option<Arc<str>>,
    /// Each layer (a file of the configuration, a channel's table) must admit a program; empty: no limit.
    pub exec: Vec<exec::Rules>,
    /// Each layer must admit an opening; empty: no limit.
    pub file: Vec<file::Places>,
}
