//! The lexer of a [`Framer`]: bytes to tokens, plain runs of a string at once.

use waga_builtins::Error;

use super::{Event, Fate, Framer, QUOTED, State};
use crate::wire::number::{Number, Step};
use crate::wire::{MAX_SIZE, strings};

/// The first allocation of a message: most are smaller.
const MESSAGE: usize = 256;

impl Framer {
    /// Goes on by one token, or a piece of one.
    pub(super) fn step(&mut self, input: &[u8]) -> (usize, Option<Event>) {
        let byte = input[0];
        match self.state {
            State::Between => self.between(byte),
            State::String { quote, escaped, odd } => self.in_string(input, quote, escaped, odd),
            State::Number(number) => match number.step(byte) {
                Step::Goes(number) => {
                    self.state = State::Number(number);
                    (1, self.keep(&[byte]))
                }
                Step::Ends => (0, self.scalar()),
                Step::Fails => self.bad_byte(byte),
            },
            State::Keyword if byte.is_ascii_lowercase() => (1, self.keep(&[byte])),
            State::Keyword => (0, self.scalar()),
            State::Skip => {
                // Past the rest of the broken token, and everything else that cannot start afresh.
                let stop = |&byte: &u8| {
                    matches!(byte, b'[' | b']' | b'{' | b'}' | b':' | b',' | 0xfe | 0xff)
                        || byte < 0x20 && byte != b'\t'
                };
                match input.iter().position(stop) {
                    Some(0) => {
                        self.state = State::Between;
                        (0, None)
                    }
                    Some(count) => (count, None),
                    None => (input.len(), None),
                }
            }
        }
    }

    fn between(&mut self, byte: u8) -> (usize, Option<Event>) {
        self.token = self.message.text.len();
        self.token_at = (self.line, self.offset - self.line_start + 1);
        match byte {
            b'\n' => {
                self.line += 1;
                self.line_start = self.offset + 1;
                if self.fate == (Fate::Swallowed { line: true }) {
                    self.start_afresh();
                }
                (1, None)
            }
            b' ' | b'\t' | b'\r' => (1, None),
            b'{' | b'}' | b'[' | b']' | b':' | b',' => (1, self.structure(byte)),
            b'"' | b'\'' => {
                self.state = State::String { quote: byte, escaped: false, odd: byte == b'\'' };
                (1, self.keep(&[byte]))
            }
            b'-' | b'0'..=b'9' => {
                self.state = State::Number(Number::start(byte));
                (1, self.keep(&[byte]))
            }
            b'a'..=b'z' => {
                self.state = State::Keyword;
                (1, self.keep(&[byte]))
            }
            0xff if self.tokens == 0 => {
                self.start_afresh();
                (1, None)
            }
            _ => self.bad_byte(byte),
        }
    }

    fn in_string(&mut self, input: &[u8], quote: u8, escaped: bool, odd: bool) -> (usize, Option<Event>) {
        let byte = input[0];
        if !(0x20..0xfe).contains(&byte) {
            return self.bad_byte(byte);
        }
        if escaped {
            self.state = State::String { quote, escaped: false, odd: true };
            return (1, self.keep(&[byte]));
        }
        match byte {
            b'\\' => {
                self.state = State::String { quote, escaped: true, odd: true };
                (1, self.keep(&[byte]))
            }
            0x80.. => {
                self.state = State::String { quote, escaped: false, odd: true };
                (1, self.keep(&[byte]))
            }
            _ if byte == quote => {
                // The string is over even if this byte is the one too many.
                self.state = State::Between;
                let event = self.keep(&[byte]);
                (1, event.or_else(|| self.string(odd)))
            }
            _ => {
                let run = strings::plain_run(input, quote);
                (run, self.keep(&input[..run]))
            }
        }
    }

    /// Adds bytes to the current token.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Option<Event> {
        if self.fate != Fate::Kept {
            return None;
        }
        self.size += bytes.len();
        if self.size >= MAX_SIZE {
            return self.limit("JSON token size limit exceeded");
        }
        if self.message.text.capacity() == 0 {
            self.message.text.reserve(MESSAGE.max(bytes.len() + MESSAGE / 2));
        }
        self.message.text.extend_from_slice(bytes);
        None
    }

    /// A byte that no token can have here: how many bytes were taken (none if it may start something itself), and the fault.
    fn bad_byte(&mut self, byte: u8) -> (usize, Option<Event>) {
        let kept = self.fate == Fate::Kept;
        let token = &self.message.text[self.token.min(self.message.text.len())..];
        let (start, gap) = if token.len() > QUOTED { (&token[..QUOTED], "…") } else { (token, "") };
        let token = [start, gap.as_bytes(), &[byte]].concat();
        let (line, column) = self.token_at;
        let error = Error::generic(format!(
            "{line}:{column}: JSON parse error, stray '{}'",
            String::from_utf8_lossy(&token)
        ));
        if byte == 0xff || self.braces <= 0 && self.brackets <= 0 {
            // A client that starts over, or nothing is open that the rest could belong to.
            self.start_afresh();
        } else {
            self.swallow(true);
        }
        if byte != 0xff {
            self.state = State::Skip;
        }
        let taken = !matches!(byte, b'{' | b'}' | b'[' | b']' | b':' | b',' | b'\n');
        (usize::from(taken), kept.then_some(Event::Fault(error)))
    }
}
