//! Finds requests in a byte stream: a lexer and a grammar, a byte at a time, whatever way the stream is cut into reads.
//!
//! Faults are found, worded and placed as qemu-ga 11.1 does, with these deliberate differences: a broken message gets *one* error
//! reply (qemu-ga replies again for what is left of it), a 0xFF between messages gets none, line and column count from the start of
//! the connection, and they are right (qemu-ga's column is one too far behind a number or a word), and `0e5` is a number. What an
//! error quotes of bad input is cut short, with U+FFFD as Rust puts it for invalid UTF-8.
//!
//! After a bad byte the rest of its message is passed over: up to where its brackets balance, or the end of the line, or 0xFF. A
//! line's end is itself a bad byte in a string, or in a number that it cuts short. After a grammatical fault: up to the balance, or
//! 0xFF.

mod grammar;
mod lexer;
#[cfg(test)]
mod tests;

use waga_builtins::Error;

use super::keys::Keys;
use super::number::Number;
use super::request::Message;

/// Longest piece of bad input that an error reply quotes, in bytes.
const QUOTED: usize = 200;

/// What the framer found.
#[derive(Debug)]
pub enum Event {
    /// One whole JSON value, not always an object.
    Message(Message),
    /// The error that answers a broken message.
    Fault(Error),
}

/// Where in a token the lexer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    /// `odd`: something in it needs a closer look at its end.
    String {
        quote: u8,
        escaped: bool,
        odd: bool,
    },
    Number(Number),
    Keyword,
    /// After a bad byte: until one that may start afresh.
    Skip,
}

/// What the grammar wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Value,
    /// After `[`.
    ValueOrEnd,
    Key,
    /// After `{`.
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

/// What becomes of the tokens of the current message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// A fault was replied; the rest is passed over, in which a line's end counts as the message's if `line`.
    Swallowed {
        line: bool,
    },
}

/// The parser of one client's stream.
#[derive(Debug)]
pub struct Framer {
    state: State,
    want: Want,
    fate: Fate,
    message: Message,
    /// Where in the message the current token starts.
    token: usize,
    /// One entry an open bracket of the message: whether it is an object's.
    open: Vec<bool>,
    keys: Keys,
    /// Open brackets as they were counted, closing ones subtracted; what decides where a swallowed message ends.
    braces: i64,
    brackets: i64,
    tokens: usize,
    /// Bytes of this message's tokens, as they came.
    size: usize,
    /// A fault that came from outside (see [`Framer::abandon`]), to be told first.
    pending: Option<Error>,
    /// Position of the next byte in the stream, of the current line's first byte, and of the current token.
    offset: u64,
    line: u64,
    line_start: u64,
    token_at: (u64, u64),
}

impl Default for Framer {
    fn default() -> Self {
        Self {
            state: State::Between,
            want: Want::Value,
            fate: Fate::Kept,
            message: Message::default(),
            token: 0,
            open: Vec::new(),
            keys: Keys::default(),
            braces: 0,
            brackets: 0,
            tokens: 0,
            size: 0,
            pending: None,
            offset: 0,
            line: 1,
            line_start: 0,
            token_at: (1, 1),
        }
    }
}

impl Framer {
    /// Takes bytes up to the end of the first message or fault in them: how many were taken, and what they ended.
    ///
    /// Call it again with the rest until everything is taken.
    pub fn feed(&mut self, input: &[u8]) -> (usize, Option<Event>) {
        if let Some(error) = self.pending.take() {
            return (0, Some(Event::Fault(error)));
        }
        let mut at = 0;
        while at < input.len() {
            let (used, event) = self.step(&input[at..]);
            at += used;
            self.offset += used as u64;
            if event.is_some() {
                return (at, event);
            }
        }
        (at, None)
    }

    /// Bytes that the unfinished message holds.
    pub fn held(&self) -> usize {
        self.message.text.len() + self.open.len() + self.keys.held()
    }

    /// Gives up the unfinished message and its memory. Its sender is told so by an error reply, and the rest of it is passed over.
    pub fn abandon(&mut self) {
        if self.fate == Fate::Kept {
            self.pending = Some(Error::generic("JSON token size limit exceeded: too much is unfinished"));
            self.swallow(false);
        }
    }

    /// Forgets the unfinished message: the peer is another one from here on.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}
