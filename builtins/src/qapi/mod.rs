//! The dialect of JSON that the protocol speaks: arguments read strictly with qemu-ga's error texts, replies spelt as it spells them.
//!
//! Everything here works on *checked* JSON: text the framer has found well formed, with plain double-quoted strings.

pub mod arguments;
pub mod base64;
mod fault;
mod input;
pub mod output;
mod text;

pub use arguments::Arguments;
pub use fault::{Fault, Kind, Place};
pub use output::{respell, spell};
pub use text::{contents, elements, members, shorten, unescape};
