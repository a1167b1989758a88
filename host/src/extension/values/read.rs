//! Arguments: checked JSON text becomes values, or an error that names the place as those of the agent's own commands do.

use std::collections::HashMap;

use waga_builtins::qapi::base64;
use waga_builtins::qapi::{Fault, Kind, Place, contents, elements, members, shorten};
use wasmtime::component::Val;

use crate::extension::shape::Shape;

type Result<T> = std::result::Result<T, Fault>;

/// The word of an enum for what it has no word for.
const UNKNOWN: &str = "unknown";

/// So many fields are looked through faster than they are looked up.
const FEW: usize = 16;

/// Bytes of memory that the values of one message may still take.
#[derive(Debug)]
pub struct Budget {
    left: usize,
    /// Whether it is a result, which may have members that nobody knows.
    grows: bool,
}

impl Budget {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { left: bytes, grows: false }
    }

    /// So many bytes, of a result: members that its type does not have are passed over, and words that it does not have are `unknown`
    /// where it has that one.
    pub fn of_result(bytes: usize) -> Self {
        Self { left: bytes, grows: true }
    }

    fn take(&mut self, values: usize, bytes: usize) -> Result<()> {
        let cost = values.saturating_mul(size_of::<Val>()).saturating_add(bytes);
        self.left = self.left.checked_sub(cost).ok_or_else(|| {
            Fault::new(Kind::Other(
                "the arguments come to more values than the limit on messages lets pass".into(),
            ))
        })?;
        Ok(())
    }
}

/// The arguments of a function, in its order, from the checked text of an object.
///
/// # Errors
/// What is missing, unknown, of another type or out of range, in the words of the agent's own commands; more values than the budget.
pub fn arguments(text: &[u8], params: &[(String, Shape)], budget: &mut Budget) -> Result<Vec<Val>> {
    budget.take(params.len(), 0)?;
    let values = fields(text, params, &Place::Root, budget)?;
    Ok(values.into_iter().map(|(_, value)| value).collect())
}

/// A result, from checked text.
///
/// # Errors
/// It is not of the shape, or comes to more values than the budget.
pub fn result(text: &[u8], shape: &Shape, budget: &mut Budget) -> Result<Val> {
    value(text, shape, &Place::Root, budget)
}

/// The members of an object, in the order of the shape; those that may be absent are there all the same, as `none`.
fn fields(
    text: &[u8],
    fields: &[(String, Shape)],
    place: &Place<'_>,
    budget: &mut Budget,
) -> Result<Vec<(String, Val)>> {
    let mut found: Vec<Option<&[u8]>> = vec![None; fields.len()];
    let mut unexpected = None;
    // Nothing interrupts this, and both the type and the text may be as long as hostility makes them.
    let places: HashMap<&str, usize> = match fields.len() {
        ..=FEW => HashMap::new(),
        _ => fields.iter().enumerate().map(|(at, (name, _))| (name.as_str(), at)).collect(),
    };
    let place_of = |key: &str| match fields.len() {
        ..=FEW => fields.iter().position(|(name, _)| *name == key),
        _ => places.get(key).copied(),
    };
    for (key, value) in members(text) {
        let key = contents(key);
        match place_of(&key) {
            Some(at) => found[at] = Some(value),
            None => unexpected = unexpected.or(Some(key)),
        }
    }
    let read = |((name, shape), text): (&(String, Shape), Option<&[u8]>)| {
        let place = Place::Member(place, name);
        budget.take(0, name.len())?;
        let value = match (text, shape) {
            (Some(text), _) => value(text, shape, &place, budget)?,
            (None, Shape::Option(_)) => Val::Option(None),
            (None, _) => return Err(Fault::new(Kind::Missing).at(&place)),
        };
        Ok((name.clone(), value))
    };
    // In the order of the schema, and what is missing before what is too much: as the agent's own commands.
    let values = fields.iter().zip(found).map(read).collect::<Result<Vec<_>>>()?;
    match unexpected {
        Some(key) if !budget.grows => Err(Fault::new(Kind::Unexpected).at(&Place::Member(place, &key))),
        _ => Ok(values),
    }
}

