//! Extensions: WebAssembly components that add commands, each in a sandbox that holds only what the operator granted.

mod call;
mod clock;
pub mod description;
pub mod engine;
pub mod failure;
mod imports;
mod log;
mod meter;
mod names;
pub mod reflect;
pub mod sandbox;
pub mod shape;
pub mod values;

pub use call::Grant;
