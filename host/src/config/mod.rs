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
pub(crate) mod trust;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

use crate::cli::{Cli, Name, Options};
use crate::policy::{AllowList, Names, Origin, Policy, Rules};

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

/// Everything that is said, source by source, in order.
#[derive(Default)]
struct Sources {
    files: Vec<PathBuf>,
    ours: Vec<agent_toml::Said>,
    qemu_ga: qemu_ga_conf::Said,
    /// The one that was named, in the place of `/etc/waga`.
    folder: Option<PathBuf>,
}

impl Config {
    /// Reads the files that count and resolves them with the command line.
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

    /// What a folder as `/etc/waga` comes to by itself, with one of its files as it is proposed: neither options nor `qemu-ga.conf` count.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of_folder(folder: &Path, proposed: Option<&Proposed>) -> Result<Self, ConfigError> {
        let mut sources = Sources::default();
        sources.add_all(folder, proposed)?;
        let cli = Cli { name: Name::Waga, config: None, options: Options::default() };
        sources.resolve(&cli).map(|resolved| resolved.config)
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

impl Sources {
    fn add_ours(&mut self, path: &Path, wanted: bool) -> Result<(), ConfigError> {
        match trust::read(path, trust::From::Trusted)? {
            Some(text) => self.ours.push(agent_toml::parse(&text, path)?),
            None if wanted => {
                return Err(ConfigError::new(format!("{}: there is no such file", path.display())));
            }
            None => return Ok(()),
        }
        self.files.push(path.to_owned());
        Ok(())
    }

    /// `agent.toml` and `agent.d` of a folder, in which the trusted keys are, too.
    fn add_all(&mut self, folder: &Path, proposed: Option<&Proposed>) -> Result<(), ConfigError> {
        self.folder = Some(folder.to_owned());
        self.add_ours(&folder.join("agent.toml"), false)?;
        self.add_folder(&folder.join("agent.d"), proposed)
    }

