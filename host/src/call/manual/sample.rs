//! A line of a shell that calls a command, with values that show their types.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::named;
use crate::call::known::Schema;
use crate::call::options::Place;

/// More values than this show nothing more.
const MOST: usize = 200;

/// The words of two calls: with what it must be given, and with all that it takes.
pub(super) fn calls(schema: &Schema, place: Option<&Place>) -> (Vec<String>, Vec<String>) {
    let line = |all| {
        let mut words = vec!["waga".to_owned(), "call".to_owned()];
        words.extend(at(place));
        words.push(quoted(&schema.name).into_owned());
        words.extend(arguments(&schema.arguments, all));
        words
    };
    (line(false), line(true))
}

/// The options that lead to the agent.
fn at(place: Option<&Place>) -> Vec<String> {
    let option = |name: &str, value: &str| vec![format!("--{name} {}", quoted(value))];
    match place {
        None => option("socket", "PATH"),
        Some(Place::Socket(path)) => option("socket", &path.to_string_lossy()),
        Some(Place::Vsock(cid, port)) => option("vsock", &format!("{cid}:{port}")),
        Some(Place::Domain(domain)) => {
            let mut words: Vec<_> = domain.connect.iter().flat_map(|uri| option("connect", uri)).collect();
            words.extend(option("domain", &domain.name));
            words
        }
    }
}

fn arguments(schema: &Value, all: bool) -> Vec<String> {
    let mut left = MOST;
    let Value::Object(members) = object(schema, schema, all, &mut left) else { return Vec::new() };
    // As `key=value` such a name would be read as something else.
    let odd = |name: &String| name.is_empty() || name.contains('=') || name.starts_with(['-', '{', ' ']);
    if members.keys().any(odd) {
        return vec![quoted(&Value::Object(members).to_string()).into_owned()];
    }
    let word = |(name, value): (&String, &Value)| match value.as_str() {
        Some(text) if serde_json::from_str::<Value>(text).is_err() => {
            quoted(&format!("{name}={text}")).into_owned()
        }
        _ => quoted(&format!("{name}={value}")).into_owned(),
    };
    members.iter().map(word).collect()
}

/// An object with the members that it must have, or all; inside of them, those that they must have.
fn object(root: &Value, schema: &Value, all: bool, left: &mut usize) -> Value {
    let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
    let members = schema["properties"].as_object().into_iter().flatten();
    let wanted = members.filter(|(name, _)| all || required.iter().any(|it| **it == ***name));
    wanted.map(|(name, schema)| (name.clone(), value(root, schema, name, left))).collect::<Map<_, _>>().into()
}

/// A value of this type, of which text is the name of what it is for.
fn value(root: &Value, schema: &Value, name: &str, left: &mut usize) -> Value {
    // Where a guest's schema leads to itself, this is the end of it.
    if *left == 0 {
        return Value::Null;
    }
    *left -= 1;
    let (of_type, schema) = named(root, schema);
    if let Some(first) = schema["anyOf"].as_array().and_then(|choices| choices.first()) {
        return value(root, first, name, left);
    }
    let case = schema["oneOf"].as_array().and_then(|cases| cases.first());
    if let Some(word) = case.map(|case| &case["const"]).filter(|word| !word.is_null()) {
        return word.clone();
    }
    if !schema["const"].is_null() {
        return schema["const"].clone();
    }
    match schema["type"].as_str() {
        // Four letters that happen to be base64.
        Some("string") if of_type == Some("base64") || schema["contentEncoding"] == "base64" => "TEXT".into(),
        Some("string") if schema["maxLength"] == 1 => "C".into(),
        Some("string") => name.to_uppercase().into(),
        Some("integer" | "number") => {
            schema["minimum"].as_i64().filter(|least| *least > 0).unwrap_or(0).into()
        }
        Some("boolean") => true.into(),
        Some("array") => match schema["prefixItems"].as_array() {
            Some(elements) => {
                let mut values = Vec::new();
                for schema in elements.iter().take(*left) {
                    values.push(value(root, schema, name, left));
                }
                values.into()
            }
            None => json!([value(root, &schema["items"], name, left)]),
        },
        _ => object(root, case.unwrap_or(schema), false, left),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |it: char| it.is_ascii_alphanumeric() || "_-./:=,@%+".contains(it);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::known;
    use crate::call::libvirt::Domain;

    fn check(command: &str, place: Option<Place>, expected: [&str; 2]) {
        let schema = known::of_ours(command).unwrap();
        let (least, all) = calls(&schema, place.as_ref());
        assert_eq!([least.join(" "), all.join(" ")], expected);
    }

    #[test]
    fn lines_can_be_pasted() {
        check(
            "guest-exec",
            None,
            [
                "waga call --socket PATH guest-exec path=PATH",
                "waga call --socket PATH guest-exec path=PATH 'arg=[\"ARG\"]' 'env=[\"ENV\"]' input-data=TEXT capture-output=none",
            ],
        );
        let domain = Domain { name: "it's".to_owned(), connect: Some("qemu+ssh://h/system?a=b".to_owned()) };
        let line = r"waga call --connect 'qemu+ssh://h/system?a=b' --domain 'it'\''s' guest-ping";
        check("guest-ping", Some(Place::Domain(domain)), [line, line]);
        let line = r#"waga call --vsock 3:4 guest-set-vcpus 'vcpus=[{"logical-id":0,"online":true}]'"#;
        check("guest-set-vcpus", Some(Place::Vsock(3, 4)), [line, line]);
        assert_eq!(
            arguments(&json!({"properties": {"a=b": {"type": "boolean"}}}), true),
            [r#"'{"a=b":true}'"#]
        );
        assert_eq!(arguments(&json!({"properties": {"1": {"type": "string"}}}), true), [r#"'1="1"'"#]);
    }
}
