//! The audit: one line of JSON for each request and for each message that is none, whatever became of it.
//!
//! It says who asked for what and how that ended, and nothing that others must not know: of arguments the names that the command has,
//! values where the command says that they are safe, never the text of an error; of results only a handle or a pid that later requests
//! name. Whoever takes the lines is not waited for; lines that were lost are counted in one of their own, `{"time": …, "lost": N}`.

mod arguments;

use std::io;
use std::time::{Instant, SystemTime};

use tracing::Level;
use waga_builtins::qapi::{Arguments, spell};
use waga_builtins::{Caller, ErrorClass, Reply};

use crate::config;
use crate::log::{self, Entry, Output};
use crate::registry::Slot;
use arguments::Described;

/// Arguments of more bytes than this are looked through on another thread.
const LARGE: usize = 256 << 10;
/// Most bytes of a command's name.
const NAME: usize = 64;
/// Most bytes of a result.
const RESULT: usize = 128;
/// Most bytes of a line, so that a pipe takes it whole or not at all. Values make way.
const LONGEST: usize = 4000;

/// Where audit lines go.
#[derive(Debug)]
pub struct Audit {
    output: Output,
}

/// Who said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// `[policy]` has switched the command off.
    Policy,
    /// `[policy.exec]` or `[policy.file]`.
    Limits,
    /// Filesystems are frozen, and the command cannot run then.
    Frozen,
    /// Commands whose clients sent much data still run: the message was not looked at.
    Memory,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Error(ErrorClass),
    Refused(By, ErrorClass),
    /// There is no such command.
    Unknown,
    /// It was no request.
    Malformed,
    Panic,
    /// Its client left while it waited; it may go on to its end.
    Abandoned,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error(_) => "error",
            Self::Refused(..) => "refused",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
            Self::Panic => "panic",
            Self::Abandoned => "abandoned",
        }
    }

    /// The class of the reply, if that was an error.
    fn class(self) -> Option<ErrorClass> {
        match self {
            Self::Ok | Self::Abandoned => None,
            Self::Error(class) | Self::Refused(_, class) => Some(class),
            Self::Unknown => Some(ErrorClass::CommandNotFound),
            Self::Malformed | Self::Panic => Some(ErrorClass::GenericError),
        }
    }

    fn by(self) -> Option<&'static str> {
        match self {
            Self::Refused(By::Policy, _) => Some("policy"),
            Self::Refused(By::Limits, _) => Some("limits"),
            Self::Refused(By::Frozen, _) => Some("frozen"),
            Self::Refused(By::Memory, _) => Some("memory"),
            _ => None,
        }
    }
}

impl Audit {
    /// Opens where lines go. `leaves`: the agent is going to leave its standard error.
    ///
    /// # Errors
    /// The audit file cannot be opened.
    pub fn start(config: &config::Audit, leaves: bool) -> io::Result<Self> {
        Ok(Self { output: log::audit(config, leaves)? })
    }

    #[cfg(test)]
    pub(crate) fn to(output: Output) -> Self {
        Self { output }
    }
}

/// The line of one request: begun when the request came, written when its result is known or it is dropped. Nothing without an audit.
#[derive(Debug)]
#[must_use = "dropped at once, it says that the client left"]
pub(crate) struct Line<'a>(Option<Open<'a>>);

#[derive(Debug)]
struct Open<'a> {
    audit: &'a Audit,
    caller: &'a Caller,
    time: SystemTime,
    started: Instant,
    command: Option<String>,
    /// The extensions that it goes through, outermost first: any may have changed what is asked for.
    through: Vec<String>,
    described: Option<Described>,
    /// What was returned, as it goes out.
    result: Option<Vec<u8>>,
    outcome: Outcome,
}

impl<'a> Line<'a> {
    /// A request came.
    pub(crate) fn begin(audit: Option<&'a Audit>, caller: &'a Caller) -> Self {
        Self(audit.map(|audit| Open {
            audit,
            caller,
            time: SystemTime::now(),
            started: Instant::now(),
            command: None,
            through: Vec::new(),
            described: None,
            result: None,
            outcome: Outcome::Abandoned,
        }))
    }

    /// Takes down what was asked for: of a command that is not there its name, if it looks like one.
    pub(crate) async fn describe(
        &mut self,
        command: &str,
        slot: Option<&Slot>,
        arguments: Arguments,
    ) -> Arguments {
        let Some(open) = &mut self.0 else { return arguments };
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if slot.is_some() || command.bytes().all(is_name) {
            open.command = Some(command[..command.floor_char_boundary(NAME)].to_owned());
        }
        open.through =
            slot.map(|slot| slot.extensions().map(|name| name.to_string()).collect()).unwrap_or_default();
        let (known, safe) = slot.map(|slot| (slot.arguments(), slot.audited())).unwrap_or_default();
        let (arguments, described) = if arguments.text().len() > LARGE {
            let look = move || {
                let described = Described::new(arguments.text(), &known, safe);
                (arguments, described)
            };
            smol::unblock(look).await
        } else {
            let described = Described::new(arguments.text(), &known, safe);
            (arguments, described)
        };
        open.described = Some(described);
        arguments
    }

    /// Takes down what a command returned that may be written down.
    pub(crate) fn returned(&mut self, reply: &Reply) {
        if let (Some(open), Reply::Value(value)) = (&mut self.0, reply) {
            open.result = Some(value.clone()).filter(|value| value.len() <= RESULT);
        }
    }

    /// The result is known.
    pub(crate) fn end(mut self, outcome: Outcome) {
        if let Some(open) = &mut self.0 {
            open.outcome = outcome;
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut line = self.line(true);
        if line.len() > LONGEST {
            line = self.line(false);
        }
        let (command, callers) = (self.command.as_deref(), callers(self.caller));
        let channel = callers.first().copied();
        self.audit.output.put(&Entry { level: Level::INFO, text: &line, command, channel });
    }
}

impl Open<'_> {
    fn line(&self, values: bool) -> String {
        let callers = callers(self.caller);
        let channel = callers.first().copied().unwrap_or_default();
        let mut line = format!(r#"{{"time": "{}""#, humantime::format_rfc3339_micros(self.time));
        let mut add = |name: &str, value: &str| {
            for part in [", \"", name, "\": ", value] {
                line.push_str(part);
            }
        };
        add("channel", &json(channel));
        add("callers", &json(&callers));
        add("command", &json(&self.command));
        if !self.through.is_empty() {
            add("through", &json(&self.through));
        }
        if let Some(described) = &self.described {
            described.add(values, &mut add);
        }
        add("outcome", &json(self.outcome.as_str()));
        if let Some(result) = &self.result {
            add("result", &String::from_utf8_lossy(result));
        }
        if let Some(by) = self.outcome.by() {
            add("by", &json(by));
        }
        if let Some(class) = self.outcome.class() {
            add("class", &json(class.as_str()));
        }
        add("duration-us", &self.started.elapsed().as_micros().to_string());
        line.push('}');
        line
    }
}

/// The channel, then the extensions that asked one another, the one that asked us last.
fn callers(caller: &Caller) -> Vec<&str> {
    let mut found = Vec::with_capacity(1);
    let mut at = caller;
    loop {
        match at {
            Caller::Channel(name) => {
                found.push(&**name);
                break;
            }
            Caller::Extension(name, asked_by) => {
                found.push(&**name);
                at = asked_by;
            }
        }
    }
    found.reverse();
    found
}

/// As the protocol spells it: pure ASCII.
fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(spell(value)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
