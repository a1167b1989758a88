//! `agent.toml`: its tables as serde reads them, and what they mean, with the place of everything that policy may later be asked for.
//!
//! Strict: an operator relies on what he wrote. A key, a word or a value that is not known is an error with file, line and column that
//! names the nearest one that is.

mod extension;
mod programs;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Group, User};
use toml::Spanned;
use waga_builtins::fsfreeze::Exclude;
use waga_builtins::{Limits, exec, file};

use super::ConfigError;
use super::channel::{Access, Channel, Method};
use super::log::{Audit, Target};
use super::schema::{ChannelTable, File, FileTable, FreezeTable, PolicyTable, ProgramTable, RulesTable, Who};
use super::{extension as extensions, freeze};
use crate::nearest::nearest;
use crate::policy::{AllowList, Names, Origin, Rules};

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) channels: Vec<Channel>,
    /// For all channels.
    pub(super) rules: Rules,
    /// For single channels, by name, with the place of the table.
    pub(super) channel_rules: Vec<(Arc<str>, Origin, Rules)>,
    pub(super) log: Option<Target>,
    pub(super) verbose: Option<bool>,
    pub(super) audit: Option<Audit>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) daemonize: Option<bool>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) freeze: freeze::Said,
    pub(super) extensions: extensions::Said,
    /// Policy as it was written.
    pub(super) table: PolicyTable,
}

/// Reads the text of the file at `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<Said, ConfigError> {
    let source = Source { text, path };
    let file: File = toml::from_str(text).map_err(|error| source.syntax(&error))?;
    let audit = file.audit.map(|table| source.target(table.target, table.file)).transpose()?;
    let log = (file.log.target.is_some() || file.log.file.is_some())
        .then(|| source.target(file.log.target, file.log.file))
        .transpose()?;
    let channels = file.channel.into_iter().map(|table| source.channel(table));
    let table = file.policy;
    let rules = table.rules();
    let channel_rules = table.channel.clone().into_iter().map(|(name, table)| {
        let key = format!("[policy.channel.{}]", name.get_ref());
        let origin = source.origin(&name.span(), key.clone());
        Ok((name.into_inner().into(), origin, source.rules(table, key.trim_matches(['[', ']']))?))
    });
    Ok(Said {
        channels: channels.collect::<Result<_, _>>()?,
        channel_rules: channel_rules.collect::<Result<_, ConfigError>>()?,
        rules: source.rules(rules, "policy")?,
        log,
        verbose: file.log.verbose,
        audit: audit.map(|target| Audit { target }),
        state_dir: file.state.dir,
        daemonize: file.daemon.daemonize,
        pid_file: file.daemon.pidfile,
        freeze: source.freeze(file.freeze)?,
        extensions: source.extensions(file.extensions, file.extension)?,
        table,
    })
}