/// One value.
fn value(text: &[u8], shape: &Shape, place: &Place<'_>, budget: &mut Budget) -> Result<Val> {
    let wrong = |expected: &str| Fault::wrong_type(expected).at(place);
    budget.take(1, 0)?;
    Ok(match shape {
        Shape::Bool => match text {
            b"true" => Val::Bool(true),
            b"false" => Val::Bool(false),
            _ => return Err(wrong("boolean")),
        },
        Shape::U8 => Val::U8(integer(text, "uint8", place)?),
        Shape::S8 => Val::S8(integer(text, "int8", place)?),
        Shape::U16 => Val::U16(integer(text, "uint16", place)?),
        Shape::S16 => Val::S16(integer(text, "int16", place)?),
        Shape::U32 => Val::U32(integer(text, "uint32", place)?),
        Shape::S32 => Val::S32(integer(text, "int32", place)?),
        Shape::U64 => Val::U64(integer(text, "uint64", place)?),
        Shape::S64 => Val::S64(integer(text, "int64", place)?),
        Shape::F32 => {
            // Rounded once, from the text; what is too large for it is no number of this kind.
            let number = number::<f32>(text).ok_or_else(|| wrong("number"))?;
            Val::Float32(finite(number, number.is_finite(), "a number that 32 bits hold", place)?)
        }
        Shape::F64 => {
            let number = number::<f64>(text).ok_or_else(|| wrong("number"))?;
            Val::Float64(finite(number, number.is_finite(), "a number that 64 bits hold", place)?)
        }
        Shape::Char => {
            let string = string(text, place)?;
            let mut characters = string.chars();
            match (characters.next(), characters.next()) {
                (Some(character), None) => Val::Char(character),
                _ => return Err(Fault::new(Kind::Expects("one character")).at(place)),
            }
        }
        Shape::String => {
            let string = string(text, place)?.into_owned();
            budget.take(0, string.len())?;
            Val::String(string)
        }
        Shape::Bytes => {
            let bytes = base64::decode(&string(text, place)?)
                .map_err(|_| Fault::new(Kind::Expects("base64")).at(place))?;
            budget.take(bytes.len(), 0)?;
            Val::List(bytes.into_iter().map(Val::U8).collect())
        }
        Shape::List(shape) => {
            Val::List(array(text, place)?.map(each(shape, place, budget)).collect::<Result<_>>()?)
        }
        Shape::Array(shape, length) => {
            counted(text, *length as usize, place)?;
            Val::FixedLengthList(array(text, place)?.map(each(shape, place, budget)).collect::<Result<_>>()?)
        }
        Shape::Tuple(shapes) => {
            counted(text, shapes.len(), place)?;
            let pairs = array(text, place)?.zip(shapes);
            let read = |(at, (text, shape)): (usize, (&[u8], &Shape))| {
                value(text, shape, &Place::Element(place, at), budget)
            };
            Val::Tuple(pairs.enumerate().map(read).collect::<Result<_>>()?)
        }
        Shape::Record(shapes) => Val::Record(fields(object(text, place)?, shapes, place, budget)?),
        Shape::Option(_) if text == b"null" => Val::Option(None),
        Shape::Option(shape) => Val::Option(Some(Box::new(value(text, shape, place, budget)?))),
        Shape::Enum(names) => Val::Enum(word(text, names, place, budget.grows)?),
        Shape::Flags(names) => {
            let read =
                |(at, text): (usize, &[u8])| word(text, names, &Place::Element(place, at), budget.grows);
            let mut set = array(text, place)?.enumerate().map(read).collect::<Result<Vec<_>>>()?;
            set.sort_unstable();
            set.dedup();
            budget.take(0, set.iter().map(|name| name.len() + size_of::<String>()).sum())?;
            Val::Flags(set)
        }
        Shape::Variant(cases) => variant(object(text, place)?, cases, place, budget)?,
        Shape::Result(ok, err) => outcome(object(text, place)?, [ok, err], place, budget)?,
    })
}

/// A tagged object: `type`, and the members of the case's record, or its value as `value`.
fn variant(
    text: &[u8],
    cases: &[(String, Option<Shape>)],
    place: &Place<'_>,
    budget: &mut Budget,
) -> Result<Val> {
    let tag_place = Place::Member(place, "type");
    let tag = members(text).find(|(key, _)| contents(key) == "type");
    let (_, tag) = tag.ok_or_else(|| Fault::new(Kind::Missing).at(&tag_place))?;
    let tag = string(tag, &tag_place)?;
    let Some((name, payload)) = cases.iter().find(|(name, _)| *name == tag) else {
        return Err(Fault::new(Kind::BadValue(shorten(&tag).to_owned())).at(&tag_place));
    };
    budget.take(0, name.len())?;
    // Without the tag it is an object like any other. That is a copy, and one for each variant around it is there at the same time.
    budget.take(0, text.len())?;
    let rest = without(text, "type");
    let payload = match payload {
        Some(Shape::Record(shapes)) => Some(Val::Record(fields(&rest, shapes, place, budget)?)),
        Some(shape) => {
            let wrapped = [("value".to_owned(), shape.clone())];
            fields(&rest, &wrapped, place, budget)?.pop().map(|(_, value)| value)
        }
        None => {
            fields(&rest, &[], place, budget)?;
            None
        }
    };
    Ok(Val::Variant(name.clone(), payload.map(Box::new)))
}

