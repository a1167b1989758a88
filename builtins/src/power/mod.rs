//! The guest's power: off, halted, started anew, asleep.
//!
//! The service manager is asked first, then the usual programs, and the kernel last, so that it works on images with no shell too.

mod shutdown;
mod suspend;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use smol::future::FutureExt;

use crate::command::{Builtin, Empty};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::helper::{Failure, Helper};
use shutdown::Mode;

pub(crate) const COMMANDS: &[Builtin] = &[
    Builtin::of::<shutdown::GuestShutdown>(),
    Builtin::of::<suspend::GuestSuspendDisk>(),
    Builtin::of::<suspend::GuestSuspendRam>(),
    Builtin::of::<suspend::GuestSuspendHybrid>(),
];

/// How long a program may take. Most only pass a word on; those that do the work themselves must not be stopped in it.
const LIMIT: Duration = Duration::from_secs(300);

/// What there is to be asked in a guest. Tests make one up.
#[derive(Debug, Clone)]
struct System {
    root: PathBuf,
    /// The folders of PATH.
    path: Vec<PathBuf>,
    /// The kernel's own way, without a word to any program.
    reboot: fn(Mode) -> io::Result<()>,
}

impl System {
    /// The one that this agent runs in.
    fn own() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        Self { root: "/".into(), path: std::env::split_paths(&path).collect(), reboot: shutdown::reboot }
    }

    /// Where a file of the system is.
    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// `systemctl`, where systemd is the service manager: its own sign says so, as for sd_booted(3).
    fn systemctl(&self) -> Option<PathBuf> {
        self.runs_systemd().then(|| self.program("systemctl")).flatten()
    }

    fn runs_systemd(&self) -> bool {
        self.place("run/systemd/system").is_dir()
    }

    /// A program by its name.
    fn program(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|folder| folder.join(name)).find(|path| is_executable(path))
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// Runs a program to its end.
async fn run(cx: &Context, program: &Path, args: &[&str]) -> std::result::Result<(), Failure> {
    Helper::new(&program.to_string_lossy(), args, LIMIT).run(&cx.agent).await.map(drop)
}

/// Writes down why a way failed: another may work, and then nobody else is told.
fn note(program: &Path, failure: Failure) -> Failure {
    tracing::error!(program = %program.display(), ?failure, "failed, and another way is looked for");
    failure
}

/// Does it to the end, whether its client stays or not: hosts send such a command and leave.
async fn wholly<F>(cx: &Context, act: impl FnOnce(Context) -> F) -> Result<Empty>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (done, ended) = smol::channel::bounded(1);
    let act = act(cx.clone());
    cx.agent.spawn(async move {
        let ended = AssertUnwindSafe(act).catch_unwind().await;
        if let Ok(Err(error)) = &ended {
            tracing::error!("{}", error.desc);
        }
        drop(done.try_send(ended));
    });
    match ended.recv().await {
        Ok(Ok(result)) => result.map(|()| Empty {}),
        // The command's own, and not the daemon's.
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(Error::generic("the agent ends")),
    }
}
