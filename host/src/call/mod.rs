//! `waga call`: the client's side of the protocol, for people and scripts, wherever the agent's channel ends.
//!
//! It speaks to waga and to qemu-ga alike and shares nothing with the daemon but the program: blocking I/O on one thread, every wait
//! bounded by one deadline. `options` and `arguments` read the words, `transport` and `client` (or `libvirt`) get a line for an answer,
//! `reply` understands it, `output` prints it.

mod arguments;
mod client;
mod deadline;
mod error;
mod layout;
mod libvirt;
mod options;
mod output;
mod reply;
mod request;
mod transport;

use std::ffi::OsString;
use std::process::ExitCode;

use arguments::Arguments;
use client::Client;
use deadline::Deadline;
use error::Error;
use options::{Call, Place, Wish};
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
    let (done, words) = match options::parse(words) {
        Ok(Wish::Call(call)) => (answer(&call), call.arguments),
        Ok(Wish::Help(text)) => (output::help(&text), Vec::new()),
        Err(error) => (Err(error), Vec::new()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waga: {error}");
            if let Some(hint) = arguments::hint(&words, &error) {
                eprintln!("{hint}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Calls and prints the answer.
fn answer(call: &Call) -> Result<(), Error> {
    let arguments = Arguments::read(&call.arguments, std::io::stdin().lock())?;
    let command = call.command.as_deref().unwrap_or("guest-info");
    let request = Request::new(command, arguments.as_ref())?;
    let deadline = Deadline::after(call.timeout);
    let line = match &call.place {
        Place::Socket(path) => Client::sync(transport::unix(path, deadline)?, deadline)?.ask(&request)?,
        Place::Vsock(cid, port) => {
            Client::sync(transport::vsock(*cid, *port, deadline)?, deadline)?.ask(&request)?
        }
        Place::Domain(domain) => domain.ask(&request, deadline)?,
    };
    let Some(line) = line else { return Ok(()) };
    let value = reply::returned(command, &line)?.get();
    if call.command.is_some() { call.output.value(value) } else { call.output.info(value) }
}
