//! The table of a pack's extension: as a pack asks for it, and as it stays when an operator has changed it and another version comes.

use anyhow::{Context, Result};
use toml_edit::{Array, DocumentMut, Item, Table, Value};
use waga_pack::Manifest;

/// The file of `agent.d` that is the pack's.
pub(crate) fn file_name(name: &str) -> String {
    format!("pack-{name}.toml")
}

/// The text of that file, which grants all that the pack asks for.
pub(crate) fn text(manifest: &Manifest) -> String {
    let Manifest { name, description, .. } = manifest;
    let mut text = format!(
        "# {description}\n#\n# Written by waga-ext, which knows the pack by this file's name. What you change stays when the pack is upgraded; the rest\n# follows the pack. waga check tells what it comes to.\n[extension.{name}]\n"
    );
    let inner = DocumentMut::from(lines(manifest));
    text += &inner.to_string();
    text
}

/// The keys of the table, each on a line of its own.
fn lines(manifest: &Manifest) -> Table {
    let mut table = Table::new();
    for (key, value) in manifest.table() {
        let value: Value = inline(value);
        table.insert(&key, Item::Value(value));
    }
    table
}

/// A value on one line.
fn inline(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time
            .to_string()
            .parse::<toml_edit::Datetime>()
            .map_or_else(|_| time.to_string().into(), Value::from),
        toml::Value::Array(list) => list.into_iter().map(inline).collect::<Array>().into(),
        toml::Value::Table(table) => {
            let table: toml_edit::InlineTable =
                table.into_iter().map(|(key, value)| (key, inline(value))).collect();
            table.into()
        }
    }
}

/// The text as it is to be once `new` takes the place of `old`: what the operator made of `old` stays, comments included, and the rest is as
/// `new` has it.
///
/// # Errors
/// It is no TOML, or has no table of this pack.
pub(crate) fn merge(text: &str, old: &Manifest, new: &Manifest) -> Result<String> {
    let mut document = parse(text)?;
    let ours = of(&mut document, &old.name)?;
    let (base, theirs) = (lines(old), lines(new));
    merge_tables(ours, &base, &theirs);
    // Whatever stood there: this is the one that is to run.
    ours["version"] = toml_edit::value(&new.version);
    Ok(document.to_string())
}

/// The text with the extension switched on or off.
///
/// # Errors
/// As [`merge`].
pub(crate) fn switch(text: &str, name: &str, on: bool) -> Result<String> {
    let mut document = parse(text)?;
    let table = of(&mut document, name)?;
    match on {
        true => drop(table.remove("enabled")),
        false => table["enabled"] = toml_edit::value(false),
    }
    Ok(document.to_string())
}

fn parse(text: &str) -> Result<DocumentMut> {
    text.parse().context("the pack's file in agent.d is no TOML any more")
}

/// The extension's table.
fn of<'a>(document: &'a mut DocumentMut, name: &str) -> Result<&'a mut Table> {
    let table = document.get_mut("extension").and_then(|it| it.get_mut(name)).and_then(Item::as_table_mut);
    table.with_context(|| format!("the pack's file in agent.d has no [extension.{name}] any more"))
}

/// Three ways: what is as in `base` becomes as in `theirs`, what is not stays, lists and tables member by member.
fn merge_tables(ours: &mut Table, base: &Table, theirs: &Table) {
    let keys: Vec<String> = base.iter().chain(theirs.iter()).map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        let (was, is) = (value_of(base.get(&key)), value_of(theirs.get(&key)));
        let merged = merge_values(value_of(ours.get(&key)), was, is);
        match merged {
            Some(value) if value_of(ours.get(&key)).is_some_and(|ours| same(&ours, &value)) => {}
            Some(mut value) => match ours.get_mut(&key) {
                Some(item) => {
                    // What stands beside it stays.
                    if let Some(old) = item.as_value() {
                        *value.decor_mut() = old.decor().clone();
                    }
                    *item = Item::Value(value);
                }
                None => drop(ours.insert(&key, Item::Value(value))),
            },
            None => drop(ours.remove(&key)),
        }
    }
}

/// A value, wherever it was written.
fn value_of(item: Option<&Item>) -> Option<Value> {
    item.cloned().and_then(|item| item.into_value().ok()).map(|mut value| {
        value.decor_mut().clear();
        value
    })
}

fn merge_values(ours: Option<Value>, base: Option<Value>, theirs: Option<Value>) -> Option<Value> {
    let is_same = |one: &Option<Value>, other: &Option<Value>| match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => same(one, other),
        _ => false,
    };
    if is_same(&ours, &base) {
        return theirs;
    }
    match (&ours, &base, &theirs) {
        (Some(Value::Array(ours)), base, theirs @ (Some(Value::Array(_)) | None)) => {
            let list = |value: &Option<Value>| match value {
                Some(Value::Array(list)) => list.iter().cloned().collect::<Vec<_>>(),
                _ => Vec::new(),
            };
            let (base, theirs) = (list(base), list(theirs));
            let has = |list: &[Value], value: &Value| list.iter().any(|other| same(other, value));
            let kept = ours.iter().filter(|value| !has(&base, value) || has(&theirs, value)).cloned();
            let mut merged: Vec<Value> = kept.collect();
            let new = theirs.iter().filter(|value| !has(&base, value));
            for value in new {
                if !has(&merged, value) {
                    merged.push(value.clone());
                }
            }
            merged.iter_mut().for_each(|value| value.decor_mut().clear());
            Some(merged.into_iter().collect::<Array>().into())
        }
        (
            Some(Value::InlineTable(ours)),
            Some(Value::InlineTable(base)),
            Some(Value::InlineTable(theirs)),
        ) => {
            let mut merged = ours.clone().into_table();
            merge_tables(&mut merged, &base.clone().into_table(), &theirs.clone().into_table());
            Some(merged.into_inline_table().into())
        }
        _ => ours,
    }
}

