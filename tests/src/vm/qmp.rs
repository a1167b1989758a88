//! QEMU's own control channel, for what a host does to a machine: wake it, look at it, end it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{BOOT_PATIENCE, await_until};

/// A connection on which commands were negotiated.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
    /// What QEMU told of its own accord and nobody waited for yet, in order.
    events: Vec<Value>,
}

impl Qmp {
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let stream =
            await_until("QEMU's socket", Duration::from_secs(10), || Ok(UnixStream::connect(path).ok()))?;
        stream.set_read_timeout(Some(BOOT_PATIENCE))?;
        let mut qmp = Self { stream: BufReader::new(stream), events: Vec::new() };
        qmp.message()?;
        qmp.run("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns what it returned; events that come in between are kept.
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
            self.events.push(message);
        }
    }

    /// Waits for an event of this name, or takes the first that has come, and returns its data.
    pub(super) fn await_event(&mut self, name: &str) -> Result<Value> {
        loop {
            if let Some(place) = self.events.iter().position(|event| event["event"] == name) {
                return Ok(self.events.remove(place)["data"].take());
            }
            let event = self.message().with_context(|| format!("while {name} was waited for"))?;
            self.events.push(event);
        }
    }

    /// The names of the events that have come, but for those that were waited for.
    pub(super) fn events(&self) -> Vec<String> {
        self.events.iter().filter_map(|event| event["event"].as_str().map(str::to_owned)).collect()
    }

    fn message(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("QEMU is gone");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
