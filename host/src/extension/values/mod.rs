//! JSON ⇄ the values of a component, by [`Shape`]. The table of what becomes what is at [`Shape`] itself.
//!
//! Both directions know no component and no engine, so they can be fuzzed; both stop at what a message may cost, and neither goes deeper
//! than a shape does.

mod read;
mod write;

pub use read::{Budget, arguments};
pub use write::{Unspelt, value as write};

#[cfg(test)]
mod tests;
