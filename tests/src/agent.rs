//! An agent as a process: started on a unix socket in a folder of its own, which is also its working directory.
//!
//! When it is dropped it gets SIGTERM and must end with exit status 0; if the test failed, its log is shown.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Client, PATIENCE};
use crate::trusted::trusted;

/// Where Debian has the original.
const ORIGINAL: &str = "/usr/sbin/qemu-ga";
/// How long the original may take to end before it is killed: now and then it misses a SIGTERM (reference §5, 27).
const ORIGINAL_ENDS: Duration = Duration::from_secs(3);

/// A program that is an agent.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    /// What `-V` prints.
    version: String,
    /// What it is told that it is called.
    called: Option<String>,
}

impl Program {
    /// The program under test: that of `AGENT_BIN`, else `built`, from where the agent trusts what is beside it.
    pub fn under_test(built: &str) -> Self {
        let built = || trusted(Path::new(built)).into_os_string();
        Self::new(std::env::var_os("AGENT_BIN").unwrap_or_else(built))
    }

    /// The original, if it is installed; `QEMU_GA` names another one than Debian's.
    pub fn original() -> Option<Self> {
        let path = std::env::var_os("QEMU_GA").unwrap_or_else(|| ORIGINAL.into());
        Path::new(&path).is_file().then(|| Self::new(path))
    }

    /// The one at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let mut output = Command::new(&path).arg("-V").output();
        // One that was just written may still be open in what another thread is starting.
        for _ in 0..500 {
            if !output.as_ref().is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            output = Command::new(&path).arg("-V").output();
        }
        let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", path.display()));
        Self { path, version: String::from_utf8_lossy(&output.stdout).trim().to_owned(), called: None }
    }

    /// Whether it is waga, and not the original.
    pub fn is_waga(&self) -> bool {
        self.version.starts_with("waga")
    }

    /// Whether it behaves as qemu-ga of this major version or a later one. (Waga behaves as the newest.)
    pub fn since(&self, major: u32) -> bool {
        let number =
            self.version.rsplit(' ').next().and_then(|version| version.split('.').next()?.parse().ok());
        self.is_waga() || number.is_some_and(|number: u32| number >= major)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tests call it.
    pub fn name(&self) -> &str {
        &self.version
    }

    /// The same program under another name, as its first argument tells it.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        self.called = Some(name.to_owned());
        self
    }

    /// A command that runs it without arguments, reading nothing.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(name) = &self.called {
            command.arg0(name);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end, apart from any agent.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// An agent to be started.
    pub fn setup(&self) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        Setup {
            program: self.clone(),
            dir,
            options: Vec::new(),
            env: Vec::new(),
            verbose: true,
            state: None,
            channel: true,
            script: Vec::new(),
            passed: Vec::new(),
        }
    }

    /// An agent that runs without further options.
    pub fn agent(&self) -> Agent {
        self.setup().start()
    }
}

/// How an agent is to be started.
#[derive(Debug)]
pub struct Setup {
    program: Program,
    dir: TempDir,
    options: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    verbose: bool,
    state: Option<PathBuf>,
    channel: bool,
    /// What a shell does, in order, before it becomes the agent.
    script: Vec<String>,
    /// Descriptors for the agent, 3 and 4.
    passed: Vec<OwnedFd>,
}

impl Setup {
    /// Its folder, for what has to be there beforehand.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds command line options.
    #[must_use]
    pub fn options<S: Into<OsString>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        self.options.extend(options.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment, or removes it.
    #[must_use]
    pub fn env(mut self, name: &str, value: Option<&str>) -> Self {
        self.env.push((name.into(), value.map(Into::into)));
        self
    }

    /// Logs errors only: the original writes all it reads to a verbose log.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.verbose = false;
        self
    }

    /// Keeps its state in another folder than its own.
    #[must_use]
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state = Some(dir.into());
        self
    }

    /// Leaves the channels to its configuration, one of which has to be `sock` in its folder.
    #[must_use]
    pub fn configured_channels(mut self) -> Self {
        self.channel = false;
        self
    }

    /// Lets a shell run this first, and then become the agent, which is `$@`.
    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        self.script.push(script.to_owned());
        self
    }

    /// Passes one or two descriptors to it, as a service manager does.
    #[must_use]
    pub fn passing(mut self, descriptors: impl IntoIterator<Item: Into<OwnedFd>>) -> Self {
        self.passed.extend(descriptors.into_iter().map(Into::into));
        let second = if self.passed.len() > 1 { "4>&1" } else { "" };
        let count = self.passed.len();
        self.script(&format!(
            "exec 3<&0 {second}; exec </dev/null >/dev/null; export LISTEN_PID=$$ LISTEN_FDS={count}"
        ))
    }

    /// The command that starts it.
    fn command(&self) -> Command {
        let dir = self.dir.path();
        let mut command = if self.script.is_empty() {
            self.program.command()
        } else {
            let mut shell = Command::new("sh");
            let script = format!("{}; exec \"$@\"", self.script.join("; "));
            shell.args(["-c", &script, "sh"]).arg(&self.program.path);
            shell
        };
        if self.channel {
            command.args(["-m", "unix-listen", "-p"]).arg(dir.join("sock"));
        }
        command.arg("-t").arg(self.state.as_deref().unwrap_or(dir)).arg("-l").arg(dir.join("log"));
        command.args(self.verbose.then_some("-v")).args(&self.options).current_dir(dir);
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut passed = self.passed.iter().map(|fd| Stdio::from(fd.try_clone().unwrap()));
        command.stdin(passed.next().unwrap_or_else(Stdio::null));
        command.stdout(passed.next().unwrap_or_else(Stdio::null));
        command.stderr(File::options().append(true).create(true).open(dir.join("stderr")).unwrap());
        command
    }

    /// Starts it and waits until it accepts clients.
    pub fn start(self) -> Agent {
        let agent = self.launch();
        let until = Instant::now() + PATIENCE;
        while UnixStream::connect(agent.socket()).is_err() {
            let early = agent.wait(Duration::ZERO);
            assert!(early.is_none(), "the agent ended with {early:?}: {}", agent.log());
            assert!(Instant::now() < until, "the agent does not listen: {}", agent.log());
            std::thread::yield_now();
        }
        agent
    }

    /// Starts it where it is not expected to come up, and returns how it ended and what it said.
    pub fn fails(self) -> (ExitStatus, String) {
        self.launch().ended()
    }

    /// Starts it and waits for nothing.
    pub fn launch(self) -> Agent {
        let mut child = self.command().spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let (tell, ended) = channel();
        std::thread::spawn(move || {
            let _ = tell.send(child.wait().unwrap());
        });
        Agent { setup: Some(self), pid, ended: Mutex::new(ended), over: false }
    }
}

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
    fn setup(&self) -> &Setup {
        self.setup.as_ref().unwrap()
    }

    /// The program that runs.
    pub fn program(&self) -> &Program {
        &self.setup().program
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
        if self.setup().passed.is_empty() {
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
