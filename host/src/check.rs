//! `waga check`: what the configuration comes to, command by command, with the place that decided it.

mod extensions;

use std::process::ExitCode;

use serde_json::{Value, json};
use waga_builtins::Caller;

use crate::cli::Cli;
use crate::config::command_name::is_command;
use crate::config::{Config, Places};
use crate::nearest::nearest;
use crate::policy::{Origin, Policy, Reason};
use crate::registry::Registry;
#[cfg(feature = "extensions")]
pub(crate) use extensions::Answer;
use extensions::Told;
pub(crate) use extensions::{Ask, idle_grants};

/// Which command a table of limits is about, by the end of its key.
const LIMITED: [(&str, &str); 2] = [("guest-exec", ".exec]"), ("guest-file-open", ".file]")];

/// Explains the configuration; fails if there is a fault in it.
pub(crate) fn run(cli: &Cli, as_json: bool) -> ExitCode {
    let mut config = match Config::load(cli, &Places::system()) {
        Ok(resolved) => resolved.config,
        Err(error) => return crate::fail(&error.to_string()),
    };
    config.find_packs();
    let report = Report::new(&config);
    let text = if as_json { format!("{:#}", report.json()) } else { report.text() };
    crate::print(&text)
}

/// What policy says of one command.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    name: String,
    enabled: bool,
    /// `None`: nobody said anything.
    decided_by: Option<&'a Origin>,
    why: &'static str,
    limited_by: Vec<&'a Origin>,
}

struct Report<'a> {
    config: &'a Config,
    warnings: Vec<String>,
    /// For channels without rules of their own.
    lines: Vec<Line<'a>>,
    /// For each channel that has some.
    channels: Vec<(String, Vec<Line<'a>>)>,
    /// As far as they are known before anything is compiled.
    extensions: Vec<Told>,
}

impl<'a> Report<'a> {
    fn new(config: &'a Config) -> Self {
        let registry = Registry::examined(config);
        let policy = &config.policy;
        let mut names: Vec<_> = policy.channels().map(|name| name.to_string()).collect();
        names.sort_unstable();
        let own = |name: String| {
            let lines = lines(policy, &registry, &name);
            (name, lines)
        };
        let mut doubts = config.doubts.clone();
        // A name that systemd gives to what it passes is not known here.
        doubts.extend(warnings(policy, &registry, |name| {
            name.ends_with(".socket") || config.channels.iter().any(|channel| &*channel.name == name)
        }));
        doubts.extend(idle_grants(policy, config, &registry));
        doubts.extend(extensions::evadable(config));
        doubts.extend(out_of_step(config, &registry));
        Self {
            config,
            warnings: doubts,
            // No channel has an empty name.
            lines: lines(policy, &registry, ""),
            channels: names.into_iter().map(own).collect(),
            extensions: extensions::told(&registry),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let files: Vec<_> = self.config.files.iter().map(|file| file.display().to_string()).collect();
        text +=
            &format!("files     {}\n", if files.is_empty() { "none".to_owned() } else { files.join(", ") });
        for channel in &self.config.channels {
            let retry = if channel.retry { ", tried again and again" } else { "" };
            let method = channel.endpoint.method().as_str();
            text += &format!("channel   {}: {method} at {}{retry}\n", channel.name, channel.endpoint);
        }
        for extension in &self.extensions {
            text += &extension.text();
        }
        for warning in &self.warnings {
            text += &format!("warning   {warning}\n");
        }
        text.push('\n');
        for line in &self.lines {
            text += &shown(line);
        }
        for (name, lines) in &self.channels {
            text += &format!("\non channel {name}\n");
            for line in lines.iter().zip(&self.lines).filter(|(own, all)| own != all).map(|(own, _)| own) {
                text += &shown(line);
            }
        }
        text.trim_end().to_owned()
    }

    fn json(&self) -> Value {
        let channels = self.config.channels.iter().map(|channel| {
            json!({
                "name": &*channel.name,
                "method": channel.endpoint.method().as_str(),
                "path": channel.endpoint.to_string(),
                "retry-path": channel.retry,
            })
        });
        let own = self.channels.iter().map(|(name, lines)| (name.clone(), commands(lines)));
        json!({
            "files": self.config.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
            "channels": channels.collect::<Vec<_>>(),
            "warnings": self.warnings,
            "commands": commands(&self.lines),
            "channel-commands": own.collect::<serde_json::Map<_, _>>(),
            "extensions": self.extensions.iter().map(Told::json).collect::<Vec<_>>(),
        })
    }
}

fn lines<'a>(policy: &'a Policy, registry: &Registry, channel: &str) -> Vec<Line<'a>> {
    let caller = Caller::Channel(channel.into());
    let line = |slot: &std::sync::Arc<crate::registry::Slot>| {
        let verdict = policy.verdict(slot, &caller, false);
        let (decided_by, why) = match verdict.reason {
            Reason::Default => {
                (None, if slot.extension().is_some() { "by an extension" } else { "by default" })
            }
            Reason::Allowed(origin) => (Some(origin), "listed"),
            Reason::Blocked(origin) => (Some(origin), "listed"),
            Reason::NotAllowed(origin) => (Some(origin), "not listed"),
            Reason::OffByDefault => (None, "by default"),
            Reason::Frozen => (None, "while frozen"),
        };
        let key = LIMITED.iter().find(|(command, _)| *command == &*slot.name).map(|(_, key)| key);
        let limits =
            verdict.limited_by.iter().filter(|origin| key.is_some_and(|key| origin.key().ends_with(key)));
        Line {
            name: slot.name.to_string(),
            enabled: verdict.is_allowed() && slot.unavailable().is_none(),
            decided_by,
            why,
            limited_by: if verdict.is_allowed() { limits.collect() } else { Vec::new() },
        }
    };
    registry.slots().iter().map(line).collect()
}

