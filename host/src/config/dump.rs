//! `--dump-conf`: what files and options come to, in the language of whoever asks: a key file under the name `qemu-ga`, an
//! `agent.toml` otherwise. Either reads back to the same.

mod extension;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::channel::{Access, Channel, Endpoint};
use super::log::Target;
use super::schema::{
    AuditTable, ChannelTable, DaemonTable, ExecTable, File, FileTable, FreezeTable, LogTable, PolicyTable,
    RulesTable, StateTable, Who,
};
use super::{ConfigError, Freeze, Resolved, nearest_channel};
use crate::policy::Rules;

/// As qemu-ga prints it: its keys in its order, each list backwards within its source.
pub(super) fn key_file(resolved: &Resolved) -> String {
    let config = &resolved.config;
    let mut lines = vec!["[general]".to_owned()];
    let mut say = |key: &str, value: &str| lines.push(format!("{key}={}", escaped(value)));
    let truth = |truth: bool| if truth { "true" } else { "false" };
    let text = |path: &Path| path.display().to_string();
    let lists = |lists: &[Vec<String>]| {
        let backwards = lists.iter().flat_map(|list| list.iter().rev().map(String::as_str));
        backwards.collect::<Vec<_>>().join(",")
    };
    say("daemon", truth(config.daemonize));
    if let Some(channel) = config.channels.first() {
        say("method", channel.endpoint.method().as_str());
        say("path", &channel.endpoint.to_string());
    }
    if let Target::File(file) = &config.log.target {
        say("logfile", &text(file));
    }
    say("pidfile", &text(&config.pid_file));
    if let Some(hook) = &config.freeze.hook {
        say("fsfreeze-hook", &text(hook));
    }
    say("statedir", &text(&config.state_dir));
    say("verbose", truth(config.log.verbose));
    say("retry-path", truth(config.channels.first().is_some_and(|channel| channel.retry)));
    say("block-rpcs", &lists(&resolved.options.block));
    say("allow-rpcs", &lists(&resolved.options.allow));
    lines.join("\n")
}

/// A value of a key file: white space at its start, and what would break the line, escaped as GLib does.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut leading = true;
    for character in value.chars() {
        match character {
            ' ' if leading => text += "\\s",
            '\t' if leading => text += "\\t",
            '\n' => text += "\\n",
            '\r' => text += "\\r",
            '\\' => text += "\\\\",
            other => text.push(other),
        }
        leading &= matches!(character, ' ' | '\t');
    }
    text
}

/// An `agent.toml`. What several files limit each in their own way no single file can say; it allows nothing then, and says so.
pub(super) fn toml(resolved: &Resolved) -> Result<String, ConfigError> {
    let config = &resolved.config;
    let mut remarks = String::new();
    let mut channel_names: Vec<&str> = config.policy.channels().map(|name| &**name).collect();
    channel_names.sort_unstable();
    let tables = |pick: &dyn Fn(&PolicyTable) -> Option<RulesTable>| {
        resolved.tables.iter().filter_map(pick).collect::<Vec<_>>()
    };
    let base = tables(&|table| Some(table.rules()));
    let all = merged(&base, config.policy.all(), "policy", &mut remarks);
    let mut channel = BTreeMap::new();
    for name in channel_names {
        let own = tables(&|table| table.channel.get(name).cloned());
        let Some(rules) = config.policy.channel(name) else { continue };
        if nearest_channel(name, &config.channels).is_err() {
            remarks += &format!(
                "# [policy.channel.{name}] is left out: its [[channel]] was replaced by -m or -p.\n"
            );
            continue;
        }
        let own = merged(&own, rules, &format!("policy.channel.{name}"), &mut remarks);
        channel.insert(plain(name.to_owned()), own);
    }
    let RulesTable { allow, block, enable, exec, file } = all;
    let file = File {
        channel: config.channels.iter().map(channel_table).collect(),
        policy: PolicyTable { allow, block, enable, exec, file, channel },
        log: LogTable {
            target: Some(plain(word(&config.log.target).to_owned())),
            file: file_of(&config.log.target),
            verbose: Some(config.log.verbose),
        },
        audit: config.audit.as_ref().map(|audit| AuditTable {
            target: Some(plain(word(&audit.target).to_owned())),
            file: file_of(&audit.target),
        }),
        state: StateTable { dir: Some(config.state_dir.clone()) },
        daemon: DaemonTable { daemonize: Some(config.daemonize), pidfile: Some(config.pid_file.clone()) },
        freeze: freeze_table(&config.freeze),
        extensions: extension::extensions(&config.extensions),
        extension: extension::list(&config.extensions.list, &resolved.settings),
    };
    let text = toml::to_string(&file)
        .map_err(|error| ConfigError::new(format!("cannot be written as TOML: {error}")))?;
    Ok(format!("{remarks}{}", text.trim_end()))
}

