//! A shell in the guest, as root, on a port of its own: what tests compare the agent's word with.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{BOOT_PATIENCE, await_until};

/// The connection to the guest's shell, where each command is one line and runs in a subshell.
///
/// Only one host program may hold it, so it is made once for a guest.
#[derive(Debug)]
pub struct Shell {
    stream: BufReader<UnixStream>,
}

impl Shell {
    /// Connects; what is sent before the guest is up waits for it.
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let stream =
            await_until(
                "the shell's socket",
                Duration::from_secs(10),
                || Ok(UnixStream::connect(path).ok()),
            )?;
        stream.set_read_timeout(Some(BOOT_PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Runs a command and returns its exit status and all it wrote.
    pub fn status(&mut self, command: &str) -> Result<(i32, Vec<u8>)> {
        self.exchange(command).with_context(|| format!("in the guest's shell: {command}"))
    }

    /// Runs a command that must succeed and returns what it wrote, without the last newlines.
    pub fn run(&mut self, command: &str) -> Result<String> {
        let (status, output) = self.status(command)?;
        let output = String::from_utf8_lossy(&output).trim_end_matches('\n').to_owned();
        if status != 0 {
            bail!("in the guest's shell: {command}: status {status}: {output}");
        }
        Ok(output)
    }

    fn exchange(&mut self, command: &str) -> Result<(i32, Vec<u8>)> {
        if command.contains('\n') {
            bail!("a command is one line");
        }
        self.stream.get_mut().write_all(format!("{command}\n").as_bytes())?;
        let mut head = String::new();
        if self.stream.read_line(&mut head)? == 0 {
            bail!("the guest is gone");
        }
        let (status, size) = head.trim_end().split_once(' ').with_context(|| format!("answer {head:?}"))?;
        let mut output = vec![0; size.parse()?];
        self.stream.read_exact(&mut output)?;
        Ok((status.parse()?, output))
    }
}