/// The file that is being read.
struct Source<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Source<'_> {
    /// Line and column of a byte, both counted from 1; a column counts characters.
    fn position(&self, place: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(place)];
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    fn origin(&self, span: &Range<usize>, key: String) -> Origin {
        let (line, column) = self.position(span.start);
        Origin::place(self.path, line, column, key)
    }

    fn error(&self, span: &Range<usize>, text: impl std::fmt::Display) -> ConfigError {
        let (line, column) = self.position(span.start);
        ConfigError::new(format!("{}:{line}:{column}: {text}", self.path.display()))
    }

    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let mut text = error.message().trim().replace('\n', ", ");
        if let Some(hint) = hint(&text) {
            text += &hint;
        }
        self.error(&error.span().unwrap_or_default(), text)
    }

    /// A word out of a few.
    fn word<T: Copy>(
        &self,
        what: &str,
        word: &Spanned<String>,
        known: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let found = known.iter().find(|(name, _)| name == word.get_ref());
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names = || known.iter().map(|(name, _)| *name);
            let hint = nearest(word.get_ref(), names()).map(|name| format!("; did you mean '{name}'?"));
            let names = names().collect::<Vec<_>>().join(", ");
            let text = format!(
                "unknown {what} '{}': use one of {names}{}",
                word.get_ref(),
                hint.unwrap_or_default()
            );
            self.error(&word.span(), text)
        })
    }

    fn channel(&self, table: ChannelTable) -> Result<Channel, ConfigError> {
        let method =
            self.word("channel method", &table.method, &Method::ALL.map(|method| (method.as_str(), method)))?;
        if method != Method::UnixListen {
            let mode = table.mode.as_ref().map(|mode| (mode.span(), "mode"));
            let owner = table.owner.as_ref().map(|owner| (owner.span(), "owner"));
            let group = table.group.as_ref().map(|group| (group.span(), "group"));
            if let Some((span, key)) = mode.or(owner).or(group) {
                let text =
                    format!("'{key}' is for unix-listen channels: a {} one makes no file", method.as_str());
                return Err(self.error(&span, text));
            }
        }
        let access = Access {
            mode: table.mode.map(|mode| self.mode(&mode)).transpose()?,
            owner: table
                .owner
                .map(|who| {
                    self.id("user", &who, |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
                })
                .transpose()?,
            group: table
                .group
                .map(|who| {
                    self.id("group", &who, |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
                })
                .transpose()?,
        };
        // Without a path it is the method that wants one.
        let span = table.path.as_ref().map_or(table.method.span(), Spanned::span);
        let path = table.path.map(Spanned::into_inner);
        if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(self.error(&span, format!("a {} channel needs a path", method.as_str())));
        }
        let mut channel = Channel::new(method, path, access).map_err(|text| self.error(&span, text))?;
        if let Some(name) = table.name {
            if name.get_ref().is_empty() || name.get_ref().contains(char::is_control) {
                return Err(self.error(&name.span(), "a channel's name has to be printable"));
            }
            channel.name = name.into_inner().into();
        }
        channel.retry = table.retry_path;
        Ok(channel)
    }

    fn freeze(&self, table: FreezeTable) -> Result<freeze::Said, ConfigError> {
        let deadline = |text: &Spanned<String>| match text.get_ref().as_str() {
            "off" => Ok(None),
            _ => self.time(text, " or \"off\"").map(Some),
        };
        let exclude = |list: Spanned<Vec<String>>| {
            Exclude::new(list.get_ref()).map_err(|text| self.error(&list.span(), text))?;
            Ok(list.into_inner())
        };
        Ok(freeze::Said {
            hook: table.hook,
            hook_timeout: table.hook_timeout.map(|text| self.time(&text, "")).transpose()?,
            deadline: table.deadline.map(|text| deadline(&text)).transpose()?,
            exclude: table.exclude.map(exclude).transpose()?.unwrap_or_default(),
        })
    }

    /// A time that is not nought; `or` is what else may stand there.
    fn time(&self, text: &Spanned<String>, or: &str) -> Result<Duration, ConfigError> {
        let time = humantime::parse_duration(text.get_ref()).ok().filter(|time| !time.is_zero());
        time.ok_or_else(|| {
            let written = text.get_ref();
            self.error(
                &text.span(),
                format!("'{written}' is no time: write \"90s\", \"10m\" or \"1h 30m\"{or}"),
            )
        })
    }

    fn mode(&self, mode: &Spanned<String>) -> Result<u32, ConfigError> {
        let bits = u32::from_str_radix(mode.get_ref(), 8).ok().filter(|&bits| bits <= 0o777);
        bits.ok_or_else(|| {
            let text = format!(
                "'{}' is no mode: write permission bits in octal, \"0660\" for example",
                mode.get_ref()
            );
            self.error(&mode.span(), text)
        })
    }

    fn id(
        &self,
        what: &str,
        who: &Spanned<Who>,
        look_up: impl Fn(&str) -> nix::Result<Option<u32>>,
    ) -> Result<u32, ConfigError> {
        match who.get_ref() {
            Who::Number(id) => Ok(*id),
            Who::Name(name) => match look_up(name) {
                Ok(Some(id)) => Ok(id),
                Ok(None) => Err(self.error(&who.span(), format!("there is no {what} '{name}'"))),
                Err(error) => {
                    Err(self.error(&who.span(), format!("cannot look up the {what} '{name}': {error}")))
                }
            },
        }
    }

    fn target(
        &self,
        target: Option<Spanned<String>>,
        file: Option<Spanned<PathBuf>>,
    ) -> Result<Target, ConfigError> {
        let kinds = ["auto", "stderr", "syslog", "journal", "file"].map(|kind| (kind, kind));
        let kind = target.as_ref().map(|target| self.word("target", target, &kinds)).transpose()?;
        match (kind, file) {
            (None | Some("file"), Some(file)) if file.get_ref().as_os_str().is_empty() => {
                Err(self.error(&file.span(), "a file needs a name"))
            }
            (None | Some("file"), Some(file)) => Ok(Target::File(file.into_inner())),
            (Some(_), Some(file)) => Err(self.error(&file.span(), "a file is for target = \"file\" only")),
            (Some("file"), None) => Err(self.error(
                &target.map_or(0..0, |target| target.span()),
                "target = \"file\" needs the key 'file'",
            )),
            (Some("stderr"), None) => Ok(Target::Stderr),
            (Some("syslog"), None) => Ok(Target::Syslog),
            (Some("journal"), None) => Ok(Target::Journal),
            (_, None) => Ok(Target::Auto),
        }
    }

    fn rules(&self, table: RulesTable, section: &str) -> Result<Rules, ConfigError> {
        let names = |list: Vec<Spanned<String>>, key: &str| -> Result<Names, ConfigError> {
            let mut names = Names::new();
            for name in list {
                if name.get_ref().is_empty() {
                    return Err(self.error(&name.span(), "a command has a name"));
                }
                let origin = self.origin(&name.span(), format!("[{section}] {key}"));
                names.entry(name.into_inner()).or_insert(origin);
            }
            Ok(names)
        };
        let allow = table.allow.map(|list| {
            let origin = self.origin(&list.span(), format!("[{section}] allow"));
            Ok(AllowList { names: names(list.into_inner(), "allow")?, origin })
        });
        let (mut limits, mut limited_by) = (Limits::default(), Vec::new());
        if let Some(table) = table.exec {
            limited_by.push(self.origin(&table.span(), format!("[{section}.exec]")));
            let rule = |entry: Spanned<ProgramTable>| {
                let ProgramTable { program, args, env } = entry.get_ref();
                exec::Rule::new(program, args, env).map_err(|text| self.error(&entry.span(), text))
            };
            let rules = table.into_inner().allow.into_iter().map(rule).collect::<Result<_, _>>()?;
            limits.exec.push(exec::Rules(rules));
        }
        if let Some(table) = table.file {
            let span = table.span();
            limited_by.push(self.origin(&span, format!("[{section}.file]")));
            let FileTable { read, write } = table.into_inner();
            let plain = |paths: &[Spanned<String>]| -> Vec<String> {
                paths.iter().map(|path| path.get_ref().clone()).collect()
            };
            let places = file::Places::new(&plain(&read), &plain(&write)).map_err(|text| {
                // A fault is told where its path stands: the first that is one by itself.
                let is_fault =
                    |path: &&Spanned<String>| file::Places::new(&plain(slice::from_ref(path)), &[]).is_err();
                let place = read.iter().chain(&write).find(is_fault).map_or(span, Spanned::span);
                self.error(&place, text)
            });
            limits.file.push(places?);
        }
        Ok(Rules {
            allow: allow.transpose()?.into_iter().collect(),
            block: names(table.block, "block")?,
            enable: names(table.enable, "enable")?,
            limits: Arc::new(limits),
            limited_by,
        })
    }
}

/// What somebody probably meant who wrote a key that is not known, from serde's message about it.
fn hint(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let (written, known) = (quoted.next()?, quoted);
    Some(format!("; did you mean `{}`?", nearest(written, known)?))
}
