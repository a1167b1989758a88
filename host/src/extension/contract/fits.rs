//! Whether the types of a function are those of a schema: all that the command takes can be given to it, and all that it gives is what
//! clients of the command expect.

use serde_json::Value;

use super::resolved;
use crate::extension::shape::Shape;

type Result = std::result::Result<(), String>;

/// Which of two is at least the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// JSON that keeps to the schema is given to the type.
    To,
    /// Values of the type are given where the schema is expected.
    From,
}

/// Whether a function takes whatever the command takes.
pub(super) fn takes(params: &[(String, Shape)], schema: &Value) -> Result {
    members(params, schema, schema, "argument", Way::To)
}

/// Whether what a function gives is what the command gives.
pub(super) fn gives(result: Option<&Shape>, schema: &Value) -> Result {
    match result {
        Some(shape) => fits(shape, schema, schema, "result", Way::From),
        // An empty object.
        None => members(&[], resolved(schema, schema), schema, "result", Way::From),
    }
}

fn members(fields: &[(String, Shape)], schema: &Value, root: &Value, place: &str, way: Way) -> Result {
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
    };
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{place} '{name}'");
        let shape = fields.iter().find(|(field, _)| field == name).map(|(_, shape)| shape);
        match (shape, way) {
            (Some(Shape::Option(_)), Way::From) if required(name) => {
                return Err(format!("{place}: may be absent, and clients rely on it"));
            }
            (Some(Shape::Option(shape)), _) => fits(shape, inner, root, &place, way)?,
            (Some(_), Way::To) if !required(name) => {
                return Err(format!("{place}: has to be an option: clients may leave it away"));
            }
            (Some(shape), _) => fits(shape, inner, root, &place, way)?,
            (None, Way::To) => return Err(format!("{place}: is not taken")),
            (None, Way::From) if required(name) => return Err(format!("{place}: is not given")),
            (None, Way::From) => {}
        }
    }
    // What the schema does not have no client gives; what it does not know of results it ignores.
    let unknown = fields.iter().find(|(name, shape)| {
        way == Way::To && schema["properties"].get(name).is_none() && !matches!(shape, Shape::Option(_))
    });
    match unknown {
        Some((name, _)) => Err(format!("{place} '{name}': no client gives it, so it has to be an option")),
        None => Ok(()),
    }
}

fn fits(shape: &Shape, schema: &Value, root: &Value, place: &str, way: Way) -> Result {
    let schema = resolved(schema, root);
    let other = || Err(format!("{place}: is of another type than the agent's"));
    if let Some(choices) = schema["anyOf"].as_array() {
        // Beside what it is, words of another kind that old clients write; or, as a result, nothing.
        return match (shape, choices.first()) {
            (Shape::Option(shape), Some(first)) => fits(shape, first, root, place, way),
            (_, Some(first)) => fits(shape, first, root, place, way),
            (_, None) => other(),
        };
    }
    match (schema["type"].as_str(), shape) {
        (Some("boolean"), Shape::Bool)
        | (Some("number"), Shape::F32 | Shape::F64)
        | (Some("string"), Shape::String) => Ok(()),
        (Some("string"), Shape::Bytes) if schema["contentEncoding"] == "base64" => Ok(()),
        (Some("string"), Shape::Enum(words)) => words_fit(words, schema, place, way),
        (Some("integer"), shape) => integer(shape, schema, place, way),
        (Some("array"), Shape::List(shape)) => {
            fits(shape, &schema["items"], root, &format!("{place}[]"), way)
        }
        (Some("array"), Shape::Flags(words)) => {
            words_fit(words, resolved(&schema["items"], root), place, way)
        }
        (Some("array"), Shape::Tuple(shapes)) => {
            for (at, shape) in shapes.iter().enumerate() {
                fits(shape, &schema["prefixItems"][at], root, &format!("{place}[{at}]"), way)?;
            }
            Ok(())
        }
        (Some("object"), Shape::Record(fields)) => members(fields, schema, root, place, way),
        // Cases are told by their tag.
        (None, Shape::Variant(cases)) if schema["oneOf"].is_array() => {
            let known = schema["oneOf"].as_array().into_iter().flatten();
            let tags: Vec<&str> =
                known.filter_map(|case| case["properties"]["type"]["const"].as_str()).collect();
            let all_taken = tags.iter().all(|tag| cases.iter().any(|(name, _)| name == tag));
            let all_known = cases.iter().all(|(name, _)| tags.contains(&&**name));
            if (way == Way::To && all_taken) || (way == Way::From && all_known) { Ok(()) } else { other() }
        }
        _ => other(),
    }
}

/// The words of an enum; a type that takes any string takes them too.
fn words_fit(words: &[String], schema: &Value, place: &str, way: Way) -> Result {
    let Some(known) = schema["oneOf"].as_array() else {
        let other = || format!("{place}: takes some words only, and the agent any string");
        return if way == Way::From { Ok(()) } else { Err(other()) };
    };
    let known: Vec<&str> = known.iter().filter_map(|word| word["const"].as_str()).collect();
    let lost = known.iter().find(|word| way == Way::To && !words.iter().any(|own| own == *word));
    let new = words.iter().find(|word| way == Way::From && !known.contains(&&***word));
    match (lost, new) {
        (Some(word), _) => Err(format!("{place}: does not take '{word}'")),
        (_, Some(word)) => Err(format!("{place}: may be '{word}', which no client knows")),
        (None, None) => Ok(()),
    }
}

fn integer(shape: &Shape, schema: &Value, place: &str, way: Way) -> Result {
    let range: (i128, i128) = match shape {
        Shape::U8 => (0, u8::MAX.into()),
        Shape::S8 => (i8::MIN.into(), i8::MAX.into()),
        Shape::U16 => (0, u16::MAX.into()),
        Shape::S16 => (i16::MIN.into(), i16::MAX.into()),
        Shape::U32 => (0, u32::MAX.into()),
        Shape::S32 => (i32::MIN.into(), i32::MAX.into()),
        Shape::U64 => (0, u64::MAX.into()),
        Shape::S64 => (i64::MIN.into(), i64::MAX.into()),
        _ => return Err(format!("{place}: is of another type than the agent's")),
    };
    let bound = |key: &str, or: i128| {
        schema[key].as_i64().map(i128::from).or_else(|| schema[key].as_u64().map(i128::from)).unwrap_or(or)
    };
    let known = (bound("minimum", i128::MIN), bound("maximum", i128::MAX));
    let (wide, narrow) = if way == Way::To { (range, known) } else { (known, range) };
    if wide.0 <= narrow.0 && narrow.1 <= wide.1 {
        return Ok(());
    }
    Err(format!("{place}: is a whole number of another range than the agent's"))
}
