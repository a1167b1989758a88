//! An agent as a process: started on a socket of its own, read in `/proc`, killed when dropped.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wire::Wire;
use crate::client::PATIENCE;

pub(super) const PING: &[u8] = b"{\"execute\": \"guest-ping\"}\n";

/// A program to measure, with the folder its socket, state and log are in.
pub(super) struct Candidate {
    pub(super) name: &'static str,
    program: PathBuf,
    dir: PathBuf,
    options: Vec<OsString>,
}

impl Candidate {
    pub(super) fn new(name: &'static str, program: &Path, parent: &Path) -> Result<Self> {
        ensure!(program.is_file(), "no {name} at {} (see --help)", program.display());
        let dir = parent.join(name);
        fs::create_dir(&dir)?;
        // It is started from another folder.
        Ok(Self { name, program: std::path::absolute(program)?, dir, options: Vec::new() })
    }

    /// The same program with this `agent.toml`.
    pub(super) fn configured(name: &'static str, program: &Path, parent: &Path, text: &str) -> Result<Self> {
        let mut candidate = Self::new(name, program, parent)?;
        let file = candidate.dir.join("agent.toml");
        fs::write(&file, text)?;
        candidate.options = vec!["-c".into(), file.into()];
        Ok(candidate)
    }

    /// How often its process says in the log that it has read its configuration again.
    pub(super) fn reloads(&self) -> Result<usize> {
        Ok(fs::read_to_string(self.dir.join("log"))?.matches(": reloaded").count())
    }

    /// What the program calls itself, if it does.
    pub(super) fn version(&self) -> String {
        let printed = Command::new(&self.program).arg("--version").output();
        let printed = printed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let first = printed.ok().and_then(|text| text.lines().next().map(str::to_owned));
        first.unwrap_or_else(|| self.name.to_owned())
    }

    pub(super) fn start(&self) -> Result<Agent> {
        Ok(self.start_timed()?.0)
    }

    /// Starts the agent, and how long it was from the spawn to its first reply.
    pub(super) fn start_timed(&self) -> Result<(Agent, Duration)> {
        self.start_asking(PING)
    }

    /// The same where this is the first request.
    pub(super) fn start_asking(&self, request: &[u8]) -> Result<(Agent, Duration)> {
        self.first_reply(request).with_context(|| {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            format!("{} ({}) does not answer; its log: {:?}", self.name, self.program.display(), log.trim())
        })
    }

    fn first_reply(&self, request: &[u8]) -> Result<(Agent, Duration)> {
        let socket = self.dir.join("socket");
        // What the last process left must not be taken for the new one's.
        let _ = fs::remove_file(&socket);
        let mut command = Command::new(&self.program);
        command.args([OsStr::new("-m"), "unix-listen".as_ref(), "-p".as_ref(), socket.as_ref()]);
        command.args(["-t".as_ref(), self.dir.as_os_str()]).args(&self.options);
        // What it writes beside its socket goes to a folder of its own.
        command.current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(self.dir.join("log"))?);
        let begun = Instant::now();
        let mut child = command.spawn().context("spawn")?;
        let stream = match connect(&mut child, &socket, begun) {
            Ok(stream) => stream,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let mut agent = Agent { name: self.name, wire: Wire::over(stream)?, child };
        agent.wire.round_trip(request)?;
        Ok((agent, begun.elapsed()))
    }
}

/// Tries without a pause: a pause would be measured, and the agent has a processor of its own meanwhile.
fn connect(child: &mut Child, socket: &Path, begun: Instant) -> Result<UnixStream> {
    for attempt in 1_u64.. {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error).context("connect"),
            Err(_) => {}
        }
        if attempt % 64 == 0
            && let Some(status) = child.try_wait()?
        {
            bail!("it ended: {status}");
        }
    }
    unreachable!("the attempts do not run out");
}

/// A running agent with the one connection to it.
pub(super) struct Agent {
    pub(super) name: &'static str,
    pub(super) wire: Wire,
    child: Child,
}

impl Agent {
    /// Memory that is resident now, in bytes: counted page by page, since `VmRSS` of several kernels (6.2 on)
    /// lags behind by as much as the growth row is about.
    pub(super) fn resident(&self) -> Result<f64> {
        self.size("smaps_rollup", "Rss")
    }

    /// The part of it that no other process shares by mapping the same file.
    pub(super) fn anonymous(&self) -> Result<f64> {
        self.size("smaps_rollup", "Anonymous")
    }

    /// The most that was resident since [`forget_peak`](Self::forget_peak).
    pub(super) fn peak(&self) -> Result<f64> {
        self.size("status", "VmHWM")
    }

    fn size(&self, file: &str, field: &str) -> Result<f64> {
        let text = fs::read_to_string(self.proc(file))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        Ok(kibibytes.with_context(|| format!("no {field} in /proc/PID/{file}"))? * 1024.0)
    }

    /// Makes `VmHWM` begin anew at what is resident now.
    pub(super) fn forget_peak(&self) -> Result<()> {
        fs::write(self.proc("clear_refs"), "5").context("reset VmHWM")
    }

    pub(super) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(self.proc("fd"))?.count())
    }

    /// Children that still have a process table entry, zombies included.
    pub(super) fn children(&self) -> Result<usize> {
        let parent = format!("PPid:\t{}", self.child.id());
        let processes = fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.path().join("status")));
        let is_child = |status: &PathBuf| {
            fs::read_to_string(status).is_ok_and(|text| text.lines().any(|line| line == parent))
        };
        Ok(processes.filter(is_child).count())
    }

    /// Has it read its configuration again.
    pub(super) fn hang_up(&self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGHUP).context("send SIGHUP")
    }

    fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.child.id()).into()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
