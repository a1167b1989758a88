//! The configuration: our files, qemu-ga's file and the command line, resolved into one value that no longer changes. Nothing else has
//! defaults.
//!
//! Later sources win: `/etc/waga/agent.toml`, `/etc/waga/agent.d/*.toml` by name, `qemu-ga.conf`, the command line. What policy takes
//! away no source gives back. Started under the name `qemu-ga`, only `qemu-ga.conf` is read.

mod agent_toml;
mod channel;
pub mod command_name;
mod dump;
mod extension;
mod freeze;
mod key_file;
mod log;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
#[cfg(feature = "extensions")]
mod own;
pub mod pack;
mod qemu_ga_conf;
mod schema;
pub(crate) mod size;
mod sources;
pub(crate) mod trust;

use std::fmt;
use std::path::{Path, PathBuf};

pub use channel::{Access, Channel, Endpoint, Method};
#[cfg(feature = "extensions")]
pub(crate) use extension::LARGEST_STATE;
pub use extension::{CallLimits, Code, Extension, Extensions, GrantedProgram, OnFailure, Runtime};
pub use freeze::Freeze;
pub use log::{Audit, Log, Target};
#[cfg(feature = "extensions")]
pub use own::OwnPlace;
#[cfg(feature = "extensions")]
pub(crate) use trust::way;

use sources::Sources;

use crate::cli::{Cli, Name, Options};
use crate::policy::Policy;

/// Where files are looked for when none is named.
#[derive(Debug, Clone)]
pub struct Places {
    /// Our file; may be missing.
    pub agent_toml: PathBuf,
    /// The folder of our further files; may be missing.
    pub agent_d: PathBuf,
    /// qemu-ga's file; may be missing.
    pub qemu_ga_conf: PathBuf,
}

impl Places {
    /// The system's, and for qemu-ga's file what the variable `QGA_CONF` says.
    pub fn system() -> Self {
        Self {
            agent_toml: "/etc/waga/agent.toml".into(),
            agent_d: "/etc/waga/agent.d".into(),
            qemu_ga_conf: std::env::var_os("QGA_CONF")
                .map_or_else(|| qemu_ga_conf::DEFAULT.into(), PathBuf::from),
        }
    }
}

/// A file of `agent.d` as it is to be, or is not to be any more, for whoever asks what would come of it.
#[derive(Debug, Clone)]
pub struct Proposed {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// Its text; `None`: it is gone.
    pub text: Option<String>,
}

/// Where state is kept unless something else is said; as qemu-ga.
pub(crate) const STATE_DIR: &str = "/var/run";

/// Everything the daemon is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name that the agent was started by.
    pub name: Name,
    /// The channels, at least one.
    pub channels: Vec<Channel>,
    /// What is switched off or limited.
    pub policy: Policy,
    /// Where state is kept between runs.
    pub state_dir: PathBuf,
    /// The log.
    pub log: Log,
    /// The audit; off if none.
    pub audit: Option<Audit>,
    /// Whether to go to the background.
    pub daemonize: bool,
    /// What holds the process number in the background.
    pub pid_file: PathBuf,
    /// Freezing.
    pub freeze: Freeze,
    /// Extensions.
    pub extensions: Extensions,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
    /// What is no fault and means nothing all the same.
    pub doubts: Vec<String>,
}

/// A configuration, with what only `--dump-conf` wants to know.
#[derive(Debug)]
pub struct Resolved {
    /// What holds.
    pub config: Config,
    /// What qemu-ga's file and the command line came to.
    options: Options,
    /// The tables of our files.
    tables: Vec<schema::PolicyTable>,
    /// The settings of extensions, in their order.
    settings: Vec<Option<toml::Table>>,
}

impl Resolved {
    /// The text of `--dump-conf`, without its last newline: a key file for `qemu-ga`, an `agent.toml` for `waga`.
    ///
    /// # Errors
    /// A value that cannot be written in that language, such as a path that is not UTF-8.
    pub fn dump(&self) -> Result<String, ConfigError> {
        match self.config.name {
            Name::QemuGa => Ok(dump::key_file(self)),
            Name::Waga => dump::toml(self),
        }
    }
}

