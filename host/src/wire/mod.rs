//! The protocol's bytes: requests found in a stream, replies spelt into one. No I/O: it takes and gives bytes, so it can be fuzzed.
//!
//! [`Framer`] finds one JSON value after another by structure (a newline is only white space) and checks it on the way: lexical rules,
//! grammar, nesting, sizes, keys that stand twice. What it hands on is *checked* text: compact, strings in plain double quotes.

pub mod budget;
mod framer;
mod keys;
mod number;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
mod request;
mod response;
mod strings;

pub use framer::{Event, Framer};
pub use request::{Message, Request};
pub use response::Response;

/// Deepest nesting of one message, `{` and `[` together; as qemu-ga.
pub const MAX_DEPTH: usize = 1024;
/// Most tokens of one message; as qemu-ga.
pub const MAX_TOKENS: usize = 2 << 20;
/// One message's tokens together stay below this many bytes; as qemu-ga.
pub const MAX_SIZE: usize = 64 << 20;