/// Without what is as by default.
fn freeze_table(freeze: &Freeze) -> FreezeTable {
    FreezeTable {
        hook: freeze.hook.clone(),
        hook_timeout: (freeze.hook_timeout != Freeze::default().hook_timeout)
            .then(|| time(freeze.hook_timeout)),
        deadline: freeze.deadline.map(time),
        exclude: (!freeze.exclude.is_empty()).then(|| plain(freeze.exclude.clone())),
    }
}

/// One table for what holds after all layers.
fn merged(tables: &[RulesTable], rules: &Rules, section: &str, remarks: &mut String) -> RulesTable {
    let sorted = |names: Vec<&String>| {
        let mut names: Vec<_> = names.into_iter().map(|name| plain(name.clone())).collect();
        names.sort_unstable();
        names
    };
    let allow = rules.allow.first().map(|first| {
        let others = &rules.allow[1..];
        let in_all = |name: &&String| others.iter().all(|list| list.names.contains_key(*name));
        plain(sorted(first.names.keys().filter(in_all).collect()))
    });
    let mut only = |layers: usize, table: &str| {
        if layers > 1 {
            *remarks += &format!(
                "# [{section}.{table}]: {layers} files each limit it; no single file can say that, so this one allows nothing.\n"
            );
        }
        layers > 1
    };
    let exec: Vec<_> = tables.iter().filter_map(|table| table.exec.as_ref()).collect();
    let exec = match only(exec.len(), "exec") {
        true => Some(plain(ExecTable { allow: Vec::new() })),
        false => exec.first().map(|table| (*table).clone()),
    };
    let file: Vec<_> = tables.iter().filter_map(|table| table.file.as_ref()).collect();
    let file = match only(file.len(), "file") {
        true => Some(plain(FileTable { read: Vec::new(), write: Vec::new() })),
        false => file.first().map(|table| (*table).clone()),
    };
    let [block, enable] = [&rules.block, &rules.enable].map(|names| sorted(names.keys().collect()));
    RulesTable { allow, block, enable, exec, file }
}

fn time(time: Duration) -> Spanned<String> {
    plain(humantime::format_duration(time).to_string())
}

/// A value that stands nowhere.
fn plain<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn word(target: &Target) -> &'static str {
    match target {
        Target::Auto => "auto",
        Target::Stderr => "stderr",
        Target::File(_) => "file",
        Target::Syslog => "syslog",
        Target::Journal => "journal",
    }
}

fn file_of(target: &Target) -> Option<Spanned<PathBuf>> {
    match target {
        Target::File(path) => Some(plain(path.clone())),
        _ => None,
    }
}

fn channel_table(channel: &Channel) -> ChannelTable {
    let access = match &channel.endpoint {
        Endpoint::Unix(_, access) => *access,
        _ => Access::default(),
    };
    let who = |id: u32| plain(Who::Number(id));
    ChannelTable {
        method: plain(channel.endpoint.method().as_str().to_owned()),
        path: Some(plain(match &channel.endpoint {
            Endpoint::VirtioSerial(path) | Endpoint::IsaSerial(path) | Endpoint::Unix(path, _) => {
                path.clone()
            }
            Endpoint::Vsock { .. } => channel.endpoint.to_string().into(),
        })),
        name: Some(plain(channel.name.to_string())),
        retry_path: channel.retry,
        mode: access.mode.map(|mode| plain(format!("{mode:04o}"))),
        owner: access.owner.map(who),
        group: access.group.map(who),
    }
}
