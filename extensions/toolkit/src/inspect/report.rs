//! What `waga-ext inspect` says of a component, as text and as JSON.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Serialize;
use waga::extension::{Standing, standing};

use super::bill::Bill;
use super::world::World;

/// Of a component.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    file: &'a str,
    commands: Vec<Command<'a>>,
    /// Whether there are commands that only the running component names.
    handler: bool,
    imports: Vec<Asked<'a>>,
    /// Its export that is told of freezing and thawing, and the line that has it called.
    #[serde(skip_serializing_if = "Option::is_none")]
    freeze_hooks: Option<Asked<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wit_ignored: Option<&'a str>,
    sizes: &'a Bill,
    #[serde(skip)]
    world: &'a World,
}

#[derive(Debug, Serialize)]
struct Command<'a> {
    name: &'a str,
    interface: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<&'a str>,
    wit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a serde_json::Value>,
}

/// An import, and what it takes.
#[derive(Debug, Serialize)]
struct Asked<'a> {
    name: &'a str,
    permission: Permission,
    /// The line of the extension's table in agent.toml.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<String>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Permission {
    /// None: every component has it.
    Given,
    /// The line.
    Grant,
    /// There is none that would do: the agent has that, and gives it to nobody.
    Forbidden,
    /// Nor here: the agent does not have it.
    Unknown,
}

impl<'a> Asked<'a> {
    fn new(name: &'a str) -> Self {
        let (permission, line, reason) = match standing(name) {
            Standing::Free => (Permission::Given, None, None),
            Standing::Granted(line) => (Permission::Grant, Some(line), None),
            Standing::Forbidden(reason) => (Permission::Forbidden, None, Some(reason)),
            Standing::Unknown => (Permission::Unknown, None, None),
        };
        Self { name, permission, line, reason }
    }

    /// The command that it is, where a line grants it.
    fn command(&self) -> Option<&'a str> {
        let (command, _) = self.name.strip_prefix("waga:guest/")?.split_once('@')?;
        self.line.is_some().then_some(command)
    }

    fn text(&self) -> Cow<'_, str> {
        let text = match (&self.permission, &self.line, &self.reason) {
            (_, Some(line), _) => line,
            (_, _, Some(reason)) => {
                return format!("{reason}: this agent refuses to load the component").into();
            }
            (Permission::Unknown, ..) => "unknown: this agent refuses to load the component",
            // It finds no file there but what is named.
            _ if self.name.starts_with("wasi:filesystem/") => {
                "always given; what is in it, by read = [\"/…\"] and write = [\"/…\"]"
            }
            _ => "always given",
        };
        text.into()
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a str, world: &'a World, bill: &'a Bill) -> Self {
        let commands = world.interfaces.iter().flat_map(|interface| {
            interface.commands.iter().map(|command| Command {
                name: &command.name,
                interface: &interface.name,
                docs: command.docs.as_deref(),
                wit: &command.wit,
                schema: command.schema.as_ref(),
            })
        });
        let imports = world.imports.iter().map(|name| Asked::new(name));
        Self {
            file,
            commands: commands.collect(),
            handler: world.handler,
            imports: imports.collect(),
            freeze_hooks: world.freeze_hooks.as_deref().map(|name| Asked {
                name,
                permission: Permission::Grant,
                line: Some("freeze-hooks = true".into()),
                reason: None,
            }),
            wit_ignored: world.distrust.as_deref(),
            sizes: bill,
            world,
        }
    }

    /// For people. What the component's author wrote does nothing to a terminal.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a string takes it");
        out.chars()
            .map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c })
            .collect()
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}, {}", self.file, size(self.sizes.file))?;
        if let Some(reason) = self.wit_ignored {
            writeln!(out, "The WIT that it carries is not shown: {reason}")?;
        }

        writeln!(out, "\nCommands:")?;
        if self.commands.is_empty() && !self.handler {
            writeln!(out, "  none: no exported interface has a function guest-...")?;
        }
        let width = self.commands.iter().map(|command| command.name.len()).max().unwrap_or_default();
        for command in &self.commands {
            let docs = command.docs.map(first_sentence).unwrap_or_default();
            writeln!(out, "{}", format!("  {:width$}  {docs}", command.name).trim_end())?;
        }
        if self.handler {
            writeln!(out, "  those that it names itself when it is loaded (waga:extension/handler)")?;
        }

        writeln!(out, "\nPermissions:")?;
        let all = || self.imports.iter().chain(&self.freeze_hooks);
        let width = all().map(|asked| asked.name.len()).max().unwrap_or_default();
        for asked in all() {
            writeln!(out, "  {:width$}  {}", asked.name, asked.text())?;
        }
        let commands: Vec<_> = self.imports.iter().filter_map(Asked::command).collect();
        if commands.len() > 1 {
            writeln!(out, "  In one line: commands = [\"{}\"]", commands.join("\", \""))?;
        }
        if all().next().is_none() {
            writeln!(out, "  It imports nothing, so it needs none.")?;
        }

        writeln!(out, "\nSizes:")?;
        writeln!(out, "  code {}, data {}", size(self.sizes.code), size(self.sizes.data))?;
        for memory in &self.sizes.memories {
            let most = memory.maximum.map_or("limits.memory".to_owned(), size);
            writeln!(out, "  a memory of {} at the start, grows up to {most}", size(memory.initial))?;
        }

        for interface in &self.world.interfaces {
            writeln!(out, "\n{}:\n", interface.name)?;
            for line in interface.wit.lines() {
                writeln!(out, "{}", format!("  {line}").trim_end())?;
            }
        }
        Ok(())
    }
}

/// As much of docs as fits beside a name.
fn first_sentence(docs: &str) -> String {
    let paragraph = docs.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    paragraph.split_once(". ").map_or(paragraph.clone(), |(sentence, _)| format!("{sentence}."))
}

/// A size with three digits or so.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::world::{self, Interface};

    fn report(docs: &str) -> String {
        let command = world::Command {
            name: "guest-x".into(),
            docs: Some(docs.into()),
            wit: "guest-x: func()".into(),
            schema: None,
        };
        let interface =
            Interface { name: "a:a/i".into(), commands: vec![command], wit: "interface i {}".into() };
        let world = World {
            interfaces: vec![interface],
            imports: vec![
                "waga:guest/guest-get-load@1.0.0".into(),
                "waga:guest/guest-shutdown@1.0.0".into(),
                "waga:extension/log@1.0.0".into(),
                "a:a/b".into(),
            ],
            freeze_hooks: Some("waga:extension/freeze-hooks@1.0.0".into()),
            ..World::default()
        };
        Report::new("x.wasm", &world, &Bill::default()).text()
    }

    #[test]
    fn what_is_asked_for_stands_beside_the_line_that_grants_it() {
        let text = report("Does it. And more.\n\nMuch more.");
        for line in [
            "  guest-x  Does it.",
            "  waga:guest/guest-get-load@1.0.0    commands = [\"guest-get-load\"]",
            "  waga:guest/guest-shutdown@1.0.0    no extension may call guest-shutdown: this agent refuses to load the component",
            "  waga:extension/log@1.0.0           always given",
            "  a:a/b                              unknown: this agent refuses to load the component",
            "  waga:extension/freeze-hooks@1.0.0  freeze-hooks = true",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n\n{text}");
        }
    }

    #[test]
    fn docs_cannot_speak_to_a_terminal() {
        let text = report("Does it\u{1b}[2J\u{9b}31m");
        assert!(text.contains("Does it\u{fffd}[2J\u{fffd}31m"), "{text}");
    }
}
