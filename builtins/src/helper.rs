//! Runs a program that does something for the agent itself: an operator's hook, a service manager's tool, `chpasswd`.
//!
//! A helper gets a session of its own, its input from here and nothing else, and so long to end. What it starts and leaves behind may go
//! on, as a client of a database does that a hook told to hold still; but nothing it left keeps the agent waiting, and when its time
//! is over all of it is killed.

use std::fmt;
use std::fs;
use std::io::{self, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use smol::channel::{Receiver, Sender};
use smol::future::{or, yield_now};
use smol::{Async, Timer};

use crate::context::Agent;
use crate::error::{Error, os_text};
use crate::sys::spawn::{self, Ended, Program};

/// Most of a helper's output that is kept, in bytes; the rest is read and lost.
const KEPT: usize = 16 << 10;

/// What a pipe holds, and what is read from it at once, in bytes.
const PIPE: usize = 64 << 10;
const PIECE: usize = 4 << 10;

/// How long a killed helper may take to be gone before nobody waits for it any more.
const DYING: Duration = Duration::from_secs(5);

/// Stands in the environment of a helper, and so of all that it starts, with a value of this run.
const MARK: &str = "WAGA_HELPER";

/// How often those with a mark are looked for: one may fork while it is looked for.
const ROUNDS: usize = 8;

/// A program to be run, once.
#[derive(Debug)]
pub(crate) struct Helper {
    program: String,
    args: Vec<String>,
    input: Option<Vec<u8>>,
    limit: Duration,
    stop: Option<Receiver<()>>,
}

/// Why a helper did not do what it was to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be started.
    Start(String, io::Error),
    /// It ended with this exit code, which is not 0, and wrote this.
    Code(i32, String),
    /// A signal that was not ours ended it.
    Signal(String),
    /// It had not ended after so long, and was killed (or is, should it ever start).
    Late(Duration, String),
    /// It was to go on no longer, and was killed.
    Stopped(String),
    /// It could not be talked to.
    Lost(io::Error),
}

impl Helper {
    /// A program, by its path or its name in PATH, with its arguments, and how long it may take, its start included.
    pub(crate) fn new(program: &str, args: &[&str], limit: Duration) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { program: program.to_owned(), args, input: None, limit, stop: None }
    }

    /// What its standard input is to be; `/dev/null` otherwise.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Ends it, as when its time is over, when something comes through here.
    pub(crate) fn until(mut self, stop: Receiver<()>) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Runs it to its end; what it wrote to standard output and error, in order, cut to 16 KiB.
    ///
    /// It goes on when this future is dropped: what has begun does not stop halfway because a client left.
    pub(crate) async fn run(self, agent: &Agent) -> Result<String, Failure> {
        let (done, ended) = smol::channel::bounded(1);
        agent.spawn(self.live(done));
        ended.recv().await.unwrap_or_else(|_| Err(Failure::Lost(io::Error::other("the agent ends"))))
    }

    /// Its whole life: told when it is known how it ended, and watched on as long as anything of it needs that.
    async fn live(self, done: Sender<Result<String, Failure>>) {
        let mark = mark();
        let (name, limit, stop) = (self.program.clone(), self.limit, self.stop.clone());
        // Whichever comes first: it must not go on.
        let mut over = pin!(over(Instant::now(), limit, stop));
        let mut start = pin!(self.start(&mark));
        let either = or(async { Ok(start.as_mut().await) }, async { Err(over.as_mut().await) });
        let started = match either.await {
            Ok(started) => started,
            Err(failure) => {
                tracing::error!(helper = name, ?limit, "not started in time: killed as soon as it is");
                drop(done.try_send(Err(failure(String::new()))));
                if let Ok((child, ..)) = start.await {
                    let (pid, mark) = (child.pid(), mark.clone());
                    blocking::unblock(move || kill(pid, &mark)).await;
                    child.wait().await;
                }
                return;
            }
        };
        let (child, reader, input) = match started {
            Ok(started) => started,
            Err(failure) => return drop(done.try_send(Err(failure))),
        };
        let (pid, mut output) = (child.pid(), Vec::new());
        let mut end = pin!(child.wait());
        let ended = {
            let talk = async {
                if let Some((pipe, bytes)) = input {
                    write(pipe, &bytes).await;
                }
                std::future::pending().await
            };
            let listen = async {
                while let Ok(1..) = reader.read_with(|pipe| read_piece(pipe, &mut output)).await {
                    yield_now().await;
                }
                std::future::pending().await
            };
            let late = async { Err(over.await) };
            or(or(async { Ok(end.as_mut().await) }, late), or(talk, listen)).await
        };
        // What it wrote before its end is in the pipe, whoever else holds that open and goes on writing, perhaps without end.
        for _ in 0..PIPE / PIECE {
            if !matches!(read_piece(reader.get_ref(), &mut output), Ok(1..)) {
                break;
            }
        }
        let output = String::from_utf8_lossy(&output).into_owned();
        let result = match ended {
            Ok(Ended::Code(0)) => Ok(output),
            Ok(Ended::Code(code)) => Err(Failure::Code(code, output)),
            Ok(Ended::Signal(_)) => Err(Failure::Signal(output)),
            Ok(Ended::Unknown) => Err(Failure::Lost(io::Error::other("somebody else reaped it"))),
            Err(failure) => {
                tracing::error!(helper = name, ?limit, "not ended in time: killed, with all that it started");
                let mark = mark.clone();
                // To look at a process may wait for its memory, and that for a disk.
                let mut gone = pin!(async {
                    blocking::unblock(move || kill(pid, &mark)).await;
                    end.await;
                });
                let dying = async {
                    Timer::after(DYING).await;
                    false
                };
                let reaped = or(async { (gone.as_mut().await, true).1 }, dying).await;
                drop(done.try_send(Err(failure(output))));
                if !reaped {
                    gone.await;
                }
                return;
            }
        };
        drop(done.try_send(result));
        // Whoever still has the pipe must not die of writing to it.
        let mut lost = Vec::new();
        while let Ok(1..) = reader.read_with(|pipe| read_piece(pipe, &mut lost)).await {
            lost.clear();
            yield_now().await;
        }
    }

    async fn start(
        self,
        mark: &str,
    ) -> Result<(spawn::Child, Async<PipeReader>, Option<(Async<PipeWriter>, Vec<u8>)>), Failure> {
        let lost = Failure::Lost;
        let (reader, writer) = io::pipe().map_err(lost)?;
        let reader = Async::new(reader).map_err(lost)?;
        let (stdin, input) = match self.input {
            None => (spawn::null(OFlags::RDONLY).map_err(lost)?, None),
            Some(bytes) => {
                let (child, ours) = io::pipe().map_err(lost)?;
                (OwnedFd::from(child), Some((Async::new(ours).map_err(lost)?, bytes)))
            }
        };
        let program = Program::new(&self.program, &self.args, None).in_own_session().marked(mark);
        // To find a program and to execute it may wait for a disk.
        let spawn = move || program.spawn([stdin.as_fd(), writer.as_fd(), writer.as_fd()]);
        let child = blocking::unblock(spawn).await.map_err(|error| Failure::Start(self.program, error))?;
        Ok((child, reader, input))
    }
}

