//! The protocol from the client's side: come into step with the agent, then ask it one thing.
//!
//! A channel keeps what nobody read: replies to a client that left, half a request that it sent. So every client begins with a sync:
//! a 0xFF, which resets the agent's parser, and `guest-sync-delimited` with a number of its own, whose reply marks where its part begins.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::deadline::Deadline;
use super::error::Error;
use super::reply::{Failure, Reply, SENTINEL};
use super::request::Request;
use super::transport::{Keep, Stream};

/// The longest reply. The agent's largest, a read of 48 MiB, is 64 MiB in base64.
const LONGEST: usize = 256 << 20;
/// How long a command that is silent when it succeeds may take to say that it failed.
pub(super) const SILENCE: Duration = Duration::from_secs(3);

const DELIMITED: &str = "guest-sync-delimited";
const PLAIN: &str = "guest-sync";

/// A client in step with the agent.
#[derive(Debug)]
pub(super) struct Client {
    stream: Stream,
    deadline: Deadline,
    /// The agent has both ways to sync switched off, so that their refusals may still come.
    refused: bool,
    longest: usize,
}

impl Client {
    /// Comes into step with the agent at the other end.
    ///
    /// # Errors
    /// That the connection ended first, or the time.
    pub(super) fn sync(mut stream: Stream, deadline: Deadline) -> Result<Self, Error> {
        let mut refused = true;
        for command in [DELIMITED, PLAIN] {
            if sync_by(&mut stream, command, deadline)? {
                refused = false;
                break;
            }
        }
        Ok(Self { stream, deadline, refused, longest: LONGEST })
    }

    /// Sends a command and returns the line that answers it; `None` if it is one that is silent when it succeeds, and it was.
    ///
    /// # Errors
    /// That no such line came.
    pub(super) fn ask(mut self, request: &Request) -> Result<Option<Vec<u8>>, Error> {
        self.stream.send(format!("{}\n", request.text()).as_bytes(), self.deadline)?;
        let silent = request.is_silent();
        let deadline = if silent { self.deadline.or(Deadline::after(SILENCE)) } else { self.deadline };
        loop {
            match self.stream.line(Keep::Whole(self.longest), deadline) {
                Ok(Some(line)) if self.refused && is_refusal_to_sync(&line, request.command()) => {}
                Ok(Some(line)) if silent && matches!(Reply::read(&line), Some(Reply::Return(_))) => {
                    return Ok(None);
                }
                Ok(Some(line)) => return Ok(Some(line)),
                Ok(None) | Err(Error::Timeout(_)) if silent => return Ok(None),
                Ok(None) => {
                    let text = format!("{}: the connection ended before the answer", request.command());
                    return Err(Error::Transport(text));
                }
                Err(Error::Timeout(text)) => {
                    return Err(Error::Timeout(format!("{}: {text}", request.command())));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a line refuses a command for syncing, and not the one that was asked.
fn is_refusal_to_sync(line: &[u8], asked: &str) -> bool {
    let Some(Reply::Error(failure)) = Reply::read(line) else { return false };
    [DELIMITED, PLAIN].iter().any(|command| *command != asked && failure.refuses(command))
}

/// Syncs by one of the two commands; `false` if the agent refuses that.
fn sync_by(stream: &mut Stream, command: &str, deadline: Deadline) -> Result<bool, Error> {
    let id = fresh_id();
    let mut bytes = Vec::new();
    if command == DELIMITED {
        bytes.push(SENTINEL);
    }
    bytes.extend_from_slice(
        format!("{{\"execute\":\"{command}\",\"arguments\":{{\"id\":{id}}}}}\n").as_bytes(),
    );
    stream.send(&bytes, deadline)?;
    let id = id.to_string();
    // What it complained of last: if nothing better comes, that is why. (QEMU's own monitor, taken for the agent, wants to negotiate.)
    let mut said = String::new();
    loop {
        let line = match stream.line(Keep::Tail, deadline) {
            Ok(Some(line)) => line,
            Ok(None) => {
                let text = format!("{command}: the connection ended before the answer{said}");
                return Err(Error::Transport(text));
            }
            Err(Error::Timeout(text)) => return Err(Error::Timeout(format!("{command}: {text}{said}"))),
            Err(error) => return Err(error),
        };
        match Reply::read(&line) {
            Some(Reply::Return(value)) if value.get() == id => return Ok(true),
            Some(Reply::Error(failure)) if failure.refuses(command) => return Ok(false),
            // qemu-ga's complaint about the 0xFF, or about what was left on the line.
            Some(Reply::Error(failure)) if failure.desc.starts_with("JSON parse error") => {}
            Some(Reply::Error(Failure { class, desc })) => said = format!("; it said: {class}: {desc}"),
            // Somebody else's, or the rest of one.
            _ => {}
        }
    }
}

/// A number that no client of this channel used lately: from 1 up to 2^53, which even those who read numbers as doubles send back whole.
fn fresh_id() -> u64 {
    // The keys of the standard library's hash tables are the system's random numbers.
    (RandomState::new().build_hasher().finish() >> 11).max(1)
}

#[cfg(test)]
mod tests;
