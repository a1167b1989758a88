//! The commands of freezing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use serde::{Deserialize, Serialize};

use super::freezing;
use super::report::{By, Report};
use super::state::Freeze;
use crate::command::{Builtin, Command, Empty, WhileFrozen};
use crate::context::Context;
use crate::error::{Error, Result};

pub(crate) const COMMANDS: &[Builtin] = &[
    Builtin::of::<GuestFsfreezeStatus>(),
    Builtin::of::<GuestFsfreezeFreeze>(),
    Builtin::of::<GuestFsfreezeFreezeList>(),
    Builtin::of::<GuestFsfreezeThaw>(),
    Builtin::of::<WagaGetFreezeReport>(),
];

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
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::Always;
    type Args = Empty;
    type Return = Status;

    async fn run(cx: &Context, _: Empty) -> Result<Status> {
        Ok(if cx.agent.freeze.is_frozen() { Status::Frozen } else { Status::Thawed })
    }
}

/// Freezes all filesystems on block devices, and tells how many.
struct GuestFsfreezeFreeze;

impl Command for GuestFsfreezeFreeze {
    const NAME: &'static str = "guest-fsfreeze-freeze";
    type Args = Empty;
    type Return = i64;

    async fn run(cx: &Context, _: Empty) -> Result<i64> {
        freeze(cx, None).await
    }
}

/// Freezes the filesystems with these mount points, or all without a list. As with qemu-ga, what names none is passed over.
struct GuestFsfreezeFreezeList;

/// The arguments of [`GuestFsfreezeFreezeList`].
#[derive(Debug, Deserialize)]
pub(crate) struct FreezeList {
    mountpoints: Option<Vec<String>>,
}

impl Command for GuestFsfreezeFreezeList {
    const NAME: &'static str = "guest-fsfreeze-freeze-list";
    const AUDITED: &'static [&'static str] = &["mountpoints"];
    type Args = FreezeList;
    type Return = i64;

    async fn run(cx: &Context, args: FreezeList) -> Result<i64> {
        freeze(cx, args.mountpoints).await
    }
}

/// Freezes on a thread of its own, which goes on to the end whether or not the client waits for it.
async fn freeze(cx: &Context, only: freezing::Only) -> Result<i64> {
    let (done, result) = smol::channel::bounded(1);
    let agent = cx.agent.clone();
    let work = move || {
        let frozen = catch_unwind(AssertUnwindSafe(|| freezing::freeze(&agent, &only)));
        let result = frozen.unwrap_or_else(|_| {
            agent.freeze.abandon();
            drop(smol::block_on(Freeze::thaw(&agent, By::Failure, "the freeze failed".to_owned())));
            Err(Error::generic("the freeze failed by a fault of the agent; its log says more"))
        });
        drop(done.try_send(result));
    };
    let thread = thread::Builder::new().name("freeze".into()).spawn(work);
    thread.map_err(|error| Error::io("failed to start a thread", error))?;
    let lost = |_| Err(Error::generic("the freeze failed by a fault of the agent; its log says more"));
    result.recv().await.unwrap_or_else(lost)
}

/// Thaws all filesystems, also those that others froze, and tells how many.
///
/// Differs from qemu-ga: after a thaw that no host asked for it answers once with an error that says so.
struct GuestFsfreezeThaw;

impl Command for GuestFsfreezeThaw {
    const NAME: &'static str = "guest-fsfreeze-thaw";
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::Always;
    type Args = Empty;
    type Return = i64;

    async fn run(cx: &Context, _: Empty) -> Result<i64> {
        Freeze::thaw(&cx.agent, By::Host, "the host asked for it".to_owned()).await
    }
}

/// Tells what became of the last freeze: each filesystem with its times and why it was passed over, the hooks, and who thawed.
struct WagaGetFreezeReport;

impl Command for WagaGetFreezeReport {
    const NAME: &'static str = "waga-get-freeze-report";
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::On;
    type Args = Empty;
    type Return = Report;

    async fn run(cx: &Context, _: Empty) -> Result<Report> {
        Ok(cx.agent.freeze.report())
    }
}