/// Waits until a helper must not go on; what it failed with then, given what it wrote.
async fn over(
    begun: Instant,
    limit: Duration,
    stop: Option<Receiver<()>>,
) -> Box<dyn FnOnce(String) -> Failure + Send> {
    let late = async {
        Timer::at(begun + limit).await;
        false
    };
    let stopped = async {
        match stop {
            Some(stop) if stop.recv().await.is_ok() => true,
            _ => std::future::pending().await,
        }
    };
    match or(stopped, late).await {
        true => Box::new(Failure::Stopped),
        false => Box::new(move |output| Failure::Late(limit, output)),
    }
}

/// Writes all of a helper's input, then closes it; ends early when nobody reads it.
async fn write(pipe: Async<PipeWriter>, mut rest: &[u8]) {
    while !rest.is_empty() {
        match pipe.write_with(|pipe| Ok(rustix::io::write(pipe.as_fd(), rest)?)).await {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(_) => return,
        }
    }
}

/// Reads what there is, keeps what there is room for, and tells how much it was.
fn read_piece(pipe: &PipeReader, output: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [MaybeUninit::uninit(); PIECE];
    let (bytes, _) = rustix::io::read(pipe.as_fd(), &mut buffer)?;
    let room = KEPT.saturating_sub(output.len());
    output.extend_from_slice(&bytes[..bytes.len().min(room)]);
    Ok(bytes.len())
}

/// A mark that no other run has.
pub(crate) fn mark() -> String {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    // With the time, for an agent before this one may have had its number, and have left something behind that is to live.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    format!("{MARK}={}.{run}.{}", std::process::id(), since.as_nanos())
}

