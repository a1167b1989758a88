//! JSON ⇄ the values of a component, by [`Shape`]. The table of what becomes what is at [`Shape`] itself.
//!
//! Both directions know no component and no engine, so they can be fuzzed; both stop at what a message may cost, and neither goes deeper
//! than a shape does.

mod read;
mod write;

pub use read::{Budget, arguments, result};
pub use write::{Unspelt, value as write};

/// How much more memory a message may take as values than as bytes.
pub(super) const AS_VALUES: usize = 10;

#[cfg(test)]
mod tests;
