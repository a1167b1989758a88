//! How an agent is started: options, environment, folder, what a shell does before and what is passed to it.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Agent, Program};
use crate::client::PATIENCE;

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
    pub(super) fn new(program: Program) -> Self {
        Self {
            program,
            dir: tempfile::tempdir().unwrap(),
            options: Vec::new(),
            env: Vec::new(),
            verbose: true,
            state: None,
            channel: true,
            script: Vec::new(),
            passed: Vec::new(),
        }
    }

    /// The program that is to run.
    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// Whether it is passed descriptors.
    pub(super) fn is_passing(&self) -> bool {
        !self.passed.is_empty()
    }

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
            shell.args(["-c", &script, "sh"]).arg(self.program.path());
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
        Agent::new(self, pid, ended)
    }
}