/// Kills a helper that was not reaped yet with its group, and whoever else has its mark, wherever it went: into a session of its own, say.
pub(crate) fn kill(pid: i32, mark: &str) {
    if let Some(group) = Pid::from_raw(pid) {
        // It may be gone already; nobody else has its number before it is reaped.
        let _ = kill_process_group(group, Signal::KILL);
    }
    for _ in 0..ROUNDS {
        let marked = marked(mark);
        if marked.is_empty() {
            return;
        }
        for process in marked {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

/// The processes with this entry in the environment that they were started with. (One that emptied its own is not found.)
fn marked(mark: &str) -> Vec<Pid> {
    let has_mark = |pid: &Pid| {
        let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    pids.filter(has_mark).collect()
}

impl Failure {
    /// The error of a command that needed the helper to do something (`set user password`), in qemu-ga's words where it has any.
    pub(crate) fn of(self, action: impl fmt::Display) -> Error {
        let failed = |why: String| Error::generic(format!("child process has failed to {action}: {why}"));
        match self {
            Self::Start(name, error) => {
                let why = format!("failed to exec '{name}': {}\n", os_text(&error));
                Error { source: Some(Box::new(error)), ..failed(why) }
            }
            Self::Code(code, output) if output.is_empty() => failed(format!("exit status {code}")),
            Self::Code(_, output) => failed(output),
            Self::Signal(output) => {
                let colon = if output.is_empty() { "" } else { ": " };
                Error::generic(format!("child process has terminated abnormally{colon}{output}"))
            }
            Self::Late(limit, output) => {
                let colon = if output.is_empty() { "" } else { ": " };
                failed(format!("it was killed, for it had not ended after {limit:?}{colon}{output}"))
            }
            Self::Stopped(output) => {
                let colon = if output.is_empty() { "" } else { ": " };
                failed(format!("it was killed, for it is to go on no longer{colon}{output}"))
            }
            Self::Lost(error) => Error::io(format_args!("failed to {action}"), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use smol::future::zip;

    use std::path::Path;

    use super::*;
    use crate::context::test_agent;

    fn run(helper: Helper) -> Result<String, Failure> {
        let (agent, executor) = test_agent();
        smol::block_on(executor.run(helper.run(&agent)))
    }

    fn sh(script: &str) -> Helper {
        Helper::new("sh", &["-c", script], Duration::from_secs(30))
    }

    fn error(helper: Helper) -> String {
        run(helper).unwrap_err().of("x y").desc
    }

    #[test]
    fn output_of_both_kinds_is_told_and_input_is_given() {
        assert_eq!(run(sh("echo a; echo b >&2; cat; echo $0")).unwrap(), "a\nb\nsh\n");
        assert_eq!(run(sh("cat; cat <&0").input("secret\n")).unwrap(), "secret\n");
        assert_eq!(run(sh("exec <&-; echo done").input(vec![b'x'; 1 << 20])).unwrap(), "done\n");
        let much = run(sh("head -c 100000 /dev/zero | tr '\\0' x")).unwrap();
        assert_eq!(much.len(), KEPT);
    }

    #[test]
    fn failures_are_told_in_the_words_of_qemu_ga() {
        let prefix = "child process has failed to x y";
        assert_eq!(error(sh("exit 3")), format!("{prefix}: exit status 3"));
        assert_eq!(error(sh("echo why; exit 3")), format!("{prefix}: why\n"));
        assert_eq!(error(sh("kill -9 $$")), "child process has terminated abnormally");
        assert_eq!(error(sh("echo a; kill -9 $$")), "child process has terminated abnormally: a\n");
        let missing = Helper::new("/nonexistent", &[], Duration::from_secs(30));
        let expected = format!("{prefix}: failed to exec '/nonexistent': No such file or directory\n");
        assert_eq!(error(missing), expected);
    }

    #[test]
    fn what_a_helper_leaves_behind_keeps_nobody_waiting_and_lives() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alive");
        let script = format!(
            "setsid sh -c 'sleep 0.3; echo still here; echo >{}; sleep 1000' & echo $!",
            file.display()
        );
        let (agent, executor) = test_agent();
        let pid = smol::block_on(executor.run(async {
            let told = sh(&script).run(&agent).await.unwrap();
            while !Path::new(&file).exists() {
                Timer::after(Duration::from_millis(10)).await;
            }
            told
        }));
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process_group(pid, Signal::KILL).or_else(|_| kill_process(pid, Signal::KILL)).unwrap();
    }

    #[test]
    fn one_that_is_to_go_on_no_longer_is_killed() {
        let (stop, stopped) = smol::channel::bounded(1);
        let (agent, executor) = test_agent();
        let helper = sh("echo begun; sleep 1000").until(stopped);
        let ended = executor.run(zip(helper.run(&agent), async { stop.try_send(()).unwrap() }));
        let desc = smol::block_on(ended).0.unwrap_err().of("x y").desc;
        assert!(
            desc.starts_with("child process has failed to x y: it was killed, for it is to go on no longer"),
            "{desc}"
        );
        // Nobody left who could end it is no reason to.
        let (stop, stopped) = smol::channel::bounded(1);
        drop(stop);
        assert_eq!(run(sh("echo done").until(stopped)).unwrap(), "done\n");
    }

    #[test]
    fn a_late_helper_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script =
            format!("echo begun; setsid sh -c 'echo $$ >{}; sleep 1000' & sleep 1000", file.display());
        // The daemonised one has to be there when the time is over.
        let helper = Helper::new("sh", &["-c", &script], Duration::from_secs(2));
        let desc = error(helper);
        let expected =
            "child process has failed to x y: it was killed, for it had not ended after 2s: begun\n";
        assert_eq!(desc, expected);
        let pid = fs::read_to_string(&file).unwrap();
        // It was sent SIGKILL by now, and dies when it gets its turn.
        let is_gone = || {
            let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        while !is_gone() {
            std::thread::yield_now();
        }
    }
}
