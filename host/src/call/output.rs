//! What a call prints.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};

use serde::Deserialize;

use super::error::{Error, tame};
use super::layout::{self, Layout};

/// Where results go, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// A layout that was asked for.
    pub(super) layout: Option<Layout>,
    /// JSON was asked for, be there a person or not.
    pub(super) json: bool,
}

/// What `guest-info` returns, as far as it is shown.
#[derive(Deserialize)]
struct Info {
    version: String,
    supported_commands: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    enabled: bool,
    /// Missing in replies of agents before QEMU 1.7.
    #[serde(default = "yes", rename = "success-response")]
    answers: bool,
}

fn yes() -> bool {
    true
}

impl Output {
    /// Prints JSON text: for people if stdout is a terminal, else on one line.
    ///
    /// # Errors
    /// That stdout does not take it; that nobody reads it is none.
    pub(super) fn value(self, text: &str) -> Result<(), Error> {
        let layout =
            self.layout.unwrap_or(if io::stdout().is_terminal() { Layout::Pretty } else { Layout::Compact });
        print(|out| {
            layout::write(out, text, layout)?;
            out.write_all(b"\n")
        })
    }

    /// Prints what `guest-info` returned: as a table if that is for people, else as it is.
    ///
    /// # Errors
    /// That stdout does not take it; that it is not what `guest-info` returns.
    pub(super) fn info(self, text: &str) -> Result<(), Error> {
        if self.json || self.layout.is_some() || !io::stdout().is_terminal() {
            return self.value(text);
        }
        let table = table(text)
            .map_err(|error| Error::Transport(format!("guest-info: not what it should be: {error}")))?;
        print(|out| out.write_all(table.as_bytes()))
    }
}

/// The agent's version, then its commands by name, whether they are on, and what is odd about them.
fn table(info: &str) -> serde_json::Result<String> {
    let Info { version, supported_commands: mut entries } = serde_json::from_str(info)?;
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<String> = entries.iter().map(|entry| tame(&entry.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut table = format!("version {}\n\n", tame(&version));
    for (name, entry) in names.iter().zip(&entries) {
        let state = if entry.enabled { "on" } else { "off" };
        let note = if entry.answers { "" } else { "no reply when it succeeds" };
        let line = format!("{name:width$}  {state:3}  {note}");
        table.push_str(line.trim_end());
        table.push('\n');
    }
    Ok(table)
}

/// Prints help as it is.
///
/// # Errors
/// That stdout does not take it; that nobody reads it is none.
pub(super) fn help(text: &str) -> Result<(), Error> {
    print(|out| writeln!(out, "{}", text.trim_end()))
}

fn print(write: impl FnOnce(&mut BufWriter<StdoutLock>) -> io::Result<()>) -> Result<(), Error> {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            // What is left in the buffer has nowhere to go.
            drop(out.into_parts());
            Ok(())
        }
        Err(error) => Err(Error::Transport(format!("cannot write to stdout: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_on() {
        let info = r#"{"version": "11.1.3", "supported_commands": [
            {"enabled": false, "name": "guest-exec", "success-response": true},
            {"enabled": true, "name": "guest-shutdown", "success-response": false},
            {"enabled": true, "name": "a\u001b[2J"}]}"#;
        let expected = "version 11.1.3\n\n\
            a\\u{1b}[2J      on\n\
            guest-exec      off\n\
            guest-shutdown  on   no reply when it succeeds\n";
        assert_eq!(table(info).unwrap(), expected);
        assert!(table("{\"version\": 5}").is_err());
    }
}
