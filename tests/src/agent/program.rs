//! Programs that are agents: the one under test, and the original.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::{Agent, Setup};
use crate::trusted::trusted;

/// Where Debian has the original.
const ORIGINAL: &str = "/usr/sbin/qemu-ga";

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
        Setup::new(self.clone())
    }

    /// An agent that runs without further options.
    pub fn agent(&self) -> Agent {
        self.setup().start()
    }
}
