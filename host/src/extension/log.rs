//! What a component says: its log, and what it writes to standard output and error, into the agent's log under the extension's name and
//! within a bound for each call.

use std::sync::Arc;

use wasmtime::component::{ComponentType, Lift};

/// A line of standard output or error is cut after so many bytes.
const LINE: usize = 4 << 10;

/// What a message costs besides its text, in bytes: as much as the agent's log adds to it. Or it would be flooded by empty words.
const BESIDE: u64 = 64;

/// How much something matters; as `waga:extension/log` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "most of them are made by the engine alone, out of what a component passes")]
pub(super) enum Level {
    #[component(name = "error")]
    Error,
    #[component(name = "warning")]
    Warning,
    #[component(name = "info")]
    Info,
    #[component(name = "debug")]
    Debug,
}

/// Where the words of one call go.
#[derive(Debug)]
pub(super) struct Journal {
    extension: Arc<str>,
    /// Bytes that it may still say.
    left: u64,
    /// Bytes that were not taken.
    lost: u64,
    /// Unfinished lines of standard output and error.
    lines: [Vec<u8>; 2],
}

/// Standard output or error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Error,
}

impl Journal {
    /// The words of a call of this extension, at most so many bytes.
    pub(super) fn new(extension: Arc<str>, limit: u64) -> Self {
        Self { extension, left: limit, lost: 0, lines: [Vec::new(), Vec::new()] }
    }

    /// One message.
    pub(super) fn say(&mut self, level: Level, message: &str) {
        let bytes = message.len() as u64;
        let taken = usize::try_from(self.left.saturating_sub(BESIDE).min(bytes)).unwrap_or(usize::MAX);
        let message = &message[..message.floor_char_boundary(taken)];
        self.lost += bytes - message.len() as u64;
        if bytes == 0 {
            return;
        }
        self.left = self.left.saturating_sub(bytes + BESIDE);
        if message.is_empty() {
            return;
        }
        let extension = &*self.extension;
        match level {
            Level::Error => tracing::error!(extension, "{message}"),
            Level::Warning => tracing::warn!(extension, "{message}"),
            Level::Info => tracing::info!(extension, "{message}"),
            Level::Debug => tracing::debug!(extension, "{message}"),
        }
    }

    /// Some of what is written to a stream; each line becomes a message.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let place = stream as usize;
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let line = &mut self.lines[place];
            let room = LINE - line.len().min(LINE);
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            self.lost += (piece.len() - piece.len().min(room)) as u64;
            if piece.ends_with(b"\n") {
                self.end_line(stream);
            }
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let line = std::mem::take(&mut self.lines[stream as usize]);
        let text = String::from_utf8_lossy(&line);
        let level = if stream == Stream::Error { Level::Warning } else { Level::Info };
        self.say(level, text.trim_end());
    }

    /// The call is over: what is unfinished is said, and how much was lost.
    fn end(&mut self) {
        for stream in [Stream::Output, Stream::Error] {
            if !self.lines[stream as usize].is_empty() {
                self.end_line(stream);
            }
        }
        if self.lost > 0 {
            let (extension, lost) = (&*self.extension, self.lost);
            tracing::error!(
                extension,
                lost,
                "bytes of its log were lost: a call may say only so much (limits.log)"
            );
        }
    }
}

/// However the call ended: one that is cut off often said why just before.
impl Drop for Journal {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_says_only_so_much() {
        let mut journal = Journal::new("x".into(), 10 + 2 * BESIDE);
        journal.say(Level::Info, "");
        journal.say(Level::Info, "12345678");
        journal.say(Level::Info, "1é9");
        assert_eq!((journal.left, journal.lost), (0, 3));
        journal.say(Level::Info, "more");
        assert_eq!((journal.left, journal.lost), (0, 7));
        let mut journal = Journal::new("x".into(), 1 << 20);
        journal.write(Stream::Output, b"one\ntw");
        assert_eq!(journal.lines[0], b"tw");
        journal.write(Stream::Output, &vec![b'x'; 1 << 20]);
        assert_eq!(journal.lines[0].len(), LINE);
        assert_eq!(journal.lost, (1 << 20) + 2 - LINE as u64);
    }
}
