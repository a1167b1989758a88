//! The table of a pack's extension: as a pack asks for it, and as it stays when an operator has changed it and another version comes.

use anyhow::{Context, Result};
use toml_edit::{Array, DocumentMut, Item, Table, Value};
use waga_pack::{Ask, Manifest, Permission};

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
    merge_tables(ours, &base, &theirs, of_key);
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
    table.with_context(|| {
        format!("the pack's file in agent.d has no table [extension.{name}] any more: write it so, with its keys below")
    })
}

/// Three ways: what is as in `base` becomes as in `theirs`, what is not stays. `how`: what becomes of lists that were changed on both sides.
fn merge_tables(ours: &mut Table, base: &Table, theirs: &Table, how: fn(&str) -> Lists) {
    let keys: Vec<String> = base.iter().chain(theirs.iter()).map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        let (was, is) = (value_of(base.get(&key)), value_of(theirs.get(&key)));
        match merge_values(value_of(ours.get(&key)), was, is, how(&key)) {
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

/// What becomes of a list that the operator changed, and a new version, too.
#[derive(Clone, Copy)]
enum Lists {
    /// Its members are each for themselves, in no order: what was taken away stays away, what is new comes.
    Members,
    /// The same, but all of one program go together: what was narrowed is not there twice, once as it was.
    Programs,
    /// It means something as a whole: it stays.
    Whole,
}

/// How the keys of an extension's table are merged.
fn of_key(key: &str) -> Lists {
    match key {
        "add" | "override" | "wrap" | "read" | "write" | "commands" => Lists::Members,
        "exec" => Lists::Programs,
        _ => Lists::Whole,
    }
}

/// What a pack asks for and a table does not grant.
///
/// # Errors
/// As [`merge`].
pub(crate) fn withheld(text: &str, manifest: &Manifest) -> Result<Vec<Ask>> {
    let mut document = parse(text)?;
    let table = of(&mut document, &manifest.name)?;
    let asks = manifest.permissions.iter().flat_map(Permission::asks);
    let granted = lists(table);
    let is_withheld = |ask: &Ask| {
        matches!(ask.key, "read" | "write" | "commands" | "exec")
            && !granted.contains(&(ask.key, ask.what.clone()))
    };
    Ok(asks.filter(is_withheld).collect())
}

/// What the lists of a table grant, each as a permission tells it.
fn lists(table: &Table) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for key in ["read", "write", "commands", "exec"] {
        let Some(Value::Array(list)) = value_of(table.get(key)) else { continue };
        for value in &list {
            let text = match value {
                Value::String(text) => text.value().clone(),
                other => program(other).unwrap_or_default(),
            };
            all.push((key, text));
        }
    }
    all
}

/// A program with its arguments, as a permission tells it.
fn program(value: &Value) -> Option<String> {
    let text = format!("it = {value}");
    let it: std::collections::BTreeMap<String, waga_pack::Program> = toml::from_str(&text).ok()?;
    Some(it.get("it")?.to_string())
}

/// A value, wherever it was written.
fn value_of(item: Option<&Item>) -> Option<Value> {
    item.cloned().and_then(|item| item.into_value().ok()).map(|mut value| {
        value.decor_mut().clear();
        value
    })
}

fn merge_values(
    ours: Option<Value>,
    base: Option<Value>,
    theirs: Option<Value>,
    how: Lists,
) -> Option<Value> {
    let is_same = |one: &Option<Value>, other: &Option<Value>| match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => same(one, other),
        _ => false,
    };
    if is_same(&ours, &base) {
        return theirs;
    }
    let is_list = |value: &Option<Value>| matches!(value, Some(Value::Array(_)) | None);
    match (ours, base, theirs) {
        (ours, base, theirs)
            if !matches!(how, Lists::Whole) && is_list(&ours) && is_list(&base) && is_list(&theirs) =>
        {
            Some(merge_lists(&list(ours), &list(base), &list(theirs), how))
        }
        (
            Some(Value::InlineTable(ours)),
            Some(Value::InlineTable(base)),
            Some(Value::InlineTable(theirs)),
        ) => {
            let mut merged = ours.into_table();
            merge_tables(&mut merged, &base.into_table(), &theirs.into_table(), |_| Lists::Whole);
            Some(merged.into_inline_table().into())
        }
        (ours, _, _) => ours,
    }
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list.iter().cloned().collect(),
        _ => Vec::new(),
    }
}

