//! Extensions: WebAssembly components that add commands, each in a sandbox that holds only what the operator granted.

pub mod description;
pub mod shape;
pub mod values;
