//! Reads checked JSON into a command's argument type, with the checks, order and error texts of qemu-ga.
//!
//! A serde deserializer of our own, because the protocol's errors name the place (`vcpus[0].online`) and are found in the order of
//! the schema: known members in the order of the struct's fields, then the first member that is left over.
//!
//! There is no tree: to find where a value ends it is scanned, once for each level of the *type* that it stands in. A type that
//! contains itself would make that quadratic; no command has one.

use std::borrow::Cow;

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::fault::{Fault, Kind, Place};
use super::text;

/// The name of the newtype that asks for the place of a string instead of its contents (see [`super::arguments::Span`]).
pub(super) const SPAN: &str = "$waga::span";

/// Reads the object at the start of `text` into `T`.
pub(super) fn read<'de, T: de::Deserialize<'de>>(text: &'de [u8]) -> Result<T, Fault> {
    T::deserialize(Value { text, start: 0, place: &Place::Root })
}

/// A reader of one value: the text it stands in, the place of its first byte, and its name for errors.
#[derive(Clone, Copy)]
struct Value<'de, 'p> {
    text: &'de [u8],
    start: usize,
    place: &'p Place<'p>,
}

impl<'de> Value<'de, '_> {
    fn first(&self) -> u8 {
        self.text.get(self.start).copied().unwrap_or(b' ')
    }

    fn slice(&self) -> &'de [u8] {
        &self.text[self.start..text::value_end(self.text, self.start)]
    }

    /// The number's text, if it is written as an integer.
    fn integer(&self) -> Option<&'de str> {
        let digits = std::str::from_utf8(self.slice()).ok()?;
        let integer = matches!(self.first(), b'-' | b'0'..=b'9') && !digits.contains(['.', 'e', 'E']);
        integer.then_some(digits)
    }

    fn visit_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match text::contents(self.slice()) {
            Cow::Borrowed(plain) => visitor.visit_borrowed_str(plain),
            Cow::Owned(text) => visitor.visit_string(text),
        }
        .map_err(|fault: Fault| fault.at(self.place))
    }

    fn mismatch(&self, expected: &str) -> Fault {
        Fault::wrong_type(expected).at(self.place)
    }
}

