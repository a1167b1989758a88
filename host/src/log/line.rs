//! An event as text: its message and fields on one line, whatever they hold.

use std::fmt::{self, Write as _};

use tracing::Level;
use tracing::field::{Field, Visit};

use super::output::Entry;

/// Most bytes of a text. With time and level a line stays below `PIPE_BUF`, which a pipe takes whole or not at all.
pub(super) const LONGEST: usize = 4000;

/// The text of one event, and the fields that the journal keeps apart.
#[derive(Debug, Default)]
pub(super) struct Text {
    text: String,
    command: Option<String>,
    channel: Option<String>,
}

impl Text {
    /// What outputs take.
    pub(super) fn entry(&mut self, level: Level) -> Entry<'_> {
        if self.text.len() > LONGEST {
            self.text.truncate(self.text.floor_char_boundary(LONGEST - '…'.len_utf8()));
            self.text.push('…');
        }
        let (command, channel) = (self.command.as_deref(), self.channel.as_deref());
        Entry { level, text: &self.text, command, channel }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "command" => self.command = Some(value.to_owned()),
            "channel" => self.channel = Some(value.to_owned()),
            _ => {}
        }
        self.record_debug(field, &value);
    }

    /// Control characters are escaped, so that no value can pass for a line.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let start = self.text.len();
        let space = if start == 0 { "" } else { " " };
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.text, "{space}{value:?}"),
            name => write!(self.text, "{space}{name}={value:?}"),
        };
        if self.text[start..].contains(char::is_control) {
            let escaped: String = self.text[start..].chars().flat_map(escape).collect();
            self.text.replace_range(start.., &escaped);
        }
    }
}

fn escape(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}
