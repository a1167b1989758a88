//! Freezing of filesystems; so far the question whether they are.

use serde::Serialize;

use crate::command::{Builtin, Command, Empty};
use crate::context::Context;
use crate::error::Result;

pub(crate) const COMMANDS: &[Builtin] = &[Builtin::of::<GuestFsfreezeStatus>()];

/// Tells whether the agent has filesystems frozen: its own state, as with qemu-ga, for the kernel cannot be asked.
struct GuestFsfreezeStatus;

/// The states of the schema.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Thawed,
    Frozen,
}

impl Command for GuestFsfreezeStatus {
    const NAME: &'static str = "guest-fsfreeze-status";
    const WHILE_FROZEN: bool = true;
    type Args = Empty;
    type Return = Status;

    async fn run(cx: &Context, _: Empty) -> Result<Status> {
        Ok(if cx.agent.freeze.is_frozen() { Status::Frozen } else { Status::Thawed })
    }
}