fn shown(line: &Line<'_>) -> String {
    let state = if line.enabled { "on" } else { "off" };
    let decided = match line.decided_by {
        Some(origin) => format!("{} in {origin}", line.why),
        None => line.why.to_owned(),
    };
    let limits: String = line.limited_by.iter().map(|origin| format!("; limited by {origin}")).collect();
    format!("{:<36}{state:<5}{decided}{limits}\n", line.name)
}

fn commands(lines: &[Line<'_>]) -> Value {
    let command = |line: &Line<'_>| {
        json!({
            "name": line.name,
            "enabled": line.enabled,
            "decided-by": line.decided_by.map(place),
            "why": line.why,
            "limited-by": line.limited_by.iter().copied().map(place).collect::<Vec<_>>(),
        })
    };
    lines.iter().map(command).collect()
}

/// A place for programs.
fn place(origin: &Origin) -> Value {
    let (line, column) = origin.position();
    json!({
        "file": origin.file().map(|file| file.display().to_string()),
        "line": line,
        "column": column,
        "key": origin.key(),
    })
}

/// Channels whose clients cannot come into step, which libvirt, Proxmox and others do before anything else.
fn out_of_step(config: &Config, registry: &Registry) -> Vec<String> {
    let is_on = |channel: &str, command: &str| {
        let caller = Caller::Channel(channel.into());
        registry.find(command).is_some_and(|slot| config.policy.verdict(slot, &caller, false).is_allowed())
    };
    let names = config.channels.iter().map(|channel| &*channel.name);
    let without = names.filter(|name| !is_on(name, "guest-sync") && !is_on(name, "guest-sync-delimited"));
    let doubt = |name: &str| {
        format!(
            "channel {name}: guest-sync and guest-sync-delimited are off; most clients begin with one of them"
        )
    };
    without.map(doubt).collect()
}

/// What does not do what its author meant: names in lists that no command has, and rules for channels that are not served.
pub(crate) fn warnings(
    policy: &Policy,
    registry: &Registry,
    is_served: impl Fn(&str) -> bool,
) -> Vec<String> {
    let may_come = |name: &str| registry.is_settling() && is_command(name);
    let unknown = policy.listed().filter(|(name, _)| registry.find(name).is_none() && !may_come(name));
    let warning = |(name, origin): (&str, &Origin)| {
        let known = registry.slots().iter().map(|slot| &*slot.name);
        let hint = nearest(name, known).map(|name| format!("; did you mean '{name}'?"));
        format!("{origin}: no command is called '{name}'{}", hint.unwrap_or_default())
    };
    let is_on = |name: &str| registry.find(name).is_some_and(|slot| slot.flags.on_by_default);
    let enabled = policy.enabled().filter(|(name, _)| is_on(name));
    let enabled = enabled.map(|(name, origin)| {
        format!("{origin}: '{name}' is on by default; 'allow' and 'block' say what is off")
    });
    let idle = policy.channels().filter(|name| !is_served(name));
    let idle = idle.map(|name| {
        format!("[policy.channel.{name}]: no channel of this name is served, so it narrows nothing")
    });
    let replaced = registry.replaced().map(|(command, extension)| {
        format!(
            "extension {extension}: adds {command}, which the agent has itself; the extension's is called"
        )
    });
    let surplus = registry.surplus();
    let mut warnings: Vec<_> =
        unknown.map(warning).chain(enabled).chain(idle).chain(replaced).chain(surplus).collect();
    warnings.sort();
    warnings.dedup();
    warnings
}
