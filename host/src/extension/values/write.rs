//! Results: values become JSON text, spelt as the agent spells its own replies.

use waga_builtins::qapi::{base64, output, spell};
use wasmtime::component::Val;

use crate::extension::shape::Shape;

/// Why a result has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unspelt {
    /// It would be longer than it may be.
    TooLong,
    /// It holds a number that JSON has not: not a number, or infinite.
    NotFinite,
    /// It is not of the shape. The engine sees to that; if not, it is no result.
    Shape,
}

/// Appends a value to `out`, which must not grow beyond `limit` bytes.
///
/// # Errors
/// See [`Unspelt`].
pub fn value(out: &mut Vec<u8>, value: &Val, shape: &Shape, limit: usize) -> Result<(), Unspelt> {
    Writer { out, limit }.value(value, shape)
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
}

impl Writer<'_> {
    fn put(&mut self, text: &[u8]) -> Result<(), Unspelt> {
        if self.out.len() + text.len() > self.limit {
            return Err(Unspelt::TooLong);
        }
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Unspelt> {
        // It is at least as long: nothing is spelt that has no room.
        if self.out.len() + text.len() > self.limit {
            return Err(Unspelt::TooLong);
        }
        self.put(&spell(text))
    }

    fn number(&mut self, number: impl std::fmt::Display) -> Result<(), Unspelt> {
        self.put(number.to_string().as_bytes())
    }

    fn float(&mut self, number: f64) -> Result<(), Unspelt> {
        if !number.is_finite() {
            return Err(Unspelt::NotFinite);
        }
        self.put(output::double(number).as_bytes())
    }

    fn value(&mut self, value: &Val, shape: &Shape) -> Result<(), Unspelt> {
        match (value, shape) {
            (Val::Bool(value), Shape::Bool) => self.put(if *value { b"true" } else { b"false" }),
            (Val::U8(value), Shape::U8) => self.number(value),
            (Val::S8(value), Shape::S8) => self.number(value),
            (Val::U16(value), Shape::U16) => self.number(value),
            (Val::S16(value), Shape::S16) => self.number(value),
            (Val::U32(value), Shape::U32) => self.number(value),
            (Val::S32(value), Shape::S32) => self.number(value),
            (Val::U64(value), Shape::U64) => self.number(value),
            (Val::S64(value), Shape::S64) => self.number(value),
            // The shortest decimal that is this number, not the digits of its widening.
            (Val::Float32(value), Shape::F32) => {
                self.float(value.to_string().parse().unwrap_or(f64::from(*value)))
            }
            (Val::Float64(value), Shape::F64) => self.float(*value),
            (Val::Char(value), Shape::Char) => self.string(value.encode_utf8(&mut [0; 4])),
            (Val::String(value), Shape::String) => self.string(value),
            (Val::List(values), Shape::Bytes) => self.bytes(values),
            (Val::List(values), Shape::List(shape)) => {
                self.array(values.iter().map(|value| (value, &**shape)))
            }
            (Val::FixedLengthList(values), Shape::Array(shape, length))
                if values.len() == *length as usize =>
            {
                self.array(values.iter().map(|value| (value, &**shape)))
            }
            (Val::Tuple(values), Shape::Tuple(shapes)) if values.len() == shapes.len() => {
                self.array(values.iter().zip(shapes))
            }
            (Val::Record(values), Shape::Record(shapes)) => {
                self.put(b"{")?;
                self.fields(values, shapes, true)?;
                self.put(b"}")
            }
            (Val::Option(None), Shape::Option(_)) => self.put(b"null"),
            (Val::Option(Some(value)), Shape::Option(shape)) => self.value(value, shape),
            (Val::Enum(name), Shape::Enum(_)) => self.string(name),
            (Val::Flags(names), Shape::Flags(_)) => {
                self.put(b"[")?;
                for (at, name) in names.iter().enumerate() {
                    self.put(if at > 0 { b", " } else { b"" })?;
                    self.string(name)?;
                }
                self.put(b"]")
            }
            (Val::Variant(name, payload), Shape::Variant(cases)) => {
                self.variant(name, payload.as_deref(), cases)
            }
            (Val::Result(result), Shape::Result(ok, err)) => {
                let (key, payload, shape) = match result {
                    Ok(payload) => ("{\"ok\": ", payload, ok),
                    Err(payload) => ("{\"err\": ", payload, err),
                };
                self.put(key.as_bytes())?;
                match (payload, shape) {
                    (Some(value), Some(shape)) => self.value(value, shape)?,
                    (None, None) => self.put(b"{}")?,
                    _ => return Err(Unspelt::Shape),
                }
                self.put(b"}")
            }
            _ => Err(Unspelt::Shape),
        }
    }

    /// Members, but for those that are absent.
    fn fields(
        &mut self,
        values: &[(String, Val)],
        shapes: &[(String, Shape)],
        first: bool,
    ) -> Result<(), Unspelt> {
        if values.len() != shapes.len() {
            return Err(Unspelt::Shape);
        }
        let mut first = first;
        for ((_, value), (name, shape)) in values.iter().zip(shapes) {
            if matches!(value, Val::Option(None)) {
                continue;
            }
            self.put(if first { b"" } else { b", " })?;
            first = false;
            self.string(name)?;
            self.put(b": ")?;
            self.value(value, shape)?;
        }
        Ok(())
    }

    fn array<'a>(&mut self, values: impl Iterator<Item = (&'a Val, &'a Shape)>) -> Result<(), Unspelt> {
        self.put(b"[")?;
        for (at, (value, shape)) in values.enumerate() {
            self.put(if at > 0 { b", " } else { b"" })?;
            self.value(value, shape)?;
        }
        self.put(b"]")
    }

    fn variant(
        &mut self,
        name: &str,
        payload: Option<&Val>,
        cases: &[(String, Option<Shape>)],
    ) -> Result<(), Unspelt> {
        let (_, shape) = cases.iter().find(|(case, _)| case == name).ok_or(Unspelt::Shape)?;
        self.put(b"{\"type\": ")?;
        self.string(name)?;
        match (payload, shape) {
            (Some(Val::Record(values)), Some(Shape::Record(shapes))) => self.fields(values, shapes, false)?,
            (Some(value), Some(shape)) => {
                self.put(b", \"value\": ")?;
                self.value(value, shape)?;
            }
            (None, None) => {}
            _ => return Err(Unspelt::Shape),
        }
        self.put(b"}")
    }

    fn bytes(&mut self, values: &[Val]) -> Result<(), Unspelt> {
        if self.out.len() + values.len() / 3 * 4 > self.limit {
            return Err(Unspelt::TooLong);
        }
        let byte = |value: &Val| match value {
            Val::U8(byte) => Ok(*byte),
            _ => Err(Unspelt::Shape),
        };
        let bytes = values.iter().map(byte).collect::<Result<Vec<u8>, _>>()?;
        self.put(b"\"")?;
        self.put(base64::encode(&bytes).as_bytes())?;
        self.put(b"\"")
    }
}
