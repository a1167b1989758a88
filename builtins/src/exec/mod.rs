//! Programs that the host starts: `guest-exec`, and `guest-exec-status`, which tells how they ended and what they wrote.
//!
//! A child is started on a thread for such work, then belongs to a task of the daemon's executor that reaps it at once when it ends,
//! whether or not anyone asks, and reads its output. Children outlive the agent, as with qemu-ga.
//!
//! Which programs a caller may start is said in `rules`.
//!
//! Never logged: arguments, environment, input and output, which may hold secrets. Differs from qemu-ga, which logs the arguments.

mod capture;
mod record;
mod report;
mod rules;
mod table;
#[cfg(test)]
mod tests;

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use smol::future::zip;

use self::capture::{Capture, Input, Pipes};
use self::record::{Owner, Which};
pub use self::rules::{Rule, Rules, Unlisted};
use self::table::{Answer, Table};
use crate::command::{Builtin, Command, Reply};
use crate::context::{Agent, Context, Work};
use crate::error::{Error, Result, os_text};
use crate::qapi::Arguments;
use crate::qapi::arguments::{Span, Taken};
use crate::qapi::{base64, shorten};
use crate::sys::spawn::{self, Program};

pub(crate) const COMMANDS: &[Builtin] = &[Builtin::of::<GuestExecStatus>(), Builtin::of::<GuestExec>()];

/// The children, and what is known of those that ended.
#[derive(Debug)]
pub struct Execs(Shared);

impl Execs {
    /// None so far. From here on no child inherits a descriptor that the agent itself was started with.
    pub(crate) fn new() -> Self {
        spawn::prepare();
        Self(Shared::default())
    }

    /// How many children run, whoever started them.
    pub(crate) fn running(&self) -> usize {
        self.0.table().running()
    }
}

/// The table, as the tasks of the children share it.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Table>>);

impl Shared {
    /// Held for bookkeeping only, never while waiting; a panic elsewhere leaves nothing half done that matters.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a program, and answers as soon as it runs.
struct GuestExec;

/// The arguments of [`GuestExec`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Exec {
    path: String,
    arg: Option<Vec<String>>,
    env: Option<Vec<String>>,
    input_data: Option<Span>,
    capture_output: Option<Capture>,
    /// What `input_data` stands for: still base64.
    #[serde(skip)]
    input: Option<Taken>,
}

/// The result of [`GuestExec`].
#[derive(Debug, Serialize)]
struct Started {
    pid: i32,
}

impl Command for GuestExec {
    const NAME: &'static str = "guest-exec";
    const AUDITED: &'static [&'static str] = &["path", "capture-output"];
    const RESULT_AUDITED: bool = true;
    type Args = Exec;
    type Return = Started;

    fn arguments(arguments: Arguments) -> Result<Exec> {
        let mut exec: Exec = arguments.parse()?;
        exec.input = exec.input_data.take().map(|span| arguments.into_string(&span));
        Ok(exec)
    }

    async fn run(cx: &Context, exec: Exec) -> Result<Started> {
        let (agent, owner, limits) = (cx.agent.clone(), cx.owner(), cx.limits.clone());
        // All in one go: a request that is given up in the middle must not leave a child that nobody reaps.
        cx.blocking(Work::Spawn, move || start(&agent, owner, &limits.exec, exec)).await?
    }
}

fn start(agent: &Agent, owner: Owner, layers: &[Rules], exec: Exec) -> Result<Started> {
    let shared = &agent.execs.0;
    let args = exec.arg.unwrap_or_default();
    let (path, env) = match rules::admit(layers, &exec.path, &args, exec.env.as_deref().unwrap_or_default())?
    {
        Some(admitted) => (admitted.path, Some(admitted.env)),
        None => (exec.path, exec.env),
    };
    let input = match exec.input.map(base64::decode_in_place).transpose()? {
        Some(data) => Some(Input::new(data, shared)?),
        None => None,
    };
    let program = Program::new(&path, &args, env.as_deref());
    let pipes = Pipes::open(exec.capture_output.unwrap_or_default(), input.is_some())
        .map_err(|error| Error::generic(os_text(&error)))?;
    let [stdin, stdout, stderr] = &pipes.child;
    let child = program.spawn([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).map_err(|error| {
        // GLib's words.
        let what = format!("Failed to execute child process \u{201c}{}\u{201d}", path);
        Error::generic(format!("{what} ({})", os_text(&error)))
    })?;
    // The child's ends, or the streams would never end.
    drop(pipes.child);
    let pid = child.pid();
    tracing::info!(program = shorten(&path), arguments = args.len(), pid, "guest-exec");

    let id = shared.table().insert(owner, pid);
    if let (Some(pipe), Some(input)) = (pipes.input, input) {
        agent.spawn(capture::write(pipe, input));
    }
    let shared = shared.clone();
    agent.spawn(async move {
        let out = capture::read(pipes.out, &shared, id, Which::Out);
        let err = capture::read(pipes.err, &shared, id, Which::Err);
        let (ended, _) = zip(child.wait(), zip(out, err)).await;
        shared.table().finish(id, ended);
        tracing::debug!(pid, ?ended, "a program ended");
    });
    Ok(Started { pid })
}

/// Tells whether a program has ended and, the first time that it has, how and with what output.
struct GuestExecStatus;

/// The arguments of [`GuestExecStatus`].
#[derive(Debug, Deserialize)]
struct Status {
    pid: i64,
}

impl Command for GuestExecStatus {
    const NAME: &'static str = "guest-exec-status";
    const AUDITED: &'static [&'static str] = &["pid"];
    type Args = Status;
    type Return = Reply;

    async fn run(cx: &Context, Status { pid }: Status) -> Result<Reply> {
        let known = i32::try_from(pid).map_or(Answer::Unknown, |pid| {
            let owner = cx.owner();
            cx.agent.execs.0.table().take(&owner, pid)
        });
        match known {
            // Differs from qemu-ga, which says `PID ld does not exist` whatever the number is.
            Answer::Unknown => Err(Error::generic(format!("PID {pid} does not exist"))),
            Answer::Running => Ok(report::running()),
            Answer::Ended(record) => Ok(report::ended(record)),
        }
    }
}
