//! The types of arguments and results as JSON sees them: what a component's types are mapped to, once, when it is compiled.
//!
//! They stand in its description, so nothing of a component has to be loaded to know them. The mapping itself is `values`.

pub(super) mod schema;

use serde::{Deserialize, Serialize};

/// One type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    U8,
    /// A whole number.
    S8,
    /// A whole number.
    U16,
    /// A whole number.
    S16,
    /// A whole number.
    U32,
    /// A whole number.
    S32,
    /// A whole number.
    U64,
    /// A whole number.
    S64,
    /// A number.
    F32,
    /// A number.
    F64,
    /// A string of one character.
    Char,
    /// A string.
    String,
    /// `list<u8>`: a string of base64.
    Bytes,
    /// An array.
    List(Box<Shape>),
    /// An array of this many.
    Array(Box<Shape>, u32),
    /// An array of one each.
    Tuple(Vec<Shape>),
    /// An object with all of these members, but for those that are [`Shape::Option`].
    Record(Vec<(String, Shape)>),
    /// As a member or an argument: it may be absent. Elsewhere `null` stands for nothing. Never directly in itself.
    Option(Box<Shape>),
    /// A string, one of these.
    Enum(Vec<String>),
    /// An array of strings, each one of these.
    Flags(Vec<String>),
    /// An object with a member `type`, one of these; with the members of the record besides, if the case has one, else with its
    /// value as `value`.
    Variant(Vec<(String, Option<Shape>)>),
    /// An object with one member, `ok` or `err`; its value is `{}` where there is none.
    Result(Option<Box<Shape>>, Option<Box<Shape>>),
}
