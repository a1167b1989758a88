//! A blocking client of the guest agent's protocol, over a unix socket: of an agent, or of QEMU's character device.
//!
//! Every wait is bounded by [`PATIENCE`]; running out of it is a failure that tells what was read so far.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long a reply may take before a test fails: generous, for a loaded machine and an emulated guest.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One connection, with the bytes that were received and not yet taken as a line.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects once; the socket must be listening.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
        Self::over(stream)
    }

    /// Speaks over a stream that is connected already.
    pub fn over(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// The stream itself, for half-closing, silence and other bad manners.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Changes how long one read may wait.
    pub fn patience(&self, limit: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(limit))?)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref()).context("send to the agent")
    }

    /// Receives one reply line, without its newline; `None` when the agent closed the connection before one came.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut scanned = 0;
        loop {
            if let Some(end) = self.unread[scanned..].iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=scanned + end).collect();
                line.pop();
                return Ok(Some(line));
            }
            scanned = self.unread.len();
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let seen =
                        String::from_utf8_lossy(&self.unread[..self.unread.len().min(400)]).into_owned();
                    return Err(error).context(format!("no whole reply line; so far: {seen:?}"));
                }
            }
        }
    }

    /// Receives one reply as text; an error when the connection ended instead.
    pub fn text(&mut self) -> Result<String> {
        let line = self.line()?.context("the agent closed the connection")?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Sends one request line and returns the whole reply object.
    pub fn ask(&mut self, request: &Value) -> Result<Value> {
        self.send(format!("{request}\n"))?;
        let line = self.line()?.context("the agent closed the connection")?;
        serde_json::from_slice(&line)
            .with_context(|| format!("not JSON: {:?}", String::from_utf8_lossy(&line)))
    }

    /// Runs a command and returns what it returned; its error reply becomes an error here.
    pub fn run(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let reply = self.ask(&serde_json::json!({"execute": command, "arguments": arguments}))?;
        match reply {
            Value::Object(mut reply) if reply.contains_key("return") => Ok(reply.remove("return").unwrap()),
            reply => bail!("{command}: {reply}"),
        }
    }

    /// Runs a command that must fail, and returns its `class` and `desc`.
    pub fn refused(&mut self, command: &str, arguments: Value) -> Result<(String, String)> {
        let reply = self.ask(&serde_json::json!({"execute": command, "arguments": arguments}))?;
        let word = |key: &str| reply["error"][key].as_str().map(str::to_owned);
        match (word("class"), word("desc")) {
            (Some(class), Some(desc)) => Ok((class, desc)),
            _ => bail!("{command} should have been refused: {reply}"),
        }
    }

    /// Brings the stream into step: a 0xFF, `guest-sync-delimited`, and everything thrown away up to its reply.
    pub fn sync(&mut self, id: i64) -> Result<()> {
        let request = serde_json::json!({"execute": "guest-sync-delimited", "arguments": {"id": id}});
        self.send([&b"\xff"[..], format!("{request}\n").as_bytes()].concat())?;
        let wanted = format!("{{\"return\": {id}}}");
        loop {
            let line = self.line()?.context("the agent closed the connection during sync")?;
            if let Some(start) = line.iter().rposition(|&byte| byte == 0xff)
                && line[start + 1..] == *wanted.as_bytes()
            {
                return Ok(());
            }
        }
    }

    /// Brings the stream into step, asking again and again: what is sent before the agent has opened its line is lost.
    pub fn await_sync(&mut self) -> Result<()> {
        let (pause, tries) = (Duration::from_millis(200), 150);
        self.patience(pause)?;
        let synced = (0..tries).find(|&id| self.sync(7000 + id).is_ok());
        self.patience(PATIENCE)?;
        synced.map(drop).context("the agent never answered")
    }
}