/// One method of the deserializer: the JSON type that it wants, and how it is visited.
macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let value = self.integer().and_then(|digits| digits.parse::<i64>().ok());
            let value = value.ok_or_else(|| self.mismatch("integer"))?;
            visitor.visit_i64(value).map_err(|_: Fault| self.mismatch("integer"))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Value<'de, '_> {
    type Error = Fault;

    /// For alternates: the visitor takes what it knows, and its `expecting` is the name that the error gives.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.first() {
            b'"' => self.visit_string(visitor),
            b'{' => self.deserialize_map(visitor),
            b'[' => self.deserialize_seq(visitor),
            b't' | b'f' => visitor.visit_bool(self.first() == b't'),
            b'n' => visitor.visit_unit(),
            _ => match self.integer().and_then(|digits| digits.parse().ok()) {
                Some(integer) => visitor.visit_i64(integer),
                None => {
                    let number =
                        std::str::from_utf8(self.slice()).ok().and_then(|digits| digits.parse().ok());
                    visitor.visit_f64(number.unwrap_or(f64::NAN))
                }
            },
        }
        .map_err(|fault: Fault| fault.at(self.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.first() {
            b't' => visitor.visit_bool(true),
            b'f' => visitor.visit_bool(false),
            _ => Err(self.mismatch("boolean")),
        }
    }

    integers! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 }

    /// QAPI's uint64 also takes negative numbers, as two's complement.
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let digits = self.integer();
        let value = digits.and_then(|digits| {
            digits.parse::<u64>().ok().or_else(|| digits.parse::<i64>().ok().map(i64::cast_unsigned))
        });
        match value {
            Some(value) => visitor.visit_u64(value),
            None => Err(Fault::new(Kind::Expects("uint64")).at(self.place)),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let number = match self.first() {
            b'-' | b'0'..=b'9' => {
                std::str::from_utf8(self.slice()).ok().and_then(|digits| digits.parse().ok())
            }
            _ => None,
        };
        visitor.visit_f64(number.ok_or_else(|| self.mismatch("number"))?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.first() == b'"' { self.visit_string(visitor) } else { Err(self.mismatch("string")) }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    /// A member that is there is there: an explicit `null` is a value of the wrong type, not an absence.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.first() == b'n' { visitor.visit_unit() } else { Err(self.mismatch("null")) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_struct("", &[], visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name != SPAN {
            return visitor.visit_newtype_struct(self);
        }
        if self.first() != b'"' {
            return Err(self.mismatch("string"));
        }
        let span = [self.start as u64, text::string_end(self.text, self.start) as u64];
        visitor.visit_seq(de::value::SeqDeserializer::new(span.into_iter()))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.first() != b'[' {
            return Err(self.mismatch("array"));
        }
        let elements = Elements { text: self.text, at: self.start + 1, index: 0, place: self.place };
        visitor.visit_seq(elements).map_err(|fault| fault.at(self.place))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.first() != b'{' {
            return Err(self.mismatch("object"));
        }
        let members = members(self.text, self.start).into_iter();
        visitor.visit_map(Members {
            text: self.text,
            members,
            value: 0,
            key: Cow::default(),
            place: self.place,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if self.first() != b'{' {
            return Err(self.mismatch("object"));
        }
        let mut fields = Fields {
            text: self.text,
            members: members(self.text, self.start),
            fields: fields.iter(),
            current: ("", None),
            place: self.place,
        };
        let value = visitor.visit_map(&mut fields)?;
        match fields.members.first() {
            Some((key, _)) => Err(Fault::new(Kind::Unexpected).at(&Place::Member(self.place, key))),
            None => Ok(value),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if self.first() != b'"' {
            return Err(self.mismatch("string"));
        }
        let name = text::unescape(self.slice());
        visitor.visit_enum(name.into_deserializer()).map_err(|fault: Fault| fault.at(self.place))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

/// The members of the object at `start`: each key, and where its value starts.
fn members(text: &[u8], start: usize) -> Vec<(Cow<'_, str>, usize)> {
    let mut members = Vec::new();
    let mut at = start + 1;
    while text.get(at) == Some(&b'"') {
        let key_end = text::string_end(text, at);
        let value = key_end + 1; // past the colon
        members.push((text::contents(&text[at..key_end]), value));
        at = text::value_end(text, value);
        if text.get(at) == Some(&b',') {
            at += 1;
        }
    }
    members
}

/// Gives a struct its members in the order of its fields, absent ones too: so the first fault of the schema's order is the one reported.
struct Fields<'de, 'p> {
    text: &'de [u8],
    members: Vec<(Cow<'de, str>, usize)>,
    fields: std::slice::Iter<'static, &'static str>,
    current: (&'static str, Option<usize>),
    place: &'p Place<'p>,
}

impl<'de> de::MapAccess<'de> for &mut Fields<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(field) = self.fields.next() else { return Ok(None) };
        let found = self.members.iter().position(|(key, _)| key == field);
        self.current = (field, found.map(|index| self.members.remove(index).1));
        seed.deserialize((*field).into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (field, start) = self.current;
        let place = Place::Member(self.place, field);
        match start {
            Some(start) => seed.deserialize(Value { text: self.text, start, place: &place }),
            None => seed.deserialize(Absent).map_err(|fault| fault.at(&place)),
        }
    }
}

/// A member that is not there: fine for an `Option`, an error for everything else.
struct Absent;

impl<'de> de::Deserializer<'de> for Absent {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Fault::new(Kind::Missing))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_none()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Gives a map its members in the order of the text.
struct Members<'de, 'p> {
    text: &'de [u8],
    members: std::vec::IntoIter<(Cow<'de, str>, usize)>,
    value: usize,
    key: Cow<'de, str>,
    place: &'p Place<'p>,
}

impl<'de> de::MapAccess<'de> for Members<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.members.next() else { return Ok(None) };
        self.value = value;
        self.key = key;
        seed.deserialize(self.key.as_ref().into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let place = Place::Member(self.place, &self.key);
        seed.deserialize(Value { text: self.text, start: self.value, place: &place })
    }
}

/// Gives an array its elements.
struct Elements<'de, 'p> {
    text: &'de [u8],
    at: usize,
    index: usize,
    place: &'p Place<'p>,
}

impl<'de> de::SeqAccess<'de> for Elements<'de, '_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if matches!(self.text.get(self.at), Some(b']') | None) {
            return Ok(None);
        }
        let place = Place::Element(self.place, self.index);
        let element = seed.deserialize(Value { text: self.text, start: self.at, place: &place })?;
        self.at = text::value_end(self.text, self.at);
        if self.text.get(self.at) == Some(&b',') {
            self.at += 1;
        }
        self.index += 1;
        Ok(Some(element))
    }
}
