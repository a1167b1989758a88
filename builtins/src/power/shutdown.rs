//! Power-off, halt, restart.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::system::RebootCommand;
use serde::Deserialize;
use smol::Timer;
use smol::future::or;

use super::{System, is_executable, note, run, wholly};
use crate::command::{Command, Empty};
use crate::context::{Context, Work};
use crate::error::{Error, Result};
use crate::helper::Failure;

/// How long the kernel's way waits for what is not yet on the disks: one that hangs must not keep a machine on.
const SYNC: Duration = Duration::from_secs(30);

/// What logged-in users read, where a program tells them; qemu-ga's words.
const REASON: &str = "hypervisor initiated shutdown";

/// Powers the guest off, halts or restarts it. Answers only when it cannot.
pub(super) struct GuestShutdown;

/// The arguments of [`GuestShutdown`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shutdown {
    /// `powerdown` when it is left out.
    mode: Option<String>,
}

/// How a guest ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    PowerOff,
    Halt,
    Reboot,
}

impl Command for GuestShutdown {
    const NAME: &'static str = "guest-shutdown";
    const REPLIES: bool = false;
    const AUDITED: &'static [&'static str] = &["mode"];
    type Args = Shutdown;
    type Return = Empty;

    /// Differs from qemu-ga: systemd is asked itself, where it runs, and not to heed its inhibitors; a program that fails is followed
    /// by the next; the kernel is the last resort.
    async fn run(cx: &Context, args: Shutdown) -> Result<Empty> {
        let mode = Mode::of(args.mode.as_deref())?;
        tracing::info!(channel = &**cx.caller.channel(), ?mode, "shutdown");
        wholly(cx, move |cx| async move { shut_down(&cx, System::own(), mode).await }).await
    }
}

impl Mode {
    pub(super) fn of(word: Option<&str>) -> Result<Self> {
        match word {
            None | Some("powerdown") => Ok(Self::PowerOff),
            Some("halt") => Ok(Self::Halt),
            Some("reboot") => Ok(Self::Reboot),
            // The bracket is qemu-ga's.
            Some(_) => Err(Error::generic("mode is invalid (valid values are: halt|powerdown|reboot")),
        }
    }

    /// What the programs call it, systemctl's verb and the usual ones of their own.
    fn verb(self) -> &'static str {
        match self {
            Self::PowerOff => "poweroff",
            Self::Halt => "halt",
            Self::Reboot => "reboot",
        }
    }

    /// What /sbin/shutdown calls it.
    fn option(self) -> &'static str {
        match self {
            Self::PowerOff => "-P",
            Self::Halt => "-H",
            Self::Reboot => "-r",
        }
    }
}

/// Asks one after the other, until one says yes.
pub(super) async fn shut_down(cx: &Context, system: System, mode: Mode) -> Result<()> {
    let limit = system.limit;
    let plan = move || (programs(&system, mode), system.runs_systemd(), system.reboot);
    let (programs, runs_systemd, reboot) = cx.blocking(Work::Inspect, plan).await?;
    let (mut failure, mut was_asked) = (None, false);
    for (program, args) in programs {
        match run(cx, &program, &args, limit).await {
            Ok(()) => return Ok(()),
            Err(next) => {
                was_asked |= matches!(next, Failure::Code(..) | Failure::Signal(..) | Failure::Late(..));
                failure = Some(note(&program, next));
            }
        }
    }
    // A systemd that refuses may be shutting down already: the kernel would cut its services short.
    if runs_systemd
        && was_asked
        && let Some(failure) = failure
    {
        return Err(failure.of("shutdown"));
    }
    tracing::warn!(?mode, "no program does it: the kernel is told itself");
    let synced = async { cx.blocking(Work::Mounts, rustix::fs::sync).await.is_ok() };
    let late = async {
        Timer::after(SYNC).await;
        false
    };
    if !or(synced, late).await {
        tracing::warn!("not all is on the disks");
    }
    let told = cx.blocking(Work::Power, move || reboot(mode)).await?;
    told.map_err(|error| match failure {
        Some(failure) => failure.of("shutdown"),
        None => Error::io("failed to shutdown", error),
    })
}

/// The programs to be asked, and with which arguments.
fn programs(system: &System, mode: Mode) -> Vec<(PathBuf, Vec<&'static str>)> {
    // It only passes the word on and returns. The options exist from systemd 247 on, and before: nobody is asked for a password, and
    // programs that would rather not have it now are not heeded; a host that gets no for an answer pulls the plug.
    let systemctl = system.systemctl().map(|path| (path, vec!["--no-ask-password", "-i", mode.verb()]));
    let named = (system.place("sbin").join(mode.verb()), vec![]);
    let shutdown = (system.place("sbin/shutdown"), vec!["-h", mode.option(), "+0", REASON]);
    systemctl.into_iter().chain([named, shutdown]).filter(|(path, _)| is_executable(path)).collect()
}

/// Ends the guest at once; what runs in it is not told. Does not return but with an error, as a rule.
pub(super) fn reboot(mode: Mode) -> io::Result<()> {
    Ok(rustix::system::reboot(match mode {
        Mode::PowerOff => RebootCommand::PowerOff,
        Mode::Halt => RebootCommand::Halt,
        Mode::Reboot => RebootCommand::Restart,
    })?)
}
