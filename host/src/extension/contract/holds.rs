//! Whether JSON is what a schema says, as far as the schemas of results go: members may be more than it says, for results grow.

use serde_json::Value;
use waga_builtins::qapi::{contents, elements, members};

use super::resolved;

/// What is wrong, and where, with checked text.
pub(super) fn holds(text: &[u8], schema: &Value, root: &Value, place: &str) -> Result<(), String> {
    let schema = resolved(schema, root);
    let wrong = |what: &str| Err(format!("{} is no {what}", named(place)));
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let fits = choices.iter().any(|schema| holds(text, schema, root, place).is_ok());
            return if fits { Ok(()) } else { Err(format!("{} has a value that is unknown", named(place))) };
        }
    }
    if let Some(word) = schema["const"].as_str() {
        let same = text.first() == Some(&b'"') && contents(text) == word;
        return if same { Ok(()) } else { wrong(&format!("'{word}'")) };
    }
    match schema["type"].as_str() {
        Some("object") if text.first() == Some(&b'{') => object(text, schema, root, place),
        Some("array") if text.first() == Some(&b'[') => {
            let (first, rest) = (schema["prefixItems"].as_array(), &schema["items"]);
            for (at, element) in elements(text).enumerate() {
                let schema = first.and_then(|first| first.get(at)).unwrap_or(rest);
                holds(element, schema, root, &format!("{place}[{at}]"))?;
            }
            Ok(())
        }
        Some("string") if text.first() == Some(&b'"') => Ok(()),
        Some("boolean") if matches!(text, b"true" | b"false") => Ok(()),
        Some("null") if text == b"null" => Ok(()),
        Some("number") if is_number(text) => Ok(()),
        Some("integer") => integer(text, schema, place),
        Some(kind) => wrong(kind),
        // `true`, or a schema without a word on types.
        None => Ok(()),
    }
}

fn object(text: &[u8], schema: &Value, root: &Value, place: &str) -> Result<(), String> {
    let mut missing: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, value) in members(text) {
        let key = contents(key);
        missing.retain(|name| *name != key);
        if let Some(schema) = schema["properties"].get(&*key) {
            let place = if place.is_empty() { key.to_string() } else { format!("{place}.{key}") };
            holds(value, schema, root, &place)?;
        }
    }
    match missing.first() {
        Some(name) => Err(format!("{} has no member '{name}'", named(place))),
        None => Ok(()),
    }
}

fn integer(text: &[u8], schema: &Value, place: &str) -> Result<(), String> {
    let number: Option<i128> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let Some(number) = number else { return Err(format!("{} is no integer", named(place))) };
    let bound =
        |key: &str| schema[key].as_i64().map(i128::from).or_else(|| schema[key].as_u64().map(i128::from));
    let fits = bound("minimum").is_none_or(|least| least <= number)
        && bound("maximum").is_none_or(|most| number <= most);
    if fits { Ok(()) } else { Err(format!("{} is out of range", named(place))) }
}

fn is_number(text: &[u8]) -> bool {
    text.first().is_some_and(|first| *first == b'-' || first.is_ascii_digit())
}

fn named(place: &str) -> String {
    if place.is_empty() { "it".to_owned() } else { format!("'{place}'") }
}
