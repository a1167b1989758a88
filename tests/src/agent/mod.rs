//! An agent as a process: started on a unix socket in a folder of its own, which is also its working directory.
//!
//! When it is dropped it gets SIGTERM and must end with exit status 0; if the test failed, its log is shown.

mod program;
mod setup;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::client::{Client, PATIENCE};

pub use program::Program;
pub use setup::Setup;

/// How long the original may take to end before it is killed: now and then it misses a SIGTERM (reference §5, 27).
const ORIGINAL_ENDS: Duration = Duration::from_secs(3);

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    /// `None` only while it is taken apart.
    setup: Option<Setup>,
    pid: Pid,
    ended: Mutex<Receiver<ExitStatus>>,
    /// It ended, and that was looked at.
    over: bool,
}

impl Agent {
    fn new(setup: Setup, pid: Pid, ended: Receiver<ExitStatus>) -> Self {
        Self { setup: Some(setup), pid, ended: Mutex::new(ended), over: false }
    }

    fn setup(&self) -> &Setup {
        self.setup.as_ref().unwrap()
    }

    /// The program that runs.
    pub fn program(&self) -> &Program {
        self.setup().program()
    }

    /// Whether it is waga, and not the original.
    pub fn is_waga(&self) -> bool {
        self.program().is_waga()
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::connect(self.socket()).unwrap()
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.setup().dir()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("sock")
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What it wrote to its log and to stderr.
    pub fn log(&self) -> String {
        let read = |name| fs::read(self.dir().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("log"), read("stderr")].concat()).into_owned()
    }

    /// A file of its entry in `/proc`.
    pub fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).unwrap()
    }

    /// A field of `/proc/PID/status` that counts memory, in bytes.
    pub fn memory(&self, field: &str) -> usize {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    /// Forgets the most memory it ever had, as `VmHWM` tells it.
    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").unwrap();
    }

    /// Its open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// Its children, zombies included.
    pub fn children(&self) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        let files = threads.map(|thread| thread.unwrap().path().join("children"));
        // A thread that ended meanwhile has left its children to another.
        let texts = files.map(|file| fs::read_to_string(file).unwrap_or_default());
        texts.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Waits until it is as wanted, which has to be soon.
    pub fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !wanted(self) {
            assert!(Instant::now() < until, "{what}: never came; {}", self.log());
            std::thread::yield_now();
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        self.ended.lock().unwrap().recv_timeout(limit).ok()
    }

    /// Waits until it ends by itself; how it ended and what it said.
    pub fn ended(mut self) -> (ExitStatus, String) {
        self.await_end()
    }

    /// The same where its folder is still needed.
    pub fn await_end(&mut self) -> (ExitStatus, String) {
        let status = self.wait(PATIENCE).unwrap_or_else(|| panic!("the agent runs: {}", self.log()));
        self.over = true;
        (status, self.log())
    }

    /// Ends it by a signal and starts it again in the same folder with the same options.
    #[must_use]
    pub fn restart(mut self, signal: Signal) -> Self {
        self.end(signal);
        // A child that it had just forked, and that has not begun its own program yet, still has the socket. (One that was passed to it
        // stays open here.)
        if !self.setup().is_passing() {
            self.until("an end of its socket", |agent| UnixStream::connect(agent.socket()).is_err());
        }
        self.setup.take().unwrap().start()
    }

    /// Ends it by SIGTERM, which has to succeed.
    pub fn stop(mut self) {
        self.end(Signal::SIGTERM);
    }

    fn end(&mut self, signal: Signal) {
        self.over = true;
        self.signal(signal);
        let limit = if self.is_waga() { PATIENCE } else { ORIGINAL_ENDS };
        let status = match self.wait(limit) {
            Some(status) => status,
            None if !self.is_waga() => {
                self.signal(Signal::SIGKILL);
                self.wait(PATIENCE).unwrap();
                return;
            }
            None => panic!("the agent does not end at {signal}; its log:\n{}", self.log()),
        };
        let killed = signal == Signal::SIGKILL && status.signal() == Some(signal as i32);
        // The original aborts or crashes now and then where it should end: its handler works beside its loop (reference §5, 27).
        let expected = killed || status.success() || !self.is_waga();
        assert!(expected, "the agent ended with {status} at {signal}; its log:\n{}", self.log());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.setup.is_none() || self.over {
            return;
        }
        if std::thread::panicking() {
            let log = self.log();
            let start = log.len() - log.len().min(1 << 10);
            let tail = String::from_utf8_lossy(&log.as_bytes()[start..]);
            println!("{} ({}), its log ends:\n{tail}", self.program().name(), self.pid);
            let _ = kill(self.pid, Signal::SIGKILL);
            return;
        }
        self.end(Signal::SIGTERM);
    }
}

/// A request line.
pub fn request(command: &str, arguments: &Value) -> String {
    format!("{}\n", serde_json::json!({"execute": command, "arguments": arguments}))
}

/// Says that something was left out, past libtest's capture; an error where nothing may be (`WAGA_TESTS=all`).
pub fn left_out(what: &str) {
    assert!(std::env::var_os("WAGA_TESTS").is_none_or(|value| value != "all"), "missing: {what}");
    let _ = writeln!(std::io::stderr(), "left out: {what}");
}
