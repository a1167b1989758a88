//! What can be wrong with an argument, in qemu-ga's words, and the place where it is.

use std::fmt;

use serde::de;

use super::text;

/// What is wrong with an argument; the place is added by the innermost reader that knows it.
#[derive(Debug)]
pub struct Fault {
    kind: Kind,
    place: Option<String>,
}

/// The kinds of faults.
#[derive(Debug)]
pub enum Kind {
    /// A member is wanted that is not there.
    Missing,
    /// A member is there that nobody knows.
    Unexpected,
    /// Another JSON type is wanted: this one.
    WrongType(String),
    /// It has the right type, but not the right range: this one is wanted.
    Expects(&'static str),
    /// None of the words that are wanted.
    BadValue(String),
    /// Something else; the text says all.
    Other(String),
}

impl Fault {
    /// A fault whose place is not known yet.
    pub fn new(kind: Kind) -> Self {
        Self { kind, place: None }
    }

    /// Another type is wanted.
    pub fn wrong_type(expected: &str) -> Self {
        Self::new(Kind::WrongType(expected.to_owned()))
    }

    /// Adds the place, unless it is known already.
    #[must_use]
    pub fn at(mut self, place: &Place<'_>) -> Self {
        self.place.get_or_insert_with(|| text::shorten(&place.to_string()).to_owned());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.as_deref().unwrap_or("null");
        match &self.kind {
            Kind::Missing => write!(f, "Parameter '{place}' is missing"),
            Kind::Unexpected => write!(f, "Parameter '{place}' is unexpected"),
            Kind::WrongType(expected) => {
                write!(f, "Invalid parameter type for '{place}', expected: {expected}")
            }
            Kind::Expects(range) => write!(f, "Parameter '{place}' expects {range}"),
            Kind::BadValue(value) => write!(f, "Parameter '{place}' does not accept value '{value}'"),
            Kind::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(Kind::Other(text.to_string()))
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::wrong_type(&expected.to_string())
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::wrong_type(&expected.to_string())
    }

    fn unknown_variant(variant: &str, _: &'static [&'static str]) -> Self {
        Self::new(Kind::BadValue(text::shorten(variant).to_owned()))
    }
}

/// Where in the arguments a value stands; a list on the stack, spelt only when something is wrong.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// The arguments themselves.
    Root,
    /// A member of an object.
    Member(&'a Place<'a>, &'a str),
    /// An element of an array, counted from 0.
    Element(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(Self::Root, name) => f.write_str(name),
            Self::Member(parent, name) => write!(f, "{parent}.{name}"),
            Self::Element(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}