/// What is wrong with the configuration, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the files that count and resolves them with the command line. Of packs no more is known than that they are named: see
    /// [`Self::find_packs`].
    ///
    /// # Errors
    /// A file that cannot be read, trusted or understood, with its place; a value that makes no sense.
    pub fn load(cli: &Cli, places: &Places) -> Result<Resolved, ConfigError> {
        let mut sources = Sources::default();
        match (&cli.config, cli.name) {
            (Some(path), Name::Waga) if path.extension().is_some_and(|extension| extension == "toml") => {
                sources.add_ours(path, true)?;
            }
            (Some(path), Name::Waga) if path.is_dir() => sources.add_all(path, None)?,
            (Some(path), name) => sources.add_qemu_gas(path, true, name == Name::Waga)?,
            (None, name) => {
                if name == Name::Waga {
                    sources.add_ours(&places.agent_toml, false)?;
                    sources.add_folder(&places.agent_d, None)?;
                }
                sources.add_qemu_gas(&places.qemu_ga_conf, false, false)?;
            }
        }
        sources.resolve(cli)
    }

    /// What a folder as `/etc/waga` comes to by itself, with one of its files as it is proposed: neither options nor `qemu-ga.conf` count. Its
    /// packs are looked for.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of_folder(folder: &Path, proposed: Option<&Proposed>) -> Result<Self, ConfigError> {
        let mut sources = Sources::default();
        sources.add_all(folder, proposed)?;
        let cli = Cli { name: Name::Waga, config: None, options: Options::default() };
        let mut config = sources.resolve(&cli)?.config;
        config.find_packs();
        Ok(config)
    }

    /// Looks which of the packs that are named are installed, and may be run; what an operator should know of them is among the doubts then.
    ///
    /// Their store may hang, which takes five seconds at most, and leaves a thread behind that waits for it: so a daemon does this once it is
    /// in the background, and signals are blocked that are not for such a thread.
    pub fn find_packs(&mut self) {
        let doubts = self.extensions.find_packs();
        self.doubts.extend(doubts);
    }

    /// Makes every path independent of the working folder, which a daemon leaves.
    pub fn make_absolute(&mut self) {
        let targets = [Some(&mut self.log.target), self.audit.as_mut().map(|audit| &mut audit.target)];
        let files = targets.into_iter().flatten().filter_map(|target| match target {
            Target::File(path) => Some(path),
            _ => None,
        });
        let endpoints = self.channels.iter_mut().filter_map(|channel| match &mut channel.endpoint {
            Endpoint::VirtioSerial(path) | Endpoint::IsaSerial(path) | Endpoint::Unix(path, _) => Some(path),
            Endpoint::Vsock { .. } => None,
        });
        let extensions = &mut self.extensions;
        let others = [
            &mut self.state_dir,
            &mut self.pid_file,
            &mut extensions.cache,
            &mut extensions.state,
            &mut extensions.packs,
            &mut extensions.trusted_keys,
        ];
        let modules = extensions.list.iter_mut().flat_map(|extension| extension.code.paths_mut());
        for path in files.chain(endpoints).chain(others).chain(&mut self.freeze.hook).chain(modules) {
            // It fails for an empty path and without a working folder: then opening it will say so.
            if let Ok(absolute) = std::path::absolute(&*path) {
                *path = absolute;
            }
        }
    }
}

/// Whether a channel can bear this name; if none can, a hint at one that does.
fn nearest_channel(name: &str, channels: &[Channel]) -> Result<(), String> {
    let known = channels.iter().map(|channel| &*channel.name).chain(Method::ALL.map(Method::as_str));
    // Sockets that systemd passes have the names of their units, unless the unit says otherwise.
    let passed = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let known: Vec<&str> = known.chain(passed.split(':').filter(|name| !name.is_empty())).collect();
    if known.contains(&name) || name.ends_with(".socket") {
        return Ok(());
    }
    let hint = crate::nearest::nearest(name, known).map(|known| format!("; did you mean '{known}'?"));
    Err(hint.unwrap_or_default())
}

#[cfg(all(test, feature = "extensions"))]
mod extension_tests;
#[cfg(all(test, feature = "extensions"))]
mod pack_tests;
#[cfg(all(test, feature = "extensions"))]
mod sample_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod widening_tests;
