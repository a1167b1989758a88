//! The way out of an agent's error, where what was meant can be told: a name of a command or of an argument that was mistyped, a value
//! that was taken for another type.
//!
//! The agent's own text stays what qemu-ga says, for clients compare it. So the agent is asked once more, shortly, what it knows.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::arguments::{self, Arguments};
use super::deadline::Deadline;
use super::error::{Error, tame};
use super::known;
use super::options::Call;
use crate::nearest::{nearest, nearest_command};

/// How long the agent may take to say what it knows. Whoever waits has the error by then.
const SHORTLY: Duration = Duration::from_secs(3);

/// What to tell besides the error, if anything. Values may be secrets and are not told.
pub(super) fn of(call: &Call, arguments: Option<&Arguments>, error: &Error) -> Option<String> {
    let Error::Agent { desc, .. } = error else { return None };
    let command = call.command.as_deref()?;
    let deadline = Deadline::after(SHORTLY.min(call.timeout));
    if *desc == format!("The command {command} has not been found") {
        let names = known::names_of_agent(&call.place, deadline).ok()?;
        let name = nearest_command(command, names.iter().map(String::as_str))?;
        return Some(format!("did you mean '{}'?", tame(name)));
    }
    if desc.starts_with("Parameter '")
        && [" is unexpected", " is missing"].iter().any(|it| desc.ends_with(it))
    {
        let given = serde_json::from_str(&arguments?.text()).ok()?;
        let schema = known::of_agent(&call.place, command, deadline).ok();
        let schema = schema.or_else(|| known::of_ours(command))?;
        return mistyped(&given, &schema.arguments);
    }
    arguments::hint(&call.arguments, error)
}

/// Each name that nobody knows where one is that was probably meant.
fn mistyped(given: &Value, schema: &Value) -> Option<String> {
    let mut hints = Vec::new();
    let mut todo = vec![(given, schema, String::new())];
    // Each step takes one of the values that were given, so that it ends whatever the guest's schema is.
    while let Some((given, at, place)) = todo.pop() {
        let at = resolved(schema, at);
        match given {
            Value::Object(members) => {
                let known = known(schema, at);
                for (name, value) in members {
                    let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                    match known.iter().find(|(known, _)| known == name) {
                        Some((_, schema)) => todo.push((value, schema, place)),
                        None => {
                            // One that is given already was not meant.
                            let free = known.iter().map(|(name, _)| *name);
                            let meant = nearest(name, free.filter(|name| !members.contains_key(*name)));
                            hints.extend(meant.map(|meant| {
                                tame(&format!("there is no argument '{place}'; did you mean '{meant}'?"))
                            }));
                        }
                    }
                }
            }
            Value::Array(elements) => {
                let each = |(number, element)| (element, &at["items"], format!("{place}[{number}]"));
                todo.extend(elements.iter().enumerate().map(each));
            }
            _ => {}
        }
    }
    // Several elements may have it wrong alike, and a stack has the last first.
    hints.reverse();
    hints.truncate(5);
    (!hints.is_empty()).then(|| hints.join("\n"))
}

/// The members that an object may have, of whichever case it is.
fn known<'a>(root: &'a Value, schema: &'a Value) -> Vec<(&'a str, &'a Value)> {
    let of = |schema: &'a Value| schema["properties"].as_object().into_iter().flat_map(Map::iter);
    let cases = schema["oneOf"].as_array().into_iter().flatten().map(|case| resolved(root, case));
    let mut seen = HashSet::new();
    let all = of(schema).chain(cases.flat_map(of)).map(|(name, schema)| (name.as_str(), schema));
    all.filter(|(name, _)| seen.insert(*name)).collect()
}

/// What a schema refers to, and of several that which comes first.
pub(super) fn resolved<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    // A guest's may refer to itself.
    for _ in 0..32 {
        let name = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
        schema = match (name, schema["anyOf"].as_array().and_then(|choices| choices.first())) {
            (Some(name), _) => &root["$defs"][name],
            (None, Some(choice)) => choice,
            (None, None) => return schema,
        };
    }
    &Value::Null
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_understood_wherever_they_stand() {
        let vcpus = known::of_ours("guest-set-vcpus").unwrap().arguments;
        for (given, expected) in [
            (json!({"vcpu": []}), Some("there is no argument 'vcpu'; did you mean 'vcpus'?")),
            (
                json!({"vcpus": [{"logical-id": 0, "onlin": true}]}),
                Some("there is no argument 'vcpus[0].onlin'; did you mean 'online'?"),
            ),
            (json!({"vcpus": [{"logical-id": 0, "online": true}]}), None),
            (json!({"zebra": 1}), None),
            // What was meant is there.
            (json!({"vcpus": [], "vcpu": 1}), None),
            (json!({"vcpus": 5}), None),
            (json!([]), None),
        ] {
            assert_eq!(mistyped(&given, &vcpus).as_deref(), expected, "{given}");
        }
        let seek = known::of_ours("guest-file-seek").unwrap().arguments;
        let hint = mistyped(&json!({"handel": 1, "offset": 0, "wence": "set"}), &seek).unwrap();
        assert_eq!(
            hint.lines().collect::<HashSet<_>>(),
            HashSet::from([
                "there is no argument 'handel'; did you mean 'handle'?",
                "there is no argument 'wence'; did you mean 'whence'?"
            ])
        );
    }

    #[test]
    fn a_guests_schema_is_nothing_to_rely_on() {
        let given = json!({"a": {"a": {"b": 1}}, "b\u{1b}": [[1]]});
        for schema in [
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"a": {"$ref": "#/$defs/a"}}}}}),
            json!({"$ref": 5, "properties": [], "oneOf": {}, "anyOf": [[]]}),
            json!("x"),
        ] {
            assert!(mistyped(&given, &schema).is_none_or(|hint| !hint.contains('\u{1b}')), "{schema}");
        }
    }
}
