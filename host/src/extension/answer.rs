//! What a component returned, as the reply: its own word, or that it is none.

use waga_builtins::qapi::respell;
use waga_builtins::{Error, ErrorClass};
use wasmtime::component::Val;

use super::description::{Fault, Signature};
use super::failure::Failure;
use super::shape::Shape;
use super::values::{self, Unspelt};

/// Levels of brackets that what a handler is given, and its answer, may have.
pub(super) const DEEPEST: usize = 32;

/// A component's own word.
#[derive(Debug)]
pub enum Answer {
    /// What it returned, spelt for the reply.
    Returned(Vec<u8>),
    /// Its error; or that of the arguments, which it has not seen.
    Failed(Error),
}

/// The answer of a function of its own.
pub(super) fn typed(value: Option<Val>, signature: &Signature, most: usize) -> Result<Answer, Failure> {
    let value = match (value, signature.error) {
        (value, None) => value,
        (Some(Val::Result(Ok(value))), Some(_)) => value.map(|value| *value),
        (Some(Val::Result(Err(value))), Some(kind)) => {
            return Ok(Answer::Failed(error(value.map(|value| *value), kind, most)));
        }
        _ => return Err(Failure::Answer("it is not of its type")),
    };
    let mut text = Vec::new();
    match (value, &signature.result) {
        (None, None) | (Some(Val::Option(None)), Some(Shape::Option(_))) => text.extend_from_slice(b"{}"),
        (Some(value), Some(shape)) => values::write(&mut text, &value, shape, most).map_err(unspelt)?,
        _ => return Err(Failure::Answer("it is not of its type")),
    }
    Ok(Answer::Returned(text))
}

fn unspelt(reason: Unspelt) -> Failure {
    match reason {
        Unspelt::TooLong => Failure::Result,
        Unspelt::NotFinite => Failure::Answer("a number in it is infinite or none"),
        Unspelt::Shape => Failure::Answer("it is not of its type"),
    }
}

/// The answer of a handler: JSON text that nobody has looked at yet.
pub(super) fn handled(value: Option<Val>, most: usize) -> Result<Answer, Failure> {
    let text = match value {
        Some(Val::Result(Ok(Some(text)))) => text,
        Some(Val::Result(Err(value))) => {
            return Ok(Answer::Failed(error(value.map(|value| *value), Fault::Error, most)));
        }
        _ => return Err(Failure::Answer("it is not of its type")),
    };
    let Val::String(text) = *text else { return Err(Failure::Answer("it is not of its type")) };
    if text.len() > most {
        return Err(Failure::Result);
    }
    if depth(text.as_bytes()) > DEEPEST {
        return Err(Failure::Answer("it is nested too deeply"));
    }
    if serde_json::from_str::<&serde_json::value::RawValue>(&text).is_err() {
        return Err(Failure::Answer("it is not JSON"));
    }
    let mut spelt = Vec::with_capacity(text.len());
    respell(text.as_bytes(), &mut spelt);
    Ok(Answer::Returned(spelt))
}

/// The answer of a function that has nothing to tell but that it failed: `result<_, string>`.
pub(super) fn nothing(value: Option<Val>, most: usize) -> Result<Result<(), String>, Failure> {
    match value {
        Some(Val::Result(Ok(None))) => Ok(Ok(())),
        Some(Val::Result(Err(Some(text)))) => match *text {
            Val::String(text) => Ok(Err(cut(text, most))),
            _ => Err(Failure::Answer("it is not of its type")),
        },
        _ => Err(Failure::Answer("it is not of its type")),
    }
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

/// Levels of brackets in JSON text.
pub(super) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A component's error as the peer reads it.
fn error(value: Option<Val>, kind: Fault, most: usize) -> Error {
    let cut = |text| cut(text, most);
    match (value, kind) {
        (Some(Val::String(desc)), Fault::Text) => Error::generic(cut(desc)),
        (Some(Val::Record(fields)), Fault::Error) => {
            let mut error = Error::generic("the command failed");
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("class", Val::String(class)) if class == ErrorClass::CommandNotFound.as_str() => {
                        error.class = ErrorClass::CommandNotFound;
                    }
                    ("desc", Val::String(desc)) => error.desc = cut(desc),
                    _ => {}
                }
            }
            error
        }
        _ => Error::generic("the command failed"),
    }
}
