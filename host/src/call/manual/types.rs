//! What a JSON Schema says of values, in words, and the members of objects below one another.

use std::collections::HashSet;

use serde_json::Value;

use super::named;
use super::page::Page;

/// How much is said of types at most: no agent's has more, and a guest may send any.
const MOST: usize = 2_000;
/// How deep a type is told.
const DEEPEST: usize = 16;

/// The types of one schema.
pub(super) struct Types<'a> {
    root: &'a Value,
    /// Whether it is of arguments: of these it is told what each word means.
    arguments: bool,
    /// The types by name whose members were told.
    told: HashSet<&'a str>,
    /// How much may be told yet.
    left: usize,
}

impl<'a> Types<'a> {
    pub(super) fn new(root: &'a Value, arguments: bool) -> Self {
        Self { root, arguments, told: HashSet::new(), left: MOST }
    }

    /// What a value is.
    pub(super) fn phrase(&mut self, schema: &'a Value) -> String {
        self.phrase_at(schema, 0)
    }

    fn phrase_at(&mut self, schema: &'a Value, depth: usize) -> String {
        self.left = self.left.saturating_sub(1);
        if depth == DEEPEST || self.left == 0 {
            return "…".to_owned();
        }
        let (name, schema) = named(self.root, schema);
        if let Some(choices) = schema["anyOf"].as_array() {
            return self.each(choices, depth).join("; or ");
        }
        if let Some(values) = schema["enum"].as_array() {
            return values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        }
        // A name such as `file-handle` says more than the type alone.
        let with_name = |text: String| match name {
            Some(name) => format!("{text} ({name})"),
            None => text,
        };
        match schema["type"].as_str() {
            Some("string") if schema["oneOf"].is_array() => format!("one of {}", words(schema).join(", ")),
            Some("string") if schema["contentEncoding"] == "base64" => "string of base64".to_owned(),
            Some("string") => with_name("string".to_owned()),
            Some("integer") => with_name(integer(schema)),
            Some("array") => match schema["prefixItems"].as_array() {
                Some(elements) => {
                    format!("list of {}: {}", elements.len(), self.each(elements, depth).join("; "))
                }
                None => format!("list of {}", self.phrase_at(&schema["items"], depth + 1)),
            },
            Some("object") if schema["properties"].is_object() => with_name("object".to_owned()),
            Some("object") if self.arguments => "any object".to_owned(),
            Some("object") => "{}".to_owned(),
            Some(kind) => with_name(kind.to_owned()),
            None if schema["oneOf"].is_array() => with_name("object of one of these kinds".to_owned()),
            None => "any JSON".to_owned(),
        }
    }

    /// What each of these is, as long as there is something left to say.
    fn each(&mut self, schemas: &'a [Value], depth: usize) -> Vec<String> {
        let mut phrases = Vec::new();
        for schema in schemas {
            phrases.push(self.phrase_at(schema, depth + 1));
            if self.left == 0 {
                break;
            }
        }
        phrases
    }

    /// The members of an object: each with its type, whether it may be absent, what is said of it, and what is inside.
    pub(super) fn members(&mut self, page: &mut Page, column: usize, object: &'a Value) {
        let required: Vec<&str> =
            object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, schema) in object["properties"].as_object().into_iter().flatten() {
            if self.left == 0 {
                return;
            }
            if let Some(case) = schema["const"].as_str() {
                page.wrapped(column, 4, &format!("{name}: \"{case}\""));
                continue;
            }
            let phrase = self.phrase(schema);
            let optional = if required.contains(&&**name) { "" } else { "; optional" };
            page.wrapped(column, 4, &format!("{name}: {phrase}{optional}"));
            let docs = schema["description"].as_str();
            let docs = docs.or_else(|| named(self.root, schema).1["description"].as_str());
            if let Some(docs) = docs {
                page.docs(column + 4, docs);
            }
            self.inside(page, column + 4, schema);
        }
    }

    /// What is inside of a value, if it has parts; of a type by name only the first time.
    pub(super) fn inside(&mut self, page: &mut Page, column: usize, schema: &'a Value) {
        let mut at = schema;
        for _ in 0..DEEPEST {
            let (name, schema) = named(self.root, at);
            if name.is_some_and(|name| !self.told.insert(name)) {
                return;
            }
            if schema["properties"].is_object() {
                return self.members(page, column, schema);
            }
            if let Some(cases) = schema["oneOf"].as_array() {
                return self.cases(page, column, cases);
            }
            let first = schema["anyOf"].as_array().and_then(|choices| choices.first());
            at = first.unwrap_or(&schema["items"]);
        }
    }

    /// Words with what each means, or kinds of objects.
    fn cases(&mut self, page: &mut Page, column: usize, cases: &'a [Value]) {
        for case in cases {
            match (case["const"].as_str(), case["description"].as_str()) {
                (Some(word), Some(docs)) if self.arguments => {
                    page.wrapped(column, 4, &format!("{word}: {docs}"));
                }
                (Some(_), _) => {}
                (None, docs) => {
                    if let Some(docs) = docs {
                        page.docs(column, docs);
                    }
                    self.members(page, column, case);
                }
            }
        }
    }
}

fn words(schema: &Value) -> Vec<&str> {
    schema["oneOf"].as_array().into_iter().flatten().filter_map(|word| word["const"].as_str()).collect()
}

/// A whole number, with its bounds where they are worth a word.
fn integer(schema: &Value) -> String {
    match (schema["minimum"].as_i64(), schema["maximum"].as_u64()) {
        (Some(least), Some(most)) if most <= 0xffff => format!("integer from {least} to {most}"),
        (Some(0), _) => "integer from 0".to_owned(),
        _ => "integer".to_owned(),
    }
}
