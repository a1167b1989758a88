//! Shapes as JSON Schema, for components whose WIT nobody could read: no docs, and no names of types. The mapping is the one by which
//! `waga-wit` makes schemas of WIT.

use serde_json::{Map, Value, json};

use super::Shape;
use crate::extension::description::Signature;

/// Which way values go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Arguments: unknown members are refused.
    In,
    /// Results: they may grow.
    Out,
}

/// The schema of a function's arguments.
pub(in crate::extension) fn arguments(signature: &Signature) -> Value {
    object(None, &signature.params, Way::In)
}

/// The schema of what a function returns when all goes well.
pub(in crate::extension) fn result(signature: &Signature) -> Value {
    signature.result.as_ref().map_or_else(|| json!({"type": "object"}), |shape| value(shape, Way::Out))
}

fn value(shape: &Shape, way: Way) -> Value {
    match shape {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::U8 => integer(0, u8::MAX),
        Shape::S8 => integer(i8::MIN, i8::MAX),
        Shape::U16 => integer(0, u16::MAX),
        Shape::S16 => integer(i16::MIN, i16::MAX),
        Shape::U32 => integer(0, u32::MAX),
        Shape::S32 => integer(i32::MIN, i32::MAX),
        Shape::U64 => integer(0, u64::MAX),
        Shape::S64 => integer(i64::MIN, i64::MAX),
        Shape::F32 | Shape::F64 => json!({"type": "number"}),
        Shape::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
        Shape::String => json!({"type": "string"}),
        Shape::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Shape::List(shape) => json!({"type": "array", "items": value(shape, way)}),
        Shape::Array(shape, length) => {
            json!({"type": "array", "items": value(shape, way), "minItems": length, "maxItems": length})
        }
        Shape::Tuple(shapes) => {
            let items: Vec<_> = shapes.iter().map(|shape| value(shape, way)).collect();
            json!({"type": "array", "prefixItems": items, "items": false, "minItems": shapes.len()})
        }
        Shape::Record(members) => object(None, members, way),
        Shape::Option(shape) => json!({"anyOf": [value(shape, way), {"type": "null"}]}),
        Shape::Enum(names) => words(names),
        Shape::Flags(names) => json!({"type": "array", "items": words(names), "uniqueItems": true}),
        Shape::Variant(cases) => {
            let case = |(name, shape): &(String, Option<Shape>)| match shape {
                None => object(Some(name), &[], way),
                Some(Shape::Record(members)) => object(Some(name), members, way),
                Some(shape) => object(Some(name), &[("value".to_owned(), shape.clone())], way),
            };
            json!({"oneOf": cases.iter().map(case).collect::<Vec<_>>()})
        }
        Shape::Result(ok, err) => {
            let arm = |name: &str, shape: &Option<Box<Shape>>| {
                let inner =
                    shape.as_ref().map_or_else(|| json!({"type": "object"}), |shape| value(shape, way));
                json!({"type": "object", "properties": {name: inner}, "required": [name], "additionalProperties": false})
            };
            json!({"oneOf": [arm("ok", ok), arm("err", err)]})
        }
    }
}

/// An object with these members; those that are options may be absent. The tag is a member `type` that says which case it is.
fn object(tag: Option<&str>, members: &[(String, Shape)], way: Way) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    if let Some(case) = tag {
        properties.insert("type".to_owned(), json!({"const": case}));
        required.push("type");
    }
    for (name, shape) in members {
        let inner = match shape {
            Shape::Option(inner) => inner,
            shape => {
                required.push(name);
                shape
            }
        };
        properties.insert(name.clone(), value(inner, way));
    }
    let mut schema = json!({"type": "object"});
    if !properties.is_empty() {
        schema["properties"] = properties.into();
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if way == Way::In {
        schema["additionalProperties"] = false.into();
    }
    schema
}

/// A string that is one of these.
fn words(names: &[String]) -> Value {
    let words: Vec<_> = names.iter().map(|name| json!({"const": name})).collect();
    json!({"type": "string", "oneOf": words})
}

fn integer(least: impl Into<Value>, most: impl Into<Value>) -> Value {
    json!({"type": "integer", "minimum": least.into(), "maximum": most.into()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(params: &[(&str, Shape)], result: Option<Shape>) -> Signature {
        let params = params.iter().map(|(name, shape)| ((*name).to_owned(), shape.clone())).collect();
        Signature { interface: "test:it/i".into(), params, result, error: None }
    }

    /// What is expected is what `waga-wit` makes of the same WIT, in its own tests.
    #[test]
    fn each_shape_has_the_schema_of_its_wit() {
        let record = |members: &[(&str, Shape)]| {
            Shape::Record(members.iter().map(|(name, shape)| ((*name).to_owned(), shape.clone())).collect())
        };
        let option = |shape| Shape::Option(Box::new(shape));
        for (shape, expected) in [
            (Shape::S16, json!({"type": "integer", "minimum": -32768, "maximum": 32767})),
            (Shape::U64, json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})),
            (Shape::Char, json!({"type": "string", "minLength": 1, "maxLength": 1})),
            (
                Shape::List(Box::new(Shape::Bytes)),
                json!({"type": "array", "items": {"type": "string", "contentEncoding": "base64"}}),
            ),
            (
                Shape::Array(Box::new(Shape::Bool), 2),
                json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}),
            ),
            (
                Shape::Tuple(vec![Shape::Bool, Shape::String]),
                json!({"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "string"}], "items": false, "minItems": 2}),
            ),
            (option(Shape::Bool), json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]})),
            (
                Shape::Flags(vec!["read".into()]),
                json!({"type": "array", "items": {"type": "string", "oneOf": [{"const": "read"}]}, "uniqueItems": true}),
            ),
            (
                Shape::Result(Some(Box::new(Shape::Bool)), None),
                json!({"oneOf": [
                    {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false},
                    {"type": "object", "properties": {"err": {"type": "object"}}, "required": ["err"], "additionalProperties": false},
                ]}),
            ),
            (
                Shape::Variant(vec![
                    ("none".into(), None),
                    ("change".into(), Some(record(&[("before", Shape::U8)]))),
                    ("count".into(), Some(Shape::Bool)),
                ]),
                json!({"oneOf": [
                    {"type": "object", "properties": {"type": {"const": "none"}}, "required": ["type"]},
                    {
                        "type": "object",
                        "properties": {"type": {"const": "change"}, "before": {"type": "integer", "minimum": 0, "maximum": 255}},
                        "required": ["type", "before"],
                    },
                    {"type": "object", "properties": {"type": {"const": "count"}, "value": {"type": "boolean"}}, "required": ["type", "value"]},
                ]}),
            ),
        ] {
            assert_eq!(result(&signature(&[], Some(shape.clone()))), expected, "{shape:?}");
        }
        let both = signature(&[("size", option(Shape::Bool)), ("name", record(&[("x", Shape::F64)]))], None);
        assert_eq!(result(&both), json!({"type": "object"}));
        let name = json!({"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"], "additionalProperties": false});
        assert_eq!(
            arguments(&both),
            json!({
                "type": "object",
                "properties": {"size": {"type": "boolean"}, "name": name},
                "required": ["name"],
                "additionalProperties": false,
            })
        );
        assert_eq!(
            arguments(&signature(&[], None)),
            json!({"type": "object", "additionalProperties": false})
        );
    }
}
