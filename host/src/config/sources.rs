//! The files that count, in order, and what they come to together with the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::channel::{Access, Channel, Method};
use super::{
    Config, ConfigError, Extensions, Freeze, Log, Proposed, Resolved, STATE_DIR, Target, agent_toml,
    nearest_channel, qemu_ga_conf, trust,
};
use crate::cli::{Cli, Options};
use crate::policy::{AllowList, Names, Origin, Policy, Rules};

/// Everything that is said, source by source, in order.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) files: Vec<PathBuf>,
    pub(super) ours: Vec<agent_toml::Said>,
    pub(super) qemu_ga: qemu_ga_conf::Said,
    /// The one that was named, in the place of `/etc/waga`.
    pub(super) folder: Option<PathBuf>,
}

impl Sources {
    pub(super) fn add_ours(&mut self, path: &Path, wanted: bool) -> Result<(), ConfigError> {
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
    pub(super) fn add_all(&mut self, folder: &Path, proposed: Option<&Proposed>) -> Result<(), ConfigError> {
        self.folder = Some(folder.to_owned());
        self.add_ours(&folder.join("agent.toml"), false)?;
        self.add_folder(&folder.join("agent.d"), proposed)
    }

    /// The folder's `*.toml`, by name.
    pub(super) fn add_folder(
        &mut self,
        folder: &Path,
        proposed: Option<&Proposed>,
    ) -> Result<(), ConfigError> {
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
    pub(super) fn add_qemu_gas(
        &mut self,
        path: &Path,
        wanted: bool,
        doubtful: bool,
    ) -> Result<(), ConfigError> {
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

    pub(super) fn resolve(self, cli: &Cli) -> Result<Resolved, ConfigError> {
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
