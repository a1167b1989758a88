//! Sleep: on disk, in memory, or both.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{System, note, run, wholly};
use crate::command::{Command, Empty};
use crate::context::{Context, Work};
use crate::error::{Error, Result};
use crate::helper::Failure;

/// Where a guest that sleeps keeps what it had in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sleep {
    Disk,
    Ram,
    Hybrid,
}

/// Puts the guest to sleep with its memory on disk. Answers only when it cannot.
pub(super) struct GuestSuspendDisk;

/// Puts the guest to sleep with its memory powered. Answers only when it cannot.
pub(super) struct GuestSuspendRam;

/// Puts the guest to sleep with its memory powered and, in case that ends, on disk too. Answers only when it cannot.
pub(super) struct GuestSuspendHybrid;

impl Command for GuestSuspendDisk {
    const NAME: &'static str = "guest-suspend-disk";
    const REPLIES: bool = false;
    type Args = Empty;
    type Return = Empty;

    async fn run(cx: &Context, _: Empty) -> Result<Empty> {
        begin(cx, Sleep::Disk).await
    }
}

impl Command for GuestSuspendRam {
    const NAME: &'static str = "guest-suspend-ram";
    const REPLIES: bool = false;
    type Args = Empty;
    type Return = Empty;

    async fn run(cx: &Context, _: Empty) -> Result<Empty> {
        begin(cx, Sleep::Ram).await
    }
}

impl Command for GuestSuspendHybrid {
    const NAME: &'static str = "guest-suspend-hybrid";
    const REPLIES: bool = false;
    type Args = Empty;
    type Return = Empty;

    /// Differs from qemu-ga, which has no way of its own for this: the kernel can do it.
    async fn run(cx: &Context, _: Empty) -> Result<Empty> {
        begin(cx, Sleep::Hybrid).await
    }
}

impl Sleep {
    /// The verb of systemctl.
    fn verb(self) -> &'static str {
        match self {
            Self::Disk => "hibernate",
            Self::Ram => "suspend",
            Self::Hybrid => "hybrid-sleep",
        }
    }

    /// The question to pm-is-supported, and the program that does it.
    fn pm_utils(self) -> (&'static str, &'static str) {
        match self {
            Self::Disk => ("--hibernate", "pm-hibernate"),
            Self::Ram => ("--suspend", "pm-suspend"),
            Self::Hybrid => ("--suspend-hybrid", "pm-suspend-hybrid"),
        }
    }

    /// The word for /sys/power/state.
    fn state(self) -> &'static str {
        match self {
            Self::Disk | Self::Hybrid => "disk",
            Self::Ram => "mem",
        }
    }
}

async fn begin(cx: &Context, sleep: Sleep) -> Result<Empty> {
    tracing::info!(channel = &**cx.caller.channel(), ?sleep, "suspend");
    wholly(cx, move |cx| async move {
        let ended = suspend(&cx, System::own(), sleep).await;
        if ended.is_ok() {
            tracing::info!(?sleep, "suspended, or told to be; awake");
        }
        ended
    })
    .await
}

/// Tries one way after the other, until one works: with systemd and pm-utils that may be before the guest sleeps, else when it wakes up.
///
/// Differs from qemu-ga, which says nothing when systemd or pm-utils failed and the kernel has no way.
pub(super) async fn suspend(cx: &Context, system: System, sleep: Sleep) -> Result<()> {
    let (question, name) = sleep.pm_utils();
    let limit = system.limit;
    let plan = move || {
        let pm_utils = system.program("pm-is-supported").zip(system.program(name));
        (system.systemctl(), pm_utils, Kernel::new(&system))
    };
    let (systemctl, pm_utils, kernel) = cx.blocking(Work::Inspect, plan).await?;
    let mut failure = None;
    if let Some(systemctl) = systemctl {
        match run(cx, &systemctl, &["--no-ask-password", "-i", sleep.verb()], limit).await {
            Ok(()) => return Ok(()),
            // The guest may have slept meanwhile: another way would put it to sleep again.
            Err(late @ Failure::Late(..)) => return Err(late.of("suspend")),
            Err(refused) => failure = Some(note(&systemctl, refused)),
        }
    }
    if let Some((asked, program)) = pm_utils
        && run(cx, &asked, &[question], limit).await.is_ok()
    {
        match run(cx, &program, &[], limit).await {
            Ok(()) => return Ok(()),
            Err(late @ Failure::Late(..)) => return Err(late.of("suspend")),
            Err(refused) => failure = Some(note(&program, refused)),
        }
    }
    let slept = cx.blocking(Work::Power, move || kernel.sleep(sleep)).await?;
    slept.unwrap_or_else(|| {
        let unsupported = "the requested suspend mode is not supported by the guest";
        Err(failure.map_or_else(|| Error::generic(unsupported), |failure| failure.of("suspend")))
    })
}

/// The kernel's files.
struct Kernel {
    state: PathBuf,
    disk: PathBuf,
}

impl Kernel {
    fn new(system: &System) -> Self {
        Self { state: system.place("sys/power/state"), disk: system.place("sys/power/disk") }
    }

    /// Sleeps, and returns when the guest is awake again; `None` if the kernel cannot sleep like that.
    fn sleep(&self, sleep: Sleep) -> Option<Result<()>> {
        let offers = |file: &PathBuf, word: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            // The one in force is in brackets.
            text.split_ascii_whitespace().any(|offer| offer.trim_matches(['[', ']']) == word)
        };
        if !offers(&self.state, sleep.state()) {
            return None;
        }
        if sleep != Sleep::Hybrid {
            return Some(self.enter(sleep));
        }
        // The image is written as for a sleep on disk, and then the guest sleeps in memory.
        let both = "suspend";
        if !offers(&self.disk, both) {
            return None;
        }
        let before = fs::read_to_string(&self.disk).unwrap_or_default();
        let before =
            before.split_ascii_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
        if let Err(error) = fs::write(&self.disk, both) {
            return Some(Err(self.cannot_write(&self.disk, error)));
        }
        let slept = self.enter(sleep);
        if let Some(before) = before
            && let Err(error) = fs::write(&self.disk, before)
        {
            tracing::warn!(%error, "sleep on disk stays changed to that of both");
        }
        Some(slept)
    }

    fn enter(&self, sleep: Sleep) -> Result<()> {
        fs::write(&self.state, sleep.state()).map_err(|error| self.cannot_write(&self.state, error))
    }

    fn cannot_write(&self, file: &Path, error: io::Error) -> Error {
        Error::io(format_args!("suspend: cannot write to '{}'", file.display()), error)
    }
}
