//! The configuration: `agent.toml` and the command line, resolved into one value that no longer changes. Nothing else has defaults.
//!
//! A key that is not known is an error: an operator who wrote it relies on it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

mod channel;
mod log;

pub use channel::{Access, Channel, Endpoint, Method};
pub use log::{Audit, Log, Target};

use crate::cli::Cli;
use crate::policy::Policy;

/// Where the configuration is looked for when none is named.
const DEFAULT_FILE: &str = "/etc/waga/agent.toml";

/// Everything the daemon is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The channels, at least one.
    pub channels: Vec<Channel>,
    /// What is switched off.
    pub policy: Policy,
    /// Where state is kept between runs.
    pub state_dir: PathBuf,
    /// The log.
    pub log: Log,
    /// The audit; off if none.
    pub audit: Option<Audit>,
    /// Whether a channel that cannot be opened, or fails, is tried again.
    pub retry_path: bool,
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
    method: String,
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
        let method = |name: &str| {
            name.parse::<Method>().map_err(|()| {
                let known = Method::ALL.map(Method::as_str).join(", ");
                ConfigError(format!("unknown channel method '{name}': use one of {known}"))
            })
        };
        let channel =
            |name: &str, path| Channel::new(method(name)?, path, Access::default()).map_err(ConfigError);
        // What the file says has to be right even where it is replaced.
        let entry = |entry: FileChannel| channel(&entry.method, entry.path);
        let listed = file.channel.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let channels = if cli.method.is_some() || cli.path.is_some() || listed.is_empty() {
            vec![channel(cli.method.as_deref().unwrap_or("virtio-serial"), cli.path)?]
        } else {
            listed
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
            log: Log {
                target: cli.log_file.or(file.log.file).map_or(Target::Auto, Target::File),
                verbose: cli.verbose || file.log.verbose,
            },
            audit: None,
            retry_path: cli.retry_path,
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
        let endpoint = Endpoint::VirtioSerial("/dev/virtio-ports/org.qemu.guest_agent.0".into());
        assert_eq!(config.channels, [Channel { name: "virtio-serial".into(), endpoint }]);
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
        let endpoint = Endpoint::Unix("s".into(), Access::default());
        assert_eq!(config.channels, [Channel { name: "unix-listen".into(), endpoint }]);
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
            ("[[channel]]\nmethod = 'carrier-pigeon'", "unknown channel method 'carrier-pigeon'"),
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
