//! Finds requests in a byte stream: a lexer and a grammar, a byte at a time, whatever way the stream is cut into reads.
//!
//! Faults are found and worded as qemu-ga 11.1 does, with these deliberate differences: a broken message gets *one* error reply
//! (qemu-ga replies again for what is left of it), a 0xFF between messages gets none, and line and column count from the start of
//! the connection. After a bad byte the rest of its message is passed over: up to where its brackets balance, or the end of the line,
//! or 0xFF. After a grammatical fault: up to the balance, or 0xFF.

use waga_builtins::Error;

use super::keys::Keys;
use super::number::{Number, Step};
use super::request::Message;
use super::strings::{self, StringFault};
use super::{MAX_DEPTH, MAX_SIZE, MAX_TOKENS};

/// Longest piece of bad input that an error reply quotes, in bytes.
const QUOTED: usize = 200;
/// The first allocation of a message: most are smaller.
const MESSAGE: usize = 256;

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
    braces: i32,
    brackets: i32,
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

    /// Goes on by one token, or a piece of one.
    fn step(&mut self, input: &[u8]) -> (usize, Option<Event>) {
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
        if byte < 0x20 || byte >= 0xfe {
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
    fn keep(&mut self, bytes: &[u8]) -> Option<Event> {
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

    /// One of `{}[]:,`.
    fn structure(&mut self, byte: u8) -> Option<Event> {
        match byte {
            b'{' => self.braces += 1,
            b'}' => self.braces -= 1,
            b'[' => self.brackets += 1,
            b']' => self.brackets -= 1,
            _ => {}
        }
        if self.fate != Fate::Kept {
            return self.token_ends();
        }
        if let Some(event) = self.keep(&[byte]).or_else(|| self.count()) {
            return Some(event);
        }
        let object = self.open.last().copied();
        match (byte, self.want) {
            (b'{' | b'[', Want::Value | Want::ValueOrEnd) => {
                if self.open.len() >= MAX_DEPTH {
                    return self.limit("JSON nesting depth limit exceeded");
                }
                self.open.push(byte == b'{');
                if byte == b'{' {
                    self.keys.open();
                    self.want = Want::KeyOrEnd;
                } else {
                    self.want = Want::ValueOrEnd;
                }
            }
            (b'}', Want::KeyOrEnd | Want::CommaOrEnd) if object == Some(true) => {
                self.open.pop();
                self.keys.close();
                self.value_ends();
            }
            (b']', Want::ValueOrEnd | Want::CommaOrEnd) if object == Some(false) => {
                self.open.pop();
                self.value_ends();
            }
            (b':', Want::Colon) => {
                self.want = Want::Value;
                self.message.value_starts(self.open.len());
            }
            (b',', Want::CommaOrEnd) => {
                self.want = if object == Some(true) { Want::Key } else { Want::Value }
            }
            _ => return self.unexpected(),
        }
        self.token_ends()
    }

    /// A string ended.
    fn string(&mut self, odd: bool) -> Option<Event> {
        self.state = State::Between;
        if self.fate != Fate::Kept {
            return self.token_ends();
        }
        if let Some(event) = self.count() {
            return Some(event);
        }
        let key = match self.want {
            Want::Key | Want::KeyOrEnd => true,
            Want::Value | Want::ValueOrEnd => false,
            Want::Colon | Want::CommaOrEnd => return self.unexpected(),
        };
        if odd {
            match strings::check(&self.message.text[self.token..]) {
                Ok(again) if again || key => {
                    let plain = strings::plain(&self.message.text[self.token..]);
                    self.message.text.truncate(self.token);
                    self.message.text.extend_from_slice(&plain);
                }
                Ok(_) => {}
                Err(fault) => return self.bad_string(&fault),
            }
        }
        if !key {
            self.value_ends();
            return self.token_ends();
        }
        let place = self.token..self.message.text.len();
        if !self.keys.add(&self.message.text, place.clone()) {
            return self.fault("duplicate key");
        }
        self.message.key(self.open.len(), place);
        self.want = Want::Colon;
        None
    }

    /// A number or a keyword ended, before the byte that showed it.
    fn scalar(&mut self) -> Option<Event> {
        let keyword = self.state == State::Keyword;
        self.state = State::Between;
        if self.fate != Fate::Kept {
            return self.token_ends();
        }
        if let Some(event) = self.count() {
            return Some(event);
        }
        if !matches!(self.want, Want::Value | Want::ValueOrEnd) {
            return self.unexpected();
        }
        let token = &self.message.text[self.token..];
        if keyword && !matches!(token, b"true" | b"false" | b"null") {
            let text = format!("invalid keyword '{}'", quoted(token));
            return self.fault(&text);
        }
        self.value_ends();
        self.token_ends()
    }

    /// Counts a token that is whole.
    fn count(&mut self) -> Option<Event> {
        self.tokens += 1;
        if self.tokens > MAX_TOKENS { self.limit("JSON token count limit exceeded") } else { None }
    }

    /// A value is whole.
    fn value_ends(&mut self) {
        self.want = Want::CommaOrEnd;
        self.message.value_ends(self.open.len());
    }

    /// Hands out the message if this token was its last.
    fn token_ends(&mut self) -> Option<Event> {
        if self.braces > 0 && self.brackets >= 0 || self.brackets > 0 && self.braces >= 0 {
            return None;
        }
        let message = (self.fate == Fate::Kept).then(|| std::mem::take(&mut self.message));
        self.start_afresh();
        message.map(Event::Message)
    }

    fn start_afresh(&mut self) {
        self.state = State::Between;
        self.want = Want::Value;
        self.fate = Fate::Kept;
        (self.braces, self.brackets, self.tokens, self.size) = (0, 0, 0, 0);
        self.forget();
    }

    fn forget(&mut self) {
        self.message = Message::default();
        self.open.clear();
        self.keys.clear();
    }

    /// A token of the wrong kind.
    fn unexpected(&mut self) -> Option<Event> {
        self.fault(match (self.want, self.open.last()) {
            (Want::Value | Want::ValueOrEnd, _) => "expecting value",
            (Want::Key | Want::KeyOrEnd, _) => "expecting key",
            (Want::Colon, _) => "expecting ':'",
            (Want::CommaOrEnd, Some(true)) => "expected ',' or '}'",
            (Want::CommaOrEnd, _) => "expected ',' or ']'",
        })
    }

    fn bad_string(&mut self, fault: &StringFault) -> Option<Event> {
        self.fault(&fault.text())
    }

    /// A grammatical fault: told now, and the rest of the message is passed over.
    fn fault(&mut self, what: &str) -> Option<Event> {
        let (line, column) = self.token_at;
        let error = Error::generic(format!("{line}:{column}: JSON parse error, {what}"));
        self.swallow(false);
        self.token_ends();
        Some(Event::Fault(error))
    }

    /// A limit was passed. The token may be unfinished: then the lexer goes on to its end.
    fn limit(&mut self, what: &str) -> Option<Event> {
        self.swallow(false);
        if self.state == State::Between {
            self.token_ends();
        }
        Some(Event::Fault(Error::generic(what)))
    }

    /// A byte that no token can have here: how many bytes were taken (none if it may start something itself), and the fault.
    fn bad_byte(&mut self, byte: u8) -> (usize, Option<Event>) {
        let kept = self.fate == Fate::Kept;
        let mut token = self.message.text[self.token.min(self.message.text.len())..].to_vec();
        token.truncate(QUOTED);
        token.push(byte);
        let (line, column) = self.token_at;
        let error = Error::generic(format!("{line}:{column}: JSON parse error, stray '{}'", quoted(&token)));
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

    fn swallow(&mut self, line: bool) {
        self.fate = Fate::Swallowed { line };
        self.forget();
    }
}

/// What of bad input an error reply quotes.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED + 1)]).into_owned();
    if bytes.len() > QUOTED + 1 {
        text.push('…');
    }
    text
}
