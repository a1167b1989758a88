//! What a script's author says of a command's arguments in the comment before it, as JSDoc has it:
//!
//! ```js
//! /**
//!  * Greets somebody.
//!  * @param {string} name - who is greeted
//!  * @param {integer} [times=1] - how often
//!  * @returns {string} the greeting
//!  */
//! exports["guest-acme-greet"] = ({ name, times = 1 }) => …
//! ```
//!
//! It becomes a JSON Schema. A comment without `@param` says nothing of arguments, and any are taken.

use serde_json::{Map, Value, json};

const TYPES: &str = "string, number, integer, boolean, object, array, null, *, TYPE[], or \"WORD\"|\"WORD\"";

/// The comment before a command.
#[derive(Debug, PartialEq)]
pub(super) struct Comment {
    pub(super) command: String,
    docs: String,
    tags: Vec<Tag>,
}

/// One `@WORD` of it.
#[derive(Debug, PartialEq)]
struct Tag {
    /// Counted from 1, in the file.
    line: usize,
    word: String,
    text: String,
}

/// The comments that stand before commands: `/** … */`, then `exports["NAME"] =`.
pub(super) fn read(text: &str) -> Vec<Comment> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("/**").map(|start| at + start) {
        let Some(end) = text[start + 3..].find("*/").map(|end| start + 3 + end) else { break };
        if let Some(command) = exported(&text[end + 2..]) {
            let line = text[..start].matches('\n').count() + 1;
            found.push(comment(command, &text[start + 3..end], line));
        }
        at = end + 2;
    }
    found
}

/// The name of the command that is defined next, if that is what follows.
fn exported(code: &str) -> Option<String> {
    let mut rest = code.trim_start();
    while let Some(comment) = rest.strip_prefix("//") {
        rest = comment.split_once('\n')?.1.trim_start();
    }
    let rest = rest.strip_prefix("exports")?.trim_start().strip_prefix('[')?.trim_start();
    let quote = rest.chars().next().filter(|quote| ['"', '\'', '`'].contains(quote))?;
    let (name, rest) = rest[1..].split_once(quote)?;
    let rest = rest.trim_start().strip_prefix(']')?.trim_start();
    rest.starts_with('=').then(|| name.to_owned())
}

fn comment(command: String, body: &str, first: usize) -> Comment {
    let mut comment = Comment { command, docs: String::new(), tags: Vec::new() };
    for (at, line) in body.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix('*').map_or(line, str::trim);
        if let Some(tag) = line.strip_prefix('@') {
            let (word, text) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
            let (word, text) = (word.to_owned(), text.trim().to_owned());
            comment.tags.push(Tag { line: first + at, word, text });
        } else if !line.is_empty() {
            let text = comment.tags.last_mut().map_or(&mut comment.docs, |tag| &mut tag.text);
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    comment
}

impl Comment {
    /// As what is known of a command: `docs`, `arguments` and `result`.
    ///
    /// # Errors
    /// The line of a tag that cannot be understood, and why: whoever wrote it relies on it.
    pub(super) fn schema(&self) -> Result<Value, String> {
        let (mut properties, mut required, mut result) = (Map::new(), Vec::new(), json!({}));
        let mut params = Vec::new();
        for Tag { line, word, text } in &self.tags {
            let wrong = |what: String| format!("{line}: @{word}: {what}");
            match word.as_str() {
                "param" | "arg" | "argument" => {
                    params.push(Param::read(text).map_err(wrong)?);
                }
                "returns" | "return" => {
                    let (kind, docs) = split(text).map_err(wrong)?;
                    result = kind.map_or(Ok(json!({})), schema).map_err(wrong)?;
                    describe(&mut result, docs);
                }
                _ => {}
            }
        }
        // `args.name` is a member of an argument `args` of the function, which is the object of all arguments.
        let is_whole = |name: &str| {
            params.iter().any(|it| it.name.split_once('.').is_some_and(|(whole, _)| whole == name))
        };
        let members = params.iter().filter(|param| !is_whole(&param.name));
        for param in members {
            let name = param.name.split_once('.').map_or(&*param.name, |(_, name)| name);
            if !param.is_optional {
                required.push(name);
            }
            properties.insert(name.to_owned(), param.schema.clone());
        }
        let arguments = match params.is_empty() {
            true => json!({"type": "object"}),
            false => json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            }),
        };
        let docs = (!self.docs.is_empty()).then_some(&self.docs);
        Ok(json!({"docs": docs, "arguments": arguments, "result": result}))
    }
}

struct Param {
    name: String,
    is_optional: bool,
    schema: Value,
}

impl Param {
    /// `{TYPE} NAME - DOCS`, `{TYPE} [NAME]`, `{TYPE} [NAME=DEFAULT]`.
    fn read(text: &str) -> Result<Self, String> {
        let (kind, rest) = split(text)?;
        let (kind, optional) = match kind.map(|kind| (kind, kind.strip_suffix('='))) {
            Some((_, Some(kind))) => (Some(kind), true),
            Some((kind, None)) => (Some(kind), false),
            None => (None, false),
        };
        let mut schema = kind.map_or(Ok(json!({})), schema)?;
        let (name, docs, is_optional) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (inner, docs) = rest.split_once(']').ok_or("a '[' is not closed")?;
                let (name, default) = match inner.split_once('=') {
                    Some((name, default)) => (name, Some(default)),
                    None => (inner, None),
                };
                if let Some(default) = default.and_then(|text| serde_json::from_str(text.trim()).ok()) {
                    let default: Value = default;
                    schema["default"] = default;
                }
                (name.trim(), docs, true)
            }
            None => {
                let (name, docs) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                (name, docs, optional)
            }
        };
        if name.is_empty() {
            return Err("names no argument: write {TYPE} NAME".into());
        }
        describe(&mut schema, docs);
        Ok(Self { name: name.to_owned(), is_optional, schema })
    }
}

