//! A client that costs as little as a client can, so that a row measures the agent.
//!
//! One request is under way at a time and a reply is one line, so a reply is whole as soon as a chunk ends in a
//! newline: nothing is searched, kept or decoded while the clock runs.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::MIB;
use crate::client::PATIENCE;

pub(super) struct Wire {
    stream: UnixStream,
    buffer: Box<[u8]>,
}

impl Wire {
    pub(super) fn over(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0; MIB].into() })
    }

    /// Sends a request line and receives its reply, of which only the length is told; an error reply is an error.
    pub(super) fn round_trip(&mut self, request: &[u8]) -> Result<usize> {
        self.stream.write_all(request).context("send to the agent")?;
        let mut length = 0;
        loop {
            let chunk = receive(&mut self.stream, &mut self.buffer)?;
            // Looked at in the first chunk only; an agent that refuses everything must not win.
            if length == 0 && chunk.starts_with(b"{\"error\"") {
                bail!("{}: {}", gist(request), gist(chunk));
            }
            length += chunk.len();
            if chunk.ends_with(b"\n") {
                return Ok(length);
            }
        }
    }

    /// A round trip that keeps the reply, for what is looked at once.
    pub(super) fn reply(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.stream.write_all(request).context("send to the agent")?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\n") {
            reply.extend_from_slice(receive(&mut self.stream, &mut self.buffer)?);
        }
        Ok(reply)
    }

    /// A round trip that returns what the command returned.
    pub(super) fn value(&mut self, request: &[u8]) -> Result<Value> {
        let reply = self.reply(request)?;
        let mut value: Value =
            serde_json::from_slice(&reply).with_context(|| format!("not JSON: {}", gist(&reply)))?;
        match value.get_mut("return") {
            Some(returned) => Ok(returned.take()),
            None => bail!("{}: {}", gist(request), gist(&reply)),
        }
    }

    /// As [`value`](Self::value), for the commands that return a bare number.
    pub(super) fn number(&mut self, request: &[u8]) -> Result<i64> {
        self.value(request)?.as_i64().with_context(|| format!("{}: no number came back", gist(request)))
    }
}

/// One request line.
pub(super) fn request(command: &str, arguments: &Value) -> Vec<u8> {
    format!("{{\"execute\": \"{command}\", \"arguments\": {arguments}}}\n").into_bytes()
}

fn receive<'a>(stream: &mut UnixStream, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    loop {
        match stream.read(buffer) {
            Ok(count) => {
                ensure!(count > 0, "the agent closed the connection");
                return Ok(&buffer[..count]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("receive from the agent"),
        }
    }
}

/// As much of a message as an error should show.
fn gist(message: &[u8]) -> String {
    String::from_utf8_lossy(&message[..message.len().min(200)]).trim_end().to_owned()
}
