//! `waga call`: the client's side of the protocol, for people and scripts, wherever the agent's channel ends.
//!
//! It speaks to waga and to qemu-ga alike and shares nothing with the daemon but the program: blocking I/O on one thread, every wait
//! bounded by one deadline. `options` and `arguments` read the words, `ask` gets a line for an answer through `transport` and `client` (or
//! `libvirt`), `reply` understands it, `output` prints it. `known` is what agents and this program say of commands; `manual` makes the help
//! of a command of it, and `hint` the way out of an error.

mod arguments;
mod ask;
mod client;
mod deadline;
mod error;
mod hint;
mod known;
mod layout;
mod libvirt;
mod manual;
mod options;
mod output;
mod reply;
mod request;
mod transport;

use std::ffi::OsString;
use std::process::ExitCode;

use arguments::Arguments;
use deadline::Deadline;
use error::Error;
use options::{Call, Wish};
use output::Output;
use request::Request;

/// The JSON object that the words after a command's name stand for, as `waga call` reads them; an empty one if there are none.
///
/// # Errors
/// The word that is wrong, and the way out.
pub fn arguments(words: &[OsString]) -> Result<String, String> {
    match Arguments::read(words, std::io::stdin().lock()) {
        Ok(arguments) => Ok(arguments.map_or_else(|| "{}".to_owned(), |arguments| arguments.text())),
        Err(Error::Usage(text)) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

/// Prints JSON as `waga call` does: on many lines for a person, else on one.
///
/// # Errors
/// That stdout does not take it; that nobody reads it is none.
pub fn print(json: &str) -> Result<(), String> {
    Output { layout: None, json: false }.value(json).map_err(|error| error.to_string())
}

/// Runs `waga call` with the words that follow; the program's exit code.
pub(crate) fn run(words: impl Iterator<Item = OsString>) -> ExitCode {
    let (done, hint) = match options::parse(words) {
        Ok(Wish::Call(call)) => serve(&call),
        Ok(Wish::Help(text)) => (output::help(&text), None),
        Ok(Wish::Describe(about)) => (manual::of(&about).and_then(|text| output::help(&text)), None),
        Err(error) => (Err(error), None),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waga: {error}");
            if let Some(hint) = hint {
                eprintln!("{hint}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Calls and prints the answer; or the error, and the way out if there is one to tell.
fn serve(call: &Call) -> (Result<(), Error>, Option<String>) {
    let arguments = match Arguments::read(&call.arguments, std::io::stdin().lock()) {
        Ok(arguments) => arguments,
        Err(error) => return (Err(error), None),
    };
    let done = answer(call, arguments.as_ref());
    let hint = done.as_ref().err().and_then(|error| hint::of(call, arguments.as_ref(), error));
    (done, hint)
}

fn answer(call: &Call, arguments: Option<&Arguments>) -> Result<(), Error> {
    let command = call.command.as_deref().unwrap_or("guest-info");
    let request = Request::new(command, arguments)?;
    let Some(line) = ask::ask(&call.place, &request, Deadline::after(call.timeout))? else { return Ok(()) };
    let value = reply::returned(command, &line)?.get();
    if call.command.is_some() { call.output.value(value) } else { call.output.info(value) }
}
