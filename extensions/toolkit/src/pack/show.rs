//! A pack for people: what it is, whose, what it does and asks for, and what another version changes of that.

use std::fmt::Write;

use serde_json::{Value, json};
use waga_pack::{Ask, Command, Manifest, Pack, shown};

/// The column that values begin in.
const INDENT: usize = 12;

/// What a pack is and asks for; `signed` is whose signature it bears, in words.
pub(crate) fn text(pack: &Pack, signed: &str) -> String {
    let manifest = pack.manifest();
    let mut lines = Lines(format!(
        "{} {} by {}: {}\n",
        manifest.name, manifest.version, manifest.publisher, manifest.description
    ));
    lines.add("licence", &manifest.licence);
    manifest.homepage.iter().for_each(|homepage| lines.add("homepage", homepage));
    manifest.agent.iter().for_each(|agent| lines.add("agent", agent));
    lines.add("signed by", signed);
    lines.add("digest", &format!("sha256:{}", pack.digest()));
    if manifest.commands.is_empty() {
        lines.add("provides", "no command");
    }
    lines.all("provides", manifest.commands.iter().flat_map(provided));
    lines.all(
        "asks for",
        manifest.permissions.iter().flat_map(|permission| {
            let asks = permission.asks().into_iter().map(|ask| asked(&ask));
            asks.chain([format!("    {}", permission.reason)]).collect::<Vec<_>>()
        }),
    );
    if manifest.permissions.is_empty() {
        lines.add("asks for", "nothing");
    }
    for (what, table) in [("limits", &manifest.limits), ("config", &manifest.config)] {
        lines.all(what, table.iter().map(|(key, value)| format!("{key} = {}", plain(value))));
    }
    lines.0
}

/// What changes from one version to another, of what matters to who lets it run; empty if nothing does.
pub(crate) fn changes(old: &Manifest, new: &Manifest) -> String {
    let mut lines = Lines(String::new());
    let asks = |manifest: &Manifest| -> Vec<(Ask, String)> {
        let permissions = manifest.permissions.iter();
        permissions.flat_map(|it| it.asks().into_iter().map(|ask| (ask, it.reason.clone()))).collect()
    };
    let (was, is) = (asks(old), asks(new));
    let lacks = |list: &[(Ask, String)], ask: &Ask| !list.iter().any(|(other, _)| other == ask);
    let more = is.iter().filter(|(ask, _)| lacks(&was, ask));
    lines.all("asks anew", more.flat_map(|(ask, reason)| [asked(ask), format!("    {reason}")]));
    lines.all("no longer", was.iter().filter(|(ask, _)| lacks(&is, ask)).map(|(ask, _)| asked(ask)));
    let has = |manifest: &Manifest, command: &Command| {
        manifest.commands.iter().any(|other| (&other.name, other.mode) == (&command.name, command.mode))
    };
    let more = new.commands.iter().filter(|command| !has(old, command));
    lines.all("provides", more.flat_map(provided));
    let less = old.commands.iter().filter(|command| !has(new, command));
    lines.all("provides no", less.map(|command| format!("{} {}", command.mode.key(), command.name)));
    let values = |manifest: &Manifest| {
        let tables = [("limits", &manifest.limits), ("config", &manifest.config)];
        let rows = tables.map(|(what, table)| {
            table
                .iter()
                .map(move |(key, value)| format!("{what}: {key} = {}", plain(value)))
                .collect::<Vec<_>>()
        });
        rows.concat()
    };
    let (was, is) = (values(old), values(new));
    lines.all("now", is.iter().filter(|value| !was.contains(value)).cloned());
    lines.all("before", was.iter().filter(|value| !is.contains(value)).cloned());
    lines.0
}

/// What is asked for and stays ungranted, for the operator took it away.
pub(crate) fn withheld(asks: &[Ask]) -> String {
    let mut lines = Lines(String::new());
    lines
        .all("not granted", asks.iter().map(|ask| format!("{}, which you took away or changed", asked(ask))));
    lines.0
}

/// The same for programs, with what its component is, if it has one.
pub(crate) fn json(pack: &Pack, component: Option<Value>) -> Value {
    let manifest = serde_json::to_value(pack.manifest()).unwrap_or_default();
    let files: serde_json::Map<_, _> =
        pack.digests().map(|(name, digest)| (name.to_owned(), digest.into())).collect();
    json!({
        "pack": manifest,
        "digest": pack.digest(),
        "signed-by": pack.signed_by(),
        "files": files,
        "component": component,
    })
}

fn provided(command: &Command) -> Vec<String> {
    let description = match command.description.as_str() {
        "" => None,
        text => Some(format!("    {text}")),
    };
    [format!("{} {}", command.mode.key(), command.name)].into_iter().chain(description).collect()
}

fn asked(ask: &Ask) -> String {
    match ask.key {
        "while-frozen" => "to run while filesystems are frozen".to_owned(),
        "freeze-hooks" => "to be told before a freeze and after the thaw".to_owned(),
        "exec" => format!("to run {}", ask.what),
        "commands" => format!("to call {}", ask.what),
        "env" => format!("the variable {}", ask.what),
        key => format!("to {key} {}", ask.what),
    }
}

/// A value on one line, whatever is in it.
fn plain(value: &toml::Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Lines whose values are somebody else's words.
struct Lines(String);

impl Lines {
    fn add(&mut self, what: &str, value: &str) {
        self.all(what, [value.to_owned()]);
    }

    /// Several values of one kind, which is named once.
    fn all(&mut self, what: &str, values: impl IntoIterator<Item = String>) {
        let mut what = what;
        for value in values {
            // To a string nothing fails.
            let _ = writeln!(self.0, "{what:<INDENT$}{}", shown(&value));
            what = "";
        }
    }
}
