//! Schemas as text in QAPI's language, as `qga/qapi-schema.json` has it: for people who know that file, and for its tools.
//!
//! What QAPI has no words for (arrays within arrays, tuples, JSON of any kind) is `any`.

mod docs;

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use waga_builtins::CommandSchema;

use docs::Comment;

/// The text of these commands; each with whether its success is answered.
pub(super) fn text(commands: &[(CommandSchema, bool)]) -> String {
    let mut printer = Printer::default();
    for (command, replies) in commands {
        printer.command(command, *replies);
    }
    let mut text = "# -*- Mode: Python -*-\n# vim: filetype=python\n#\n# Made by waga schema.\n\n".to_owned();
    let exceptions = [
        ("command-returns-exceptions", &printer.plain_returns),
        ("member-name-exceptions", &printer.odd_members),
    ];
    let pragmas: Vec<String> = exceptions
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(key, names)| format!("'{key}': {}", list(names.iter().map(String::as_str), 4)))
        .collect();
    if !pragmas.is_empty() {
        text += &format!("{{ 'pragma': {{\n    {} }} }}\n\n", pragmas.join(",\n    "));
    }
    text + &printer.blocks.join("\n")
}

/// What is printed so far.
#[derive(Default)]
struct Printer {
    blocks: Vec<String>,
    /// The types that are there, by their names.
    types: HashMap<String, String>,
    /// Commands that return neither objects nor lists of them.
    plain_returns: BTreeSet<String>,
    /// Types of whose members one has a name that is not QAPI's style.
    odd_members: BTreeSet<String>,
}

/// The schemas of one command's arguments, or of its result.
struct Scope<'a> {
    root: &'a Value,
    /// What goes before a name that is taken.
    prefix: String,
    /// The types that were looked at.
    names: HashMap<String, String>,
}

impl Printer {
    fn command(&mut self, command: &CommandSchema, replies: bool) {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let (arguments, result) = (read(command.arguments.text()), read(command.result.text()));
        let mut comment = Comment::of(&command.name, command.docs.as_deref());
        let scope = |root| Scope { root, prefix: camel(&command.name), names: HashMap::new() };
        let mut parts = vec![format!("'command': '{}'", command.name)];
        match arguments["properties"].as_object() {
            Some(_) => {
                let members = self.members(&mut scope(&arguments), &arguments, &mut comment);
                parts.push(format!("'data': {}", object(&members, 12)));
            }
            // It takes what it likes.
            None if arguments["additionalProperties"] != false => parts.push("'gen': false".to_owned()),
            None => {}
        }
        let returns = match &result {
            Value::Object(it)
                if it.get("type") == Some(&"object".into()) && !it.contains_key("properties") =>
            {
                None
            }
            result => Some(self.named(&mut scope(result), result, &format!("{}-result", command.name))),
        };
        if let Some(returns) = returns {
            let element = returns.trim_matches(['[', ']', '\'']);
            if self.types.get(element).is_none_or(|text| text.contains("{ 'enum'")) {
                self.plain_returns.insert(command.name.to_string());
            }
            parts.push(format!("'returns': {returns}"));
        }
        if !replies {
            parts.push("'success-response': false".to_owned());
        }
        if let Some(extension) = &command.extension {
            comment.paragraph(&format!("Added by the extension {extension}."));
        }
        if let Some(note) = &command.note {
            comment.paragraph(&format!("Note: {note}."));
        }
        self.blocks.push(block(&comment, &parts));
    }