fn merge_lists(ours: &[Value], base: &[Value], theirs: &[Value], how: Lists) -> Value {
    let has = |list: &[Value], value: &Value| list.iter().any(|other| same(other, value));
    let of = |value: &Value| match (how, value) {
        (Lists::Programs, Value::InlineTable(table)) => {
            table.get("program").and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    };
    // What of one program the operator left as it was.
    let is_untouched = |program: &Option<String>| {
        let mut was = base.iter().filter(|value| of(value) == *program);
        program.is_none() || was.all(|value| has(ours, value))
    };
    let kept = ours.iter().filter(|value| !has(base, value) || has(theirs, value));
    let mut merged: Vec<Value> = kept.cloned().collect();
    for value in theirs.iter().filter(|value| !has(base, value) && is_untouched(&of(value))) {
        if !has(&merged, value) {
            merged.push(value.clone());
        }
    }
    merged.iter_mut().for_each(|value| value.decor_mut().clear());
    merged.into_iter().collect::<Array>().into()
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
    fn every_list_of_names_and_paths_is_merged_by_its_members() {
        let with = |version: &str, names: [&str; 2]| {
            let mut more = String::new();
            for name in names {
                for mode in ["add", "override", "wrap"] {
                    more += &format!("[[command]]\nname = 'guest-{mode}-{name}'\nmode = '{mode}'\n");
                }
                for key in ["read", "write", "commands"] {
                    more += &format!("[[permission]]\n{key} = ['guest-{key}-{name}']\nreason = 'r'\n");
                }
            }
            manifest(version, "['/x']", &more)
        };
        let (old, new) = (with("1.0.0", ["one", "two"]), with("2.0.0", ["one", "three"]));
        let mut changed = text(&old).replace("version = \"1.0.0\"", "version = \"1.5.0\"");
        let keys = ["add", "override", "wrap", "read", "write", "commands"];
        for key in keys {
            changed = changed.replace(&format!("\"guest-{key}-one\", "), "");
        }
        let text = merge(&changed, &old, &new).unwrap();
        let merged: toml::Table = toml::from_str(&text).unwrap();
        let table = &merged["extension"]["a"];
        assert_eq!(table["version"].as_str(), Some("2.0.0"));
        for key in keys {
            let list: Vec<_> = table[key].as_array().unwrap().iter().filter_map(|it| it.as_str()).collect();
            assert_eq!(
                list.iter().filter(|it| it.contains(key)).collect::<Vec<_>>(),
                [&format!("guest-{key}-three")]
            );
        }
        let mut withheld: Vec<_> = withheld(&text, &new).unwrap().into_iter().map(|ask| ask.what).collect();
        withheld.sort();
        assert_eq!(withheld, ["guest-commands-one", "guest-read-one", "guest-write-one"]);
    }

    /// What was narrowed is not widened again, and a list that means something as a whole is not mixed.
    #[test]
    fn what_an_operator_narrowed_stays_narrow() {
        let exec = |programs: &str, config: &str| {
            format!("[[permission]]\nexec = [{programs}]\nreason = 'r'\n[config]\n{config}\n")
        };
        let old = manifest(
            "1.0.0",
            "['/x']",
            &exec("{ program = '/cat', args = ['*'] }, { program = '/df' }", "range = [1, 5]"),
        );
        let new = manifest(
            "2.0.0",
            "['/x']",
            &exec(
                "{ program = '/cat', args = ['*'], env = ['N=1'] }, { program = '/df', args = ['-P'] }, { program = '/new' }",
                "range = [1, 10]",
            ),
        );
        let narrowed =
            text(&old).replace("args = [\"*\"]", "args = ['/etc/hostname']").replace("[1, 5]", "[2, 5]");
        let merged = merge(&narrowed, &old, &new).unwrap();
        let exec = "exec = [{ program = \"/cat\", args = ['/etc/hostname'] }, { program = \"/df\", args = [\"-P\"] }, { program = \"/new\" }]";
        assert!(merged.contains(exec) && merged.contains("range = [2, 5]"), "{merged}");
        assert_eq!(withheld(&merged, &new).unwrap(), [Ask { key: "exec", what: "N=1 /cat *".into() }]);
        // One that was taken away does not come back with other arguments.
        let without = text(&old).replace("{ program = \"/cat\", args = [\"*\"] }, ", "");
        let merged = merge(&without, &old, &new).unwrap();
        assert!(!merged.contains("/cat") && merged.contains("/new"), "{merged}");
        // However it is written.
        let spread = "[extension.a]\npack = 'a'\nversion = '1.0.0'\nadd = ['guest-acme-a']\nread = []\nconfig.range = [1, 5]\n[[extension.a.exec]]\nprogram = '/cat'\nargs = ['/etc/hostname']\n[[extension.a.exec]]\nprogram = '/df'\n";
        let merged: toml::Table = toml::from_str(&merge(spread, &old, &new).unwrap()).unwrap();
        let table = &merged["extension"]["a"];
        assert_eq!(table["exec"].as_array().unwrap().len(), 3, "{table}");
        assert_eq!(
            (table["read"].to_string(), table["config"].to_string()),
            ("[]".into(), "{ range = [1, 10] }".into())
        );
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