/// `{"ok": …}` or `{"err": …}`.
fn outcome(
    text: &[u8],
    arms: [&Option<Box<Shape>>; 2],
    place: &Place<'_>,
    budget: &mut Budget,
) -> Result<Val> {
    let mut both = members(text);
    let (key, inner) = match (both.next(), both.next()) {
        (Some(member), None) => member,
        _ => return Err(Fault::new(Kind::Expects("one of 'ok' and 'err'")).at(place)),
    };
    let key = contents(key);
    let at = match &*key {
        "ok" => 0,
        "err" => 1,
        _ => return Err(Fault::new(Kind::Unexpected).at(&Place::Member(place, &key))),
    };
    let place = Place::Member(place, &key);
    let payload = match arms[at] {
        Some(shape) => Some(Box::new(value(inner, shape, &place, budget)?)),
        None => {
            fields(object(inner, &place)?, &[], &place, budget)?;
            None
        }
    };
    Ok(Val::Result(if at == 0 { Ok(payload) } else { Err(payload) }))
}

/// An object's text without the members of this name.
fn without(text: &[u8], name: &str) -> Vec<u8> {
    let mut rest = Vec::with_capacity(text.len());
    rest.push(b'{');
    for (key, value) in members(text).filter(|(key, _)| contents(key) != name) {
        if rest.len() > 1 {
            rest.push(b',');
        }
        rest.extend_from_slice(key);
        rest.push(b':');
        rest.extend_from_slice(value);
    }
    rest.push(b'}');
    rest
}

fn each<'a>(
    shape: &'a Shape,
    place: &'a Place<'a>,
    budget: &'a mut Budget,
) -> impl FnMut(&[u8]) -> Result<Val> + 'a {
    let mut at = 0;
    move |text| {
        let place = Place::Element(place, at);
        at += 1;
        value(text, shape, &place, budget)
    }
}

fn object<'a>(text: &'a [u8], place: &Place<'_>) -> Result<&'a [u8]> {
    if text.first() == Some(&b'{') { Ok(text) } else { Err(Fault::wrong_type("object").at(place)) }
}

fn array<'a>(text: &'a [u8], place: &Place<'_>) -> Result<impl Iterator<Item = &'a [u8]>> {
    if text.first() == Some(&b'[') { Ok(elements(text)) } else { Err(Fault::wrong_type("array").at(place)) }
}

/// An array of so many elements.
fn counted(text: &[u8], length: usize, place: &Place<'_>) -> Result<()> {
    if array(text, place)?.take(length + 1).count() == length {
        return Ok(());
    }
    Err(Fault::new(Kind::Other(format!("Parameter '{place}' expects an array of {length}"))).at(place))
}

fn string<'a>(text: &'a [u8], place: &Place<'_>) -> Result<std::borrow::Cow<'a, str>> {
    if text.first() == Some(&b'"') { Ok(contents(text)) } else { Err(Fault::wrong_type("string").at(place)) }
}

/// One of these words.
fn word(text: &[u8], names: &[String], place: &Place<'_>, grows: bool) -> Result<String> {
    let word = string(text, place)?;
    if names.iter().any(|name| *name == word) {
        return Ok(word.into_owned());
    }
    if grows && names.iter().any(|name| name == UNKNOWN) {
        return Ok(UNKNOWN.to_owned());
    }
    Err(Fault::new(Kind::BadValue(shorten(&word).to_owned())).at(place))
}

/// A whole number, written as one. (Differs from qemu-ga's own: a negative number is none of 64 bits without a sign.)
fn integer<T: std::str::FromStr>(text: &[u8], range: &'static str, place: &Place<'_>) -> Result<T> {
    let digits = std::str::from_utf8(text).unwrap_or_default();
    let is_integer = digits.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && !digits.contains(['.', 'e', 'E']);
    if !is_integer {
        return Err(Fault::wrong_type("integer").at(place));
    }
    let digits = if digits == "-0" { "0" } else { digits };
    digits.parse().map_err(|_| Fault::new(Kind::Expects(range)).at(place))
}

/// A number of any spelling; what is too large is infinite.
fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let digits = std::str::from_utf8(text).ok()?;
    digits.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn finite<T>(number: T, is_finite: bool, range: &'static str, place: &Place<'_>) -> Result<T> {
    if is_finite { Ok(number) } else { Err(Fault::new(Kind::Expects(range)).at(place)) }
}