fn describe(schema: &mut Value, docs: &str) {
    let docs = docs.trim_start().trim_start_matches('-').trim();
    if !docs.is_empty() {
        schema["description"] = docs.into();
    }
}

/// What stands in braces at the beginning, and what follows.
fn split(text: &str) -> Result<(Option<&str>, &str), String> {
    let Some(inner) = text.strip_prefix('{') else { return Ok((None, text)) };
    let mut depth = 1;
    let end = inner.char_indices().find(|(_, letter)| {
        depth += match letter {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth == 0
    });
    let (end, _) = end.ok_or("a '{' is not closed")?;
    Ok((Some(inner[..end].trim()), inner[end + 1..].trim()))
}

/// The schema of a type.
fn schema(kind: &str) -> Result<Value, String> {
    let unknown = || format!("'{kind}' is no type that is checked: write {TYPES}; or say it in NAME.json");
    let kinds: Vec<&str> = kind.split('|').map(str::trim).collect();
    if kinds.len() > 1 {
        let words: Option<Vec<Value>> = kinds.iter().map(|kind| literal(kind)).collect();
        if let Some(words) = words {
            return Ok(json!({"enum": words}));
        }
        let types = kinds.iter().map(|kind| primitive(kind).ok_or_else(unknown));
        return Ok(json!({"type": types.collect::<Result<Vec<_>, _>>()?}));
    }
    if let Some(word) = literal(kind) {
        return Ok(json!({"const": word}));
    }
    if let Some(inner) = kind.strip_suffix("[]") {
        let inner = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner);
        return Ok(json!({"type": "array", "items": schema(inner.trim())?}));
    }
    match kind {
        "*" | "any" | "unknown" => Ok(json!({})),
        _ => primitive(kind).map(|kind| json!({"type": kind})).ok_or_else(unknown),
    }
}

/// A word in quotes.
fn literal(kind: &str) -> Option<Value> {
    let quote = kind.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    let word = kind[1..].strip_suffix(quote)?;
    (!word.contains(quote)).then(|| word.into())
}

fn primitive(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "string" | "String" => "string",
        "number" | "Number" => "number",
        "integer" | "int" => "integer",
        "boolean" | "Boolean" | "bool" => "boolean",
        "object" | "Object" => "object",
        "array" | "Array" => "array",
        "null" => "null",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GREET: &str = r#"// A file.
const often = 2; /* no */ /** stray */
/**
 * Greets somebody,
 * politely.
 *
 * @param {string} name - who is
 *   greeted
 * @param {integer} [times=1] how often
 * @param {"loud"|'low'} [how]
 * @param {string[]} others
 * @returns {string} the greeting
 * @example none
 */
// eslint-disable-next-line
exports['guest-acme-greet'] = ({ name }) => name;
/** Second. */ exports["guest-acme-second"] = () => 2;
"#;

    #[test]
    fn a_comment_becomes_a_schema() {
        let comments = read(GREET);
        let names: Vec<_> = comments.iter().map(|it| &*it.command).collect();
        assert_eq!(names, ["guest-acme-greet", "guest-acme-second"]);
        let expected = json!({
            "docs": "Greets somebody, politely.",
            "arguments": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "who is greeted"},
                    "times": {"type": "integer", "default": 1, "description": "how often"},
                    "how": {"enum": ["loud", "low"]},
                    "others": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["name", "others"],
                "additionalProperties": false,
            },
            "result": {"type": "string", "description": "the greeting"},
        });
        assert_eq!(comments[0].schema().unwrap(), expected);
        let second = json!({"docs": "Second.", "arguments": {"type": "object"}, "result": {}});
        assert_eq!(comments[1].schema().unwrap(), second);
    }

    #[test]
    fn members_of_the_one_argument_are_the_arguments() {
        let text = "/** @param {object} args\n * @param {number} args.a\n * @param {*=} args.b */\nexports[`guest-x`]=f";
        let arguments = read(text)[0].schema().unwrap()["arguments"].take();
        assert_eq!(arguments["required"], json!(["a"]));
        assert_eq!(arguments["properties"], json!({"a": {"type": "number"}, "b": {}}));
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_line() {
        for (tag, expected) in [
            ("@param {Foo} x", "2: @param: 'Foo' is no type that is checked: write string"),
            ("@param {string|Foo} x", "2: @param: 'string|Foo' is no type"),
            ("@param {string x", "2: @param: a '{' is not closed"),
            ("@param {string} [x", "2: @param: a '[' is not closed"),
            ("@param {string}", "2: @param: names no argument"),
            ("@returns {Promise<x>}", "2: @returns: 'Promise<x>' is no type"),
        ] {
            let text = format!("/**\n * {tag}\n */\nexports[\"guest-x\"] = f;");
            let fault = read(&text)[0].schema().unwrap_err();
            assert!(fault.starts_with(expected), "{fault}");
        }
    }

    proptest! {
        /// Whatever it is that somebody wrote, it is read to its end.
        #[test]
        fn any_text_is_read(text in "(/\\*\\*|\\*/|\\*|@param|\\{|\\}|\\[|\\]|exports|\"|'|=|é|\n| |[a-z]){0,60}") {
            let script = format!("/** {text} */ exports['guest-x'] = 1;{text}");
            crate::extension::oracle::script(script.as_bytes());
            prop_assert!(!read("/** x */ exports['guest-x'] = 1;").is_empty());
        }
    }
}
