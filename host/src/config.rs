//! The configuration: `agent.toml` and the command line, resolved into one value that no longer changes. Nothing else has defaults.
//!
//! A key that is not known is an error: an operator who wrote it relies on it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::Cli;
use crate::policy::Policy;

/// Where the configuration is looked for when none is named.
const DEFAULT_FILE: &str = "/etc/waga/agent.toml";

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The virtio serial port that QEMU gives the guest.
    VirtioSerial,
    /// A unix socket that the agent listens on.
    UnixListen,
}

impl Method {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VirtioSerial => "virtio-serial",
            Self::UnixListen => "unix-listen",
        }
    }

    fn default_path(self) -> Option<&'static str> {
        match self {
            Self::VirtioSerial => Some("/dev/virtio-ports/org.qemu.guest_agent.0"),
            Self::UnixListen => None,
        }
    }
}

/// One channel to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its transport.
    pub method: Method,
    /// The device or the socket.
    pub path: PathBuf,
}

impl Channel {
    /// What logs call it.
    pub fn name(&self) -> &str {
        self.method.as_str()
    }

    fn new(method: Method, path: Option<PathBuf>) -> Result<Self, ConfigError> {
        let path = path.or_else(|| method.default_path().map(PathBuf::from));
        let path = path.ok_or_else(|| ConfigError(format!("a {} channel needs a path", method.as_str())))?;
        Ok(Self { method, path })
    }
}

/// Everything the daemon is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The channels, at least one.
    pub channels: Vec<Channel>,
    /// What is switched off.
    pub policy: Policy,
    /// Where state is kept between runs.
    pub state_dir: PathBuf,
    /// The log file; stderr if none.
    pub log_file: Option<PathBuf>,
    /// Whether everything is logged, not only errors.
    pub verbose: bool,
}

/// What is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// `agent.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    channel: Vec<FileChannel>,
    #[serde(default)]
    policy: FilePolicy,
    #[serde(default)]
    log: FileLog,
    #[serde(default)]
    state: FileState,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileChannel {
    method: Method,
    path: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePolicy {
    allow: Option<Vec<String>>,
    #[serde(default)]
    block: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLog {
    file: Option<PathBuf>,
    #[serde(default)]
    verbose: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileState {
    dir: Option<PathBuf>,
}

impl Config {
    /// Reads the file that the command line names, or the default one if it exists, and resolves both.
    ///
    /// # Errors
    /// A file that cannot be read or understood, with its place; a value that cannot be.
    pub fn load(cli: Cli) -> Result<Self, ConfigError> {
        let path = cli.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        if path.extension().is_none_or(|extension| extension != "toml") {
            let desc = "the name does not end in .toml: files of qemu-ga's own format are not read yet";
            return Err(ConfigError(format!("{}: {desc}", path.display())));
        }
        let file = match std::fs::read_to_string(path) {
            Ok(text) => {
                toml::from_str(&text).map_err(|error| ConfigError(format!("{}: {error}", path.display())))?
            }
            Err(error) if cli.config.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                File::default()
            }
            Err(error) => return Err(ConfigError(format!("cannot read {}: {error}", path.display()))),
        };
        Self::resolve(cli, file)
    }

    /// `-m` and `-p` replace all channels of the file; block lists add up and allow lists intersect.
    fn resolve(cli: Cli, file: File) -> Result<Self, ConfigError> {
        let channels = if cli.method.is_some() || cli.path.is_some() || file.channel.is_empty() {
            let method = match cli.method.as_deref() {
                None | Some("virtio-serial") => Method::VirtioSerial,
                Some("unix-listen") => Method::UnixListen,
                Some(other) => {
                    let desc = format!("unknown channel method '{other}': use virtio-serial or unix-listen");
                    return Err(ConfigError(desc));
                }
            };
            vec![Channel::new(method, cli.path)?]
        } else {
            let channel = |channel: FileChannel| Channel::new(channel.method, channel.path);
            file.channel.into_iter().map(channel).collect::<Result<_, _>>()?
        };
        let allow = match (file.policy.allow, cli.allow) {
            (Some(file), Some(cli)) => Some(file.into_iter().filter(|name| cli.contains(name)).collect()),
            (file, cli) => file.or(cli),
        };
        let block = [file.policy.block, cli.block].concat();
        Ok(Self {
            channels,
            policy: Policy::new(allow, block),
            state_dir: cli.state_dir.or(file.state.dir).unwrap_or_else(|| "/var/run".into()),
            log_file: cli.log_file.or(file.log.file),
            verbose: cli.verbose || file.log.verbose,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(cli: Cli, file: &str) -> Result<Config, String> {
        let file = toml::from_str(file).map_err(|error| error.to_string())?;
        Config::resolve(cli, file).map_err(|error| error.to_string())
    }

    #[test]
    fn without_anything_it_is_qemu_gas_default() {
        let config = resolve(Cli::default(), "").unwrap();
        let path = "/dev/virtio-ports/org.qemu.guest_agent.0".into();
        assert_eq!(config.channels, [Channel { method: Method::VirtioSerial, path }]);
        assert_eq!(config.state_dir, Path::new("/var/run"));
        assert_eq!(config.policy, Policy::default());
    }

    #[test]
    fn the_command_line_replaces_channels_and_adds_to_lists() {
        let cli = Cli {
            method: Some("unix-listen".into()),
            path: Some("s".into()),
            block: vec!["x".into()],
            allow: Some(vec!["a".into(), "b".into()]),
            ..Cli::default()
        };
        let file = "[[channel]]\nmethod = 'virtio-serial'\n[policy]\nallow = ['b', 'c']\nblock = ['y']";
        let config = resolve(cli, file).unwrap();
        assert_eq!(config.channels, [Channel { method: Method::UnixListen, path: "s".into() }]);
        assert_eq!(config.policy, Policy::new(Some(vec!["b".into()]), vec!["x".into(), "y".into()]));
    }

    #[test]
    fn a_file_of_another_format_is_refused_by_name() {
        let cli = Cli { config: Some("/etc/qemu/qemu-ga.conf".into()), ..Cli::default() };
        assert!(Config::load(cli).unwrap_err().to_string().starts_with("/etc/qemu/qemu-ga.conf: the name"));
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for (file, expected) in [
            ("[polcy]", "unknown field `polcy`"),
            ("[policy]\nblok = []", "unknown field `blok`"),
            ("[[channel]]\nmethod = 'carrier-pigeon'", "unknown variant `carrier-pigeon`"),
            ("[[channel]]\nmethod = 'unix-listen'", "a unix-listen channel needs a path"),
            ("[extension.x]\nmodule = 'x'", "unknown field `extension`"),
        ] {
            let error = resolve(Cli::default(), file).unwrap_err();
            assert!(error.contains(expected), "{file}: {error}");
        }
        let cli = Cli { method: Some("tcp".into()), ..Cli::default() };
        assert!(resolve(cli, "").unwrap_err().contains("unknown channel method 'tcp'"));
    }
}
