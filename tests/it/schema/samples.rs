//! Values made of a schema: what it takes, and what it does not.

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::validator;

/// The arguments of one command as its schema has them.
pub(super) struct Arguments {
    schema: Value,
}

impl Arguments {
    pub(super) fn of(command: &Value) -> Self {
        Self { schema: command["arguments"].clone() }
    }

    /// What judges all of them together.
    pub(super) fn judge(&self) -> Validator {
        validator(&self.schema)
    }

    /// Their names, and whether each must be there.
    pub(super) fn names(&self) -> Vec<(String, bool)> {
        let required = self.schema["required"].as_array().cloned().unwrap_or_default();
        let Some(properties) = self.schema["properties"].as_object() else { return Vec::new() };
        properties.keys().map(|name| (name.clone(), required.contains(&json!(name)))).collect()
    }

    /// The schema of one, which needs nothing around it.
    pub(super) fn schema(&self, name: &str) -> Value {
        let mut schema = self.schema["properties"][name].clone();
        schema["$defs"] = self.schema["$defs"].clone();
        if schema["$defs"].is_null() {
            schema["$defs"] = json!({});
        }
        schema
    }

    /// A value of each kind that one takes: every word of a list of words, the ends of a range.
    pub(super) fn samples(&self, name: &str) -> Vec<Value> {
        samples(&self.schema(name), &self.schema["$defs"])
    }

    /// Those that must be there.
    pub(super) fn minimal(&self) -> Map<String, Value> {
        self.filled(|required| required)
    }

    /// All.
    pub(super) fn full(&self) -> Map<String, Value> {
        self.filled(|_| true)
    }

    fn filled(&self, which: impl Fn(bool) -> bool) -> Map<String, Value> {
        let names = self.names().into_iter().filter(|(_, required)| which(*required));
        names.map(|(name, _)| (name.clone(), self.samples(&name).remove(0))).collect()
    }

    /// Values of other types than one takes.
    pub(super) fn wrong(&self, name: &str) -> Vec<Value> {
        let judge = validator(&self.schema(name));
        let candidates = [
            json!(5),
            json!(-1.5),
            json!("no such word"),
            json!(true),
            json!([]),
            json!([[]]),
            json!({"x": 1}),
            json!([{"x": 1}]),
            json!(null),
        ];
        candidates.into_iter().filter(|candidate| !judge.is_valid(candidate)).collect()
    }

    /// What the protocol calls the type of one, as the beginning of the word.
    pub(super) fn type_of(&self, name: &str) -> String {
        let schema = resolved(&self.schema(name), &self.schema["$defs"]);
        // QAPI names what may be of several types.
        schema["type"].as_str().unwrap_or("Guest").to_owned()
    }

    /// The whole numbers next to the range that one takes, as JSON text: none of our types holds them all.
    pub(super) fn beyond(&self, name: &str) -> Vec<String> {
        let schema = resolved(&self.schema(name), &self.schema["$defs"]);
        let end = |end: &str| schema[end].to_string().parse::<i128>().ok();
        let (Some(least), Some(most)) = (end("minimum"), end("maximum")) else { return Vec::new() };
        [least - 1, most + 1].map(|number| number.to_string()).into()
    }
}

/// What a schema is behind its references.
fn resolved(schema: &Value, defs: &Value) -> Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolved(&defs[reference.strip_prefix("#/$defs/").unwrap()], defs),
        None => schema.clone(),
    }
}

/// Values that a schema takes, the plainest first.
fn samples(schema: &Value, defs: &Value) -> Vec<Value> {
    let schema = resolved(schema, defs);
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(alternatives) = schema[alternatives].as_array() {
            return alternatives.iter().flat_map(|alternative| samples(alternative, defs)).collect();
        }
    }
    if !schema["const"].is_null() {
        return vec![schema["const"].clone()];
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.clone();
    }
    match schema["type"].as_str() {
        Some("boolean") => vec![json!(false), json!(true)],
        Some("integer") => vec![json!(1), schema["minimum"].clone(), schema["maximum"].clone()],
        Some("number") => vec![json!(0.5)],
        Some("string") => vec![json!("")],
        Some("array") => {
            let elements = samples(&schema["items"], defs);
            let mut arrays = vec![json!([]), Value::from(elements.clone())];
            arrays.extend(elements.into_iter().map(|element| json!([element])));
            arrays
        }
        Some("object") => {
            let properties = schema["properties"].as_object().unwrap();
            let whole: Map<_, _> = properties
                .iter()
                .map(|(name, schema)| (name.clone(), samples(schema, defs).remove(0)))
                .collect();
            vec![whole.into()]
        }
        _ => panic!("nobody knows a value of {schema}"),
    }
}
