//! From WIT to JSON Schema (draft 2020-12): what a client may send and what it gets, with the docs of the WIT.
//!
//! The mapping of types is the one by which the daemon turns JSON into the values of a component and back.

mod docs;
mod types;

use std::error::Error;
use std::fmt;

use serde_json::{Map, Value};
use wit_parser::{Function, FunctionKind, PackageId, Resolve, SourceMap};

use crate::{EXCEPTIONS, Exception, File, GUEST};
use types::{Direction, Member, Types};

/// Reads a package into a resolve.
///
/// # Errors
/// What is wrong with the text, and where.
pub fn parse(resolve: &mut Resolve, files: &[File]) -> Result<PackageId, String> {
    let mut source = SourceMap::new();
    for (name, text) in files {
        source.push_str(name, *text);
    }
    let group = source.parse().map_err(|(source, error)| error.render(&source))?;
    resolve.push_group(group).map_err(|error| format!("{error:#}"))
}

/// The schema of a command: `{"docs": "…", "arguments": {…}, "result": {…}}`, of which the latter two are schemas that need nothing around
/// them; a function without docs has none.
///
/// Arguments may have no members but these. Results may: a later release may add some.
///
/// # Errors
/// A type that JSON has nothing for; a function that is async or belongs to a resource.
pub fn command(resolve: &Resolve, function: &Function) -> Result<Value, Unmapped> {
    with_exceptions(resolve, function, &[])
}

/// The schema of every command of [`GUEST`]: an object with their names, in the order of the files and within them.
pub fn guest() -> Value {
    let mut resolve = Resolve::default();
    let package = parse(&mut resolve, GUEST).expect("our own WIT is tested");
    let mut commands = Map::new();
    for interface in resolve.packages[package].interfaces.values() {
        for (name, function) in &resolve.interfaces[*interface].functions {
            let schema = with_exceptions(&resolve, function, EXCEPTIONS).expect("our own WIT is tested");
            commands.insert(name.clone(), schema);
        }
    }
    Value::Object(commands)
}

fn with_exceptions(
    resolve: &Resolve,
    function: &Function,
    exceptions: &[Exception],
) -> Result<Value, Unmapped> {
    let exceptions: Vec<_> =
        exceptions.iter().filter(|exception| exception.command == function.name).copied().collect();
    let docs = docs::of_function(&function.docs);
    let unmapped = |(place, what)| Unmapped { function: function.name.clone(), place, what };

    if function.kind != FunctionKind::Freestanding {
        let what = "is async or of a resource, and this agent calls neither".to_owned();
        return Err(unmapped(("the function".to_owned(), what)));
    }
    let types = Types::new(resolve, Direction::ToCommand, &exceptions);
    let params = function.params.iter().map(|param| Member {
        name: &param.name,
        ty: param.ty,
        docs: docs.argument(&param.name),
    });
    let arguments = types.arguments(params).map_err(unmapped)?;
    let types = Types::new(resolve, Direction::FromCommand, &exceptions);
    let result = types.result(function.result).map_err(unmapped)?;

    let mut schema = Map::new();
    schema.extend(docs.text.map(|text| ("docs".to_owned(), Value::String(text))));
    schema.insert("arguments".to_owned(), arguments);
    schema.insert("result".to_owned(), result);
    Ok(Value::Object(schema))
}

/// A type that JSON has nothing for, or not where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmapped {
    /// The function.
    pub function: String,
    /// The argument or result, and where in it.
    pub place: String,
    /// What is wrong, in the words with which the agent refuses it.
    pub what: String,
}

impl fmt::Display for Unmapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.function, self.place, self.what)
    }
}

impl Error for Unmapped {}

#[cfg(test)]
mod tests;
