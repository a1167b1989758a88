//! Extensions: WebAssembly components that add commands, each in a sandbox that holds only what the operator granted.

pub mod answer;
mod artifact;
mod asks;
pub mod cache;
mod call;
mod clock;
pub mod compile;
pub mod compiled;
mod contract;
pub mod description;
pub mod digest;
pub mod engine;
pub mod failure;
pub mod files;
mod folder;
mod grants;
mod handle;
mod health;
mod hooks;
mod imports;
mod log;
mod meter;
pub mod module;
mod names;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
pub mod reach;
pub mod reflect;
mod runtime;
pub mod sandbox;
mod schema;
pub mod scripts;
mod set;
pub mod shape;
mod source;
mod stacks;
pub mod state;
mod unit;
pub mod values;

pub use call::Grant;
pub use handle::Handle;
pub use imports::{Standing, standing};
pub use reach::Commands;
pub use set::Extensions;