    /// The members of an object as QAPI has them, and their docs as points of a comment.
    fn members(
        &mut self,
        scope: &mut Scope<'_>,
        schema: &Value,
        comment: &mut Comment,
    ) -> Vec<(String, String)> {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut members = Vec::new();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            // What tells the cases of a union apart stands in its base.
            if schema["const"].is_string() {
                continue;
            }
            let hint = format!("{}-{name}", scope.prefix);
            comment.point(name, schema["description"].as_str());
            let star = if required.contains(&&**name) { "" } else { "*" };
            members.push((format!("{star}{name}"), self.named(scope, schema, &hint)));
        }
        members
    }

    /// What a schema is called, with its quotes; one without a name is called after where it stands.
    fn named(&mut self, scope: &mut Scope<'_>, schema: &Value, hint: &str) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
            if let Some(known) = scope.names.get(name) {
                return known.clone();
            }
            let schema = scope.root["$defs"][name].clone();
            let named = self.named(scope, &schema, name);
            scope.names.insert(name.to_owned(), named.clone());
            return named;
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let of_type = |value: &Value| value["type"] == "null";
            let also = choices.iter().find_map(|choice| choice["enum"].as_array()?.first());
            let first = choices.iter().find(|choice| !of_type(choice)).cloned().unwrap_or_default();
            let named = self.named(scope, &first, hint);
            return match also {
                Some(also) => self.alternate(scope, &named, also, hint),
                None => named,
            };
        }
        let kind = match schema["type"].as_str() {
            Some("boolean") => "bool",
            Some("number") => "number",
            Some("integer") => integer(schema),
            Some("string") if schema["oneOf"].is_array() => return self.word(scope, schema, hint),
            Some("string") => "str",
            Some("array") if schema["items"].is_object() => {
                let element = self.named(scope, &schema["items"], hint);
                return if element.starts_with('[') { "['any']".into() } else { format!("[{element}]") };
            }
            Some("array") => "['any']",
            Some("object") if schema["properties"].is_object() => {
                return self.define(scope, hint, |printer, scope, name| {
                    let mut comment = Comment::of(name, schema["description"].as_str());
                    let members = printer.members(scope, schema, &mut comment);
                    if members.iter().any(|(name, _)| name.contains(['_', '.'])) {
                        printer.odd_members.insert(name.to_owned());
                    }
                    let data = format!("'data': {}", object(&members, 12));
                    block(&comment, &[format!("'struct': '{name}'"), data])
                });
            }
            _ if schema["oneOf"].is_array() => return self.union(scope, schema, hint),
            _ => "any",
        };
        if kind.starts_with('[') { kind.to_owned() } else { format!("'{kind}'") }
    }

    /// One of some words.
    fn word(&mut self, scope: &mut Scope<'_>, schema: &Value, hint: &str) -> String {
        self.define(scope, hint, |_, _, name| {
            let mut comment = Comment::of(name, schema["description"].as_str());
            let mut words = Vec::new();
            for word in schema["oneOf"].as_array().into_iter().flatten() {
                let text = word["const"].as_str().unwrap_or_default();
                comment.point(text, word["description"].as_str());
                words.push(text);
            }
            let data = format!("'data': {}", list(words.into_iter(), 12));
            block(&comment, &[format!("'enum': '{name}'"), data])
        })
    }

    /// Cases that a member `type` tells apart; what is told apart otherwise QAPI does not have.
    fn union(&mut self, scope: &mut Scope<'_>, schema: &Value, hint: &str) -> String {
        let cases: Vec<_> = schema["oneOf"].as_array().into_iter().flatten().collect();
        let tags: Vec<Option<&str>> =
            cases.iter().map(|case| case["properties"]["type"]["const"].as_str()).collect();
        if tags.contains(&None) {
            return "'any'".to_owned();
        }
        self.define(scope, hint, |printer, scope, name| {
            let words: Vec<Value> = (cases.iter().zip(&tags))
                .map(|(case, tag)| serde_json::json!({"const": tag, "description": case["description"]}))
                .collect();
            let kinds = serde_json::json!({"oneOf": words, "description": format!("The cases of {name}.")});
            let kind = printer.word(scope, &kinds, &format!("{name}-type"));
            let mut branches = Vec::new();
            for (case, tag) in cases.iter().zip(tags.iter().flatten()) {
                let has_members = case["properties"].as_object().is_some_and(|members| members.len() > 1);
                if has_members {
                    let branch = printer.named(scope, case, &format!("{name}-{tag}"));
                    branches.push(((*tag).to_owned(), branch));
                }
            }
            let mut comment = Comment::of(name, schema["description"].as_str());
            comment.point("type", Some("which case it is"));
            let parts = [
                format!("'union': '{name}'"),
                format!("'base': {{ 'type': {kind} }}"),
                "'discriminator': 'type'".to_owned(),
                format!("'data': {}", object(&branches, 12)),
            ];
            block(&comment, &parts)
        })
    }

    /// A word, or what old clients write instead.
    fn alternate(&mut self, scope: &mut Scope<'_>, word: &str, also: &Value, hint: &str) -> String {
        let (branch, kind) = if also.is_boolean() { ("flag", "bool") } else { ("number", "int") };
        self.define(scope, hint, |_, _, name| {
            let mut comment = Comment::of(name, None);
            comment.point("word", Some("the word for it"));
            comment.point(branch, Some("what older clients write for it"));
            let members = [("word".to_owned(), word.to_owned()), (branch.to_owned(), format!("'{kind}'"))];
            let data = format!("'data': {}", object(&members, 12));
            block(&comment, &[format!("'alternate': '{name}'"), data])
        })
    }

    /// A type by this name; if another one has that, by a longer one.
    fn define(
        &mut self,
        scope: &mut Scope<'_>,
        hint: &str,
        text: impl Fn(&mut Self, &mut Scope<'_>, &str) -> String,
    ) -> String {
        let mut name = camel(hint);
        loop {
            let block = text(self, scope, &name);
            match self.types.get(&name) {
                Some(other) if *other == block => break,
                Some(_) => name.insert_str(0, &scope.prefix),
                None => {
                    self.types.insert(name.clone(), block.clone());
                    self.blocks.push(block);
                    break;
                }
            }
        }
        format!("'{name}'")
    }
}

/// `guest-get-x` as `GuestGetX`.
fn camel(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let word = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        first.to_ascii_uppercase() + rest
    };
    words.map(word).collect()
}

fn integer(schema: &Value) -> &'static str {
    let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
    match (least, schema["maximum"].as_u64()) {
        (0, Some(0xff)) => "uint8",
        (0, Some(0xffff)) => "uint16",
        (0, Some(0xffff_ffff)) => "uint32",
        (0, _) => "uint64",
        (-0x80, _) => "int8",
        (-0x8000, _) => "int16",
        (-0x8000_0000, _) => "int32",
        _ => "int",
    }
}

/// A comment and what it is about.
fn block(comment: &Comment, parts: &[String]) -> String {
    format!("{}{{ {} }}\n", comment.text(), parts.join(",\n  "))
}

/// An object, a member a line, below one another from this column on.
fn object(members: &[(String, String)], column: usize) -> String {
    if members.is_empty() {
        return "{ }".to_owned();
    }
    let members: Vec<_> = members.iter().map(|(name, kind)| format!("'{name}': {kind}")).collect();
    format!("{{ {} }}", members.join(&format!(",\n{}", " ".repeat(column))))
}

/// A list of words, a word a line.
fn list<'a>(words: impl Iterator<Item = &'a str>, column: usize) -> String {
    let words: Vec<_> = words.map(|word| format!("'{word}'")).collect();
    format!("[ {} ]", words.join(&format!(",\n{}", " ".repeat(column))))
}

#[cfg(test)]
mod tests;
