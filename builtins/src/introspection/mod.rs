//! What the agent tells of itself: its commands' schemas, and how it fares.

mod schema;
mod stats;

pub use schema::{CommandSchema, Json};
pub use stats::{ChannelStats, CommandStats, ServerStats};

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] =
    &[Builtin::of::<schema::WagaGetSchema>(), Builtin::of::<stats::WagaGetStats>()];