    /// The folder's `*.toml`, by name.
    fn add_folder(&mut self, folder: &Path, proposed: Option<&Proposed>) -> Result<(), ConfigError> {
        let failed = |error: std::io::Error| ConfigError::new(format!("{}: {error}", folder.display()));
        trust::folder(folder)?;
        let mut paths = match std::fs::read_dir(folder) {
            Ok(entries) => {
                let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
                paths.map_err(failed)?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        if let Some(proposed) = proposed {
            paths.retain(|path| *path != proposed.path);
            paths.extend(proposed.text.as_ref().map(|_| proposed.path.clone()));
        }
        paths.retain(|path| {
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            !hidden && path.extension().is_some_and(|extension| extension == "toml")
        });
        paths.sort();
        for path in &paths {
            match proposed.filter(|it| it.path == *path).and_then(|it| it.text.as_ref()) {
                Some(text) => {
                    self.ours.push(agent_toml::parse(text, path)?);
                    self.files.push(path.clone());
                }
                None => self.add_ours(path, true)?,
            }
        }
        Ok(())
    }

    /// `doubtful`: it might be one of ours that is called otherwise, of which a key file would understand nothing.
    fn add_qemu_gas(&mut self, path: &Path, wanted: bool, doubtful: bool) -> Result<(), ConfigError> {
        match trust::read(path, trust::From::Anyone)? {
            Some(text) if doubtful && qemu_ga_conf::is_another(&text) => {
                return Err(ConfigError::new(format!(
                    "{}: has no [general] as qemu-ga.conf has; the name of an agent.toml has to end in .toml",
                    path.display()
                )));
            }
            Some(text) => self.qemu_ga = qemu_ga_conf::parse(&text, path)?,
            None if wanted => {
                return Err(ConfigError::new(format!("{}: there is no such file", path.display())));
            }
            None => return Ok(()),
        }
        self.files.push(path.to_owned());
        Ok(())
    }

    fn resolve(self, cli: &Cli) -> Result<Resolved, ConfigError> {
        let (conf, line) = (self.qemu_ga, cli.options.clone());
        let (from_conf, from_line) = (conf.options.clone(), line.clone());
        let options = Options {
            method: line.method.or(conf.options.method),
            path: line.path.or(conf.options.path),
            log_file: line.log_file.or(conf.options.log_file),
            pid_file: line.pid_file.or(conf.options.pid_file),
            fsfreeze_hook: line.fsfreeze_hook.or(conf.options.fsfreeze_hook),
            state_dir: line.state_dir.or(conf.options.state_dir),
            verbose: line.verbose || conf.options.verbose,
            daemonize: line.daemonize || conf.options.daemonize,
            retry_path: line.retry_path || conf.options.retry_path,
            block: [conf.options.block, line.block].concat(),
            allow: [conf.options.allow, line.allow].concat(),
        };
        let mut config = Config {
            name: cli.name,
            channels: Vec::new(),
            policy: Policy::default(),
            state_dir: STATE_DIR.into(),
            log: Log::default(),
            audit: None,
            daemonize: false,
            pid_file: "/var/run/qemu-ga.pid".into(),
            freeze: Freeze::default(),
            extensions: Extensions::of_folder(self.folder.as_deref()),
            files: self.files,
            doubts: conf.doubts,
        };
        let mut rules = qemu_gas_rules(&from_conf, &conf.block, &conf.allow, &from_line);
        let mut channel_rules: Vec<(Arc<str>, Origin, Rules)> = Vec::new();
        let (mut tables, mut settings) = (Vec::new(), Vec::new());
        for said in self.ours {
            config.channels.extend(said.channels);
            config.state_dir = said.state_dir.unwrap_or(config.state_dir);
            config.log.target = said.log.unwrap_or(config.log.target);
            config.log.verbose = said.verbose.unwrap_or(config.log.verbose);
            config.audit = said.audit.or(config.audit);
            config.daemonize = said.daemonize.unwrap_or(config.daemonize);
            config.pid_file = said.pid_file.unwrap_or(config.pid_file);
            config.freeze.add(said.freeze);
            settings.extend(said.extensions.settings.iter().cloned());
            config.extensions.add(said.extensions).map_err(ConfigError)?;
            add(&mut rules, said.rules);
            for (name, origin, more) in said.channel_rules {
                match channel_rules.iter_mut().find(|(known, ..)| *known == name) {
                    Some((_, _, rules)) => add(rules, more),
                    None => channel_rules.push((name, origin, more)),
                }
            }
            tables.push(said.table);
        }
        config.doubts.extend(config.extensions.find_packs());
        config.state_dir = options.state_dir.clone().unwrap_or(config.state_dir);
        config.log.target = options.log_file.clone().map_or(config.log.target, Target::File);
        config.log.verbose |= options.verbose;
        config.daemonize |= options.daemonize;
        config.pid_file = options.pid_file.clone().unwrap_or(config.pid_file);
        config.freeze.hook = options.fsfreeze_hook.clone().or(config.freeze.hook);
        for (name, origin, _) in &channel_rules {
            is_a_channel(name, origin, &config.channels)?;
        }
        if options.method.is_some() || options.path.is_some() || config.channels.is_empty() {
            config.channels = vec![qemu_gas_channel(&options)?];
        }
        for channel in &mut config.channels {
            channel.retry |= options.retry_path;
        }
        for (place, channel) in config.channels.iter().enumerate() {
            if config.channels[..place].iter().any(|other| other.name == channel.name) {
                config.doubts.push(format!(
                    "two channels are called '{}': policy and audit cannot tell them apart; give each a name",
                    channel.name
                ));
            }
        }
        let channel_rules = channel_rules.into_iter().map(|(name, _, rules)| (name, rules));
        config.policy = Policy::new(rules, channel_rules);
        Ok(Resolved { config, options, tables, settings })
    }
}

/// What `-m` and `-p`, there or in `qemu-ga.conf`, make of all channels.
fn qemu_gas_channel(options: &Options) -> Result<Channel, ConfigError> {
    let name = options.method.as_deref().unwrap_or(Method::VirtioSerial.as_str());
    let method = name.parse::<Method>().map_err(|()| {
        let known = Method::ALL.map(Method::as_str);
        let hint = crate::nearest::nearest(name, known).map(|known| format!("; did you mean '{known}'?"));
        let known = known.join(", ");
        ConfigError::new(format!(
            "unknown channel method '{name}': use one of {known}{}",
            hint.unwrap_or_default()
        ))
    })?;
    Channel::new(method, options.path.clone(), Access::default()).map_err(ConfigError)
}

/// The lists of `qemu-ga.conf` and of the command line: each kind adds up over both, as in qemu-ga.
fn qemu_gas_rules(conf: &Options, block: &[Origin], allow: &[Origin], line: &Options) -> Rules {
    let gather = |conf: &[Vec<String>], origins: &[Origin], line: &[Vec<String>], option: &str| {
        let option = Origin::option(option);
        let lists = conf.iter().zip(origins).chain(line.iter().map(|list| (list, &option)));
        let mut names = Names::new();
        let mut first = None;
        for (list, origin) in lists {
            first.get_or_insert_with(|| origin.clone());
            for name in list.iter().filter(|name| !name.is_empty()) {
                names.entry(name.clone()).or_insert_with(|| origin.clone());
            }
        }
        (names, first)
    };
    let (block, _) = gather(&conf.block, block, &line.block, "--block-rpcs (-b)");
    let (names, origin) = gather(&conf.allow, allow, &line.allow, "--allow-rpcs (-a)");
    let allow = origin.map(|origin| AllowList { names, origin });
    Rules { allow: allow.into_iter().collect(), block, ..Rules::default() }
}

/// Puts the rules of one more layer on top.
fn add(rules: &mut Rules, more: Rules) {
    rules.allow.extend(more.allow);
    for (name, origin) in more.block {
        rules.block.entry(name).or_insert(origin);
    }
    for (name, origin) in more.enable {
        rules.enable.entry(name).or_insert(origin);
    }
    rules.limited_by.extend(more.limited_by);
    let limits = Arc::make_mut(&mut rules.limits);
    limits.exec.extend_from_slice(&more.limits.exec);
    limits.file.extend_from_slice(&more.limits.file);
}

/// A table for a channel that is not there would narrow nothing, and its author would not know.
fn is_a_channel(name: &str, origin: &Origin, channels: &[Channel]) -> Result<(), ConfigError> {
    nearest_channel(name, channels).map_err(|hint| {
        ConfigError::new(format!("{origin}: there is no [[channel]] with name = \"{name}\"{hint}"))
    })
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
