//! The `arguments` of one request, owned, as checked JSON text; read straight into a command's own type.

use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, SeqAccess, Visitor};

use super::input;
use crate::error::{Error, Result};

/// The arguments of a request: the text of one JSON object inside the message that brought it.
///
/// The text is checked and compact: well formed, strings in double quotes, no white space between tokens, no key twice.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    message: Vec<u8>,
    object: Range<usize>,
}

impl Arguments {
    /// The object at `object` of a checked message; an empty range stands for no arguments.
    pub fn new(message: Vec<u8>, object: Range<usize>) -> Self {
        Self { message, object }
    }

    /// The object's text.
    pub fn text(&self) -> &[u8] {
        if self.object.is_empty() { b"{}" } else { &self.message[self.object.clone()] }
    }

    /// Reads the arguments into `T`, checking them as qemu-ga does and in its order.
    ///
    /// # Errors
    /// `GenericError` with qemu-ga's text: a member missing, of the wrong type, out of its enum, or unknown.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        input::read(self.text()).map_err(|fault| Error::generic(fault.to_string()))
    }

    /// Takes the contents of a string out of the message without copying it: its bytes as they stand in the text, escapes and all.
    pub fn into_string(self, span: &Span) -> Taken {
        let base = self.object.start;
        Taken { message: self.message, place: base + span.0.start + 1..base + span.0.end - 1 }
    }
}

/// The place of a string argument in the text, quotes included: for arguments too large to be copied.
#[derive(Debug, Clone)]
pub struct Span(Range<usize>);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Ends;
        impl<'de> Visitor<'de> for Ends {
            type Value = Span;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("string")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut ends: A) -> std::result::Result<Span, A::Error> {
                let mut end = || -> std::result::Result<usize, A::Error> {
                    let place = ends.next_element::<u64>()?.unwrap_or_default();
                    Ok(usize::try_from(place).unwrap_or(usize::MAX))
                };
                Ok(Span(end()?..end()?))
            }
        }
        deserializer.deserialize_newtype_struct(input::SPAN, Ends)
    }
}

/// The contents of one string, inside the message that brought it.
#[derive(Debug)]
pub struct Taken {
    message: Vec<u8>,
    place: Range<usize>,
}

impl Taken {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.message[self.place.clone()]
    }

    /// The bytes, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.message[self.place.clone()]
    }

    /// Keeps the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.place.end = self.place.end.min(self.place.start + length);
    }

    /// Puts other bytes in their place.
    pub fn replace(&mut self, bytes: Vec<u8>) {
        self.place = 0..bytes.len();
        self.message = bytes;
    }
}

/// The names of the members of `T`, as they are on the wire and in the order of its fields; none of what is not a struct.
///
/// The type's own reader is asked, so that a name is written once.
pub(crate) fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    /// Takes down the fields that are asked for, and gives nothing.
    struct Names<'a>(&'a mut &'static [&'static str]);

    type Nothing = de::value::Error;

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = Nothing;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> std::result::Result<V::Value, Nothing> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Nothing> {
            Err(de::Error::custom(""))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &[];
    // It fails, but not before it has said what it wants.
    let _ = T::deserialize(Names(&mut fields));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        PowerDown,
        Halt,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    struct Cpu {
        logical_id: i64,
        online: bool,
        phys_index: Option<u64>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    struct Args {
        handle: i64,
        offset: Option<i64>,
        mode: Option<Mode>,
        cpus: Option<Vec<Cpu>>,
        name: Option<String>,
    }

    fn parse(text: &str) -> std::result::Result<Args, String> {
        let arguments = Arguments::new(text.as_bytes().to_vec(), 0..text.len());
        arguments.parse().map_err(|error| error.desc)
    }

    #[test]
    fn arguments_become_the_commands_own_type() {
        let args = parse(
            r#"{"name":"a\"b","cpus":[{"online":true,"logical-id":-3,"phys-index":-1}],"mode":"halt","handle":1000}"#,
        );
        let cpu = Cpu { logical_id: -3, online: true, phys_index: Some(u64::MAX) };
        let expected = Args {
            handle: 1000,
            offset: None,
            mode: Some(Mode::Halt),
            cpus: Some(vec![cpu]),
            name: Some("a\"b".into()),
        };
        assert_eq!(args, Ok(expected));
        assert_eq!(Arguments::default().text(), b"{}");
    }

    #[test]
    fn faults_are_found_in_the_order_of_the_schema_and_name_their_place() {
        for (text, expected) in [
            (r#"{"offset":"x"}"#, "Parameter 'handle' is missing"),
            (r#"{"zzz":1,"handle":"x"}"#, "Invalid parameter type for 'handle', expected: integer"),
            (r#"{"handle":1.0}"#, "Invalid parameter type for 'handle', expected: integer"),
            (r#"{"handle":9223372036854775808}"#, "Invalid parameter type for 'handle', expected: integer"),
            (r#"{"handle":1,"offset":null}"#, "Invalid parameter type for 'offset', expected: integer"),
            (r#"{"handle":1,"mode":"up"}"#, "Parameter 'mode' does not accept value 'up'"),
            (r#"{"handle":1,"mode":1}"#, "Invalid parameter type for 'mode', expected: string"),
            (r#"{"handle":1,"cpus":{}}"#, "Invalid parameter type for 'cpus', expected: array"),
            (r#"{"handle":1,"cpus":[1]}"#, "Invalid parameter type for 'cpus[0]', expected: object"),
            (r#"{"handle":1,"cpus":[{"logical-id":1}]}"#, "Parameter 'cpus[0].online' is missing"),
            (
                r#"{"handle":1,"cpus":[{"logical-id":1,"online":1}]}"#,
                "Invalid parameter type for 'cpus[0].online', expected: boolean",
            ),
            (
                r#"{"handle":1,"cpus":[{"logical-id":1,"online":true,"phys-index":"x"}]}"#,
                "Parameter 'cpus[0].phys-index' expects uint64",
            ),
            (
                r#"{"handle":1,"cpus":[{"logical-id":1,"online":true,"x":[{"y":"]"}]}]}"#,
                "Parameter 'cpus[0].x' is unexpected",
            ),
            (r#"{"handle":1,"name":[]}"#, "Invalid parameter type for 'name', expected: string"),
            (r#"{"foo":42,"handle":1}"#, "Parameter 'foo' is unexpected"),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_large_string_is_taken_from_where_it_stands() {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Write {
            handle: i64,
            buf_b64: Span,
        }
        let message = r#"{"execute":"x","arguments":{"handle":7,"buf-b64":"aGk="}}"#;
        let start = message.find(r#"{"handle"#).unwrap();
        let arguments = Arguments::new(message.into(), start..message.len() - 1);
        let write: Write = arguments.parse().unwrap();
        assert_eq!(write.handle, 7);
        let mut taken = arguments.into_string(&write.buf_b64);
        assert_eq!(taken.bytes(), b"aGk=");
        taken.truncate(2);
        assert_eq!(taken.bytes_mut(), b"aG");
    }
}
