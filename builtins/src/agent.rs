//! The agent itself: sync, ping, info, and whether it is frozen.

use serde::{Deserialize, Serialize};

use crate::command::{Builtin, Command, Empty, WhileFrozen};
use crate::context::{CommandInfo, Context};
use crate::error::Result;

/// The release of QEMU whose guest agent we behave as.
pub const QEMU_VERSION: &str = "11.1.3";

pub(crate) const COMMANDS: &[Builtin] = &[
    Builtin::of::<GuestSyncDelimited>(),
    Builtin::of::<GuestSync>(),
    Builtin::of::<GuestPing>(),
    Builtin::of::<GuestInfo>(),
];

/// The arguments of both syncs.
#[derive(Debug, Deserialize)]
pub(crate) struct Sync {
    id: i64,
}

/// Returns the number it is given, after a byte 0xFF that no JSON text contains.
struct GuestSyncDelimited;

impl Command for GuestSyncDelimited {
    const NAME: &'static str = "guest-sync-delimited";
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::On;
    const DELIMITED: bool = true;
    const AUDITED: &'static [&'static str] = &["id"];
    type Args = Sync;
    type Return = i64;

    async fn run(_: &Context, args: Sync) -> Result<i64> {
        Ok(args.id)
    }
}

/// Returns the number it is given, so that a client can tell this reply from older ones.
struct GuestSync;

impl Command for GuestSync {
    const NAME: &'static str = "guest-sync";
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::On;
    const AUDITED: &'static [&'static str] = &["id"];
    type Args = Sync;
    type Return = i64;

    async fn run(_: &Context, args: Sync) -> Result<i64> {
        Ok(args.id)
    }
}

/// Replies so the host knows the agent is alive.
struct GuestPing;

impl Command for GuestPing {
    const NAME: &'static str = "guest-ping";
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::On;
    type Args = Empty;
    type Return = Empty;

    async fn run(_: &Context, _: Empty) -> Result<Empty> {
        Ok(Empty {})
    }
}

/// Tells the version that the agent behaves as, and which commands it has and allows.
struct GuestInfo;

/// The result of [`GuestInfo`]; the underscore is the schema's own.
#[derive(Debug, Serialize)]
struct Info {
    version: &'static str,
    supported_commands: Vec<CommandInfo>,
}

impl Command for GuestInfo {
    const NAME: &'static str = "guest-info";
    const WHILE_FROZEN: WhileFrozen = WhileFrozen::On;
    type Args = Empty;
    type Return = Info;

    async fn run(cx: &Context, _: Empty) -> Result<Info> {
        Ok(Info { version: QEMU_VERSION, supported_commands: cx.commands() })
    }
}
