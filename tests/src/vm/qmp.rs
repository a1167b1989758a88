//! QEMU's own control channel, for what a host does to a machine: wake it, look at it, end it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::await_until;
use crate::client::PATIENCE;

/// A connection on which commands were negotiated.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let stream =
            await_until("QEMU's socket", Duration::from_secs(10), || Ok(UnixStream::connect(path).ok()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        qmp.message()?;
        qmp.run("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns what it returned; events that come in between are passed over.
    pub(super) fn run(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut message = self.message()?;
            if let Some(returned) = message.get_mut("return") {
                return Ok(returned.take());
            }
            if let Some(error) = message.get("error") {
                bail!("{command}: {error}");
            }
        }
    }

    fn message(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("QEMU is gone");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