/// Whether they mean the same, however they are written.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| same(one, other))
        }
        (Value::InlineTable(one), Value::InlineTable(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Integer(one), Value::Integer(other)) => one.value() == other.value(),
        (Value::Boolean(one), Value::Boolean(other)) => one.value() == other.value(),
        (Value::Datetime(one), Value::Datetime(other)) => one.value() == other.value(),
        (Value::Float(one), Value::Float(other)) => one.value().to_bits() == other.value().to_bits(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(version: &str, read: &str, more: &str) -> Manifest {
        let text = format!(
            "name = 'a'\nversion = '{version}'\npublisher = 'p'\nlicence = 'MIT'\ndescription = 'Does it'\ncomponent = 'a.wasm'\n\
             [[command]]\nname = 'guest-acme-a'\nmode = 'add'\n[[permission]]\nread = {read}\nreason = 'r'\n{more}"
        );
        Manifest::parse(&text).unwrap()
    }

    #[test]
    fn a_table_grants_what_a_pack_asks_for() {
        let more = "[[permission]]\nexec = [{ program = '/bin/a', args = ['x'] }]\nreason = 'r'\n[limits]\ntime = '1s'\n[config]\nhide = ['x']\ninner = { n = 1 }\n";
        let text = text(&manifest("1.0.0", "['/x']", more));
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "[extension.a]",
                "pack = \"a\"",
                "version = \"1.0.0\"",
                "add = [\"guest-acme-a\"]",
                "read = [\"/x\"]",
                "exec = [{ program = \"/bin/a\", args = [\"x\"] }]",
                "config = { hide = [\"x\"], inner = { n = 1 } }",
                "limits = { time = \"1s\" }",
            ]
        );
        assert!(text.starts_with("# Does it\n"));
    }

    #[test]
    fn what_an_operator_changed_stays() {
        let old = manifest(
            "1.0.0",
            "['/x', '/y', '/z']",
            "[config]\na = 1\nb = 1\nlist = ['x']\n[limits]\ntime = '1s'\n",
        );
        let new = manifest("2.0.0", "['/x', '/z', '/new']", "[config]\na = 2\nb = 2\nc = 3\nlist = ['y']\n");
        let untouched = text(&old);
        // Nothing changed: as if it were installed now.
        let strip = |text: &str| {
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        assert_eq!(strip(&merge(&untouched, &old, &new).unwrap()), strip(&text(&new)));
        // A grant taken away, one added, a setting changed, one more, a limit changed, a key and a table of his own.
        let changed = untouched
            .replace("[\"/x\", \"/y\", \"/z\"]", "[\"/y\", \"/z\", '/own'] # not /x")
            .replace("b = 1", "b = 9, d = 4")
            .replace("1s", "5s")
            + "on-failure = \"builtin\" # mine\n[policy]\nblock = []\n";
        let merged = merge(&changed, &old, &new).unwrap();
        for line in [
            "version = \"2.0.0\"",
            "read = [\"/z\", '/own', \"/new\"] # not /x",
            "config = { a = 2, b = 9, d = 4, list = [\"y\"], c = 3 }",
            "limits = { time = \"5s\" }",
            "on-failure = \"builtin\" # mine",
            "[policy]",
        ] {
            assert!(merged.contains(line), "{line} in\n{merged}");
        }
        assert!(merged.contains("Written by waga-ext"), "{merged}");
        // Written otherwise, with tables of their own, it means the same.
        let spread = "[extension.a]\npack = 'a'\nversion = '1.0.0'\nadd = ['guest-acme-a']\nread = ['/x', '/y', '/z']\nlimits.time = '1s'\n[extension.a.config]\na = 1\nb = 7\nlist = ['x']\n";
        let merged: toml::Table = toml::from_str(&merge(spread, &old, &new).unwrap()).unwrap();
        let table = &merged["extension"]["a"];
        assert_eq!(table["config"].to_string(), "{ a = 2, b = 7, list = [\"y\"], c = 3 }");
        assert!(table.get("limits").is_none(), "{table}");
        for broken in ["x", "[extension.b]\n", "extension = 1"] {
            assert!(merge(broken, &old, &new).is_err(), "{broken}");
        }
    }

    #[test]
    fn it_is_switched_off_and_on() {
        let on = text(&manifest("1.0.0", "['/x']", ""));
        let off = switch(&on, "a", false).unwrap();
        assert!(off.contains("enabled = false") && off != on);
        assert_eq!(switch(&off, "a", false).unwrap(), off);
        assert_eq!(switch(&off, "a", true).unwrap(), on);
    }
}
