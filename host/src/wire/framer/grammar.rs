//! The grammar of a [`Framer`]: which token may stand where, where a message ends, and the faults of both.

use waga_builtins::Error;

use super::{Event, Fate, Framer, QUOTED, State, Want};
use crate::wire::{MAX_DEPTH, MAX_SIZE, MAX_TOKENS, Message, strings};

impl Framer {
    /// One of `{}[]:,`.
    pub(super) fn structure(&mut self, byte: u8) -> Option<Event> {
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
                return self.value_ends();
            }
            (b']', Want::ValueOrEnd | Want::CommaOrEnd) if object == Some(false) => {
                self.open.pop();
                return self.value_ends();
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
    pub(super) fn string(&mut self, odd: bool) -> Option<Event> {
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
                Ok(spelling) if spelling.again || key => {
                    // Spelt plainly it may be longer: the limit holds for what is kept, too.
                    let came = self.message.text.len() - self.token;
                    self.size += spelling.length.saturating_sub(came);
                    if self.size >= MAX_SIZE {
                        return self.limit("JSON token size limit exceeded");
                    }
                    let plain = strings::plain(&self.message.text[self.token..], spelling.length);
                    self.message.text.truncate(self.token);
                    self.message.text.extend_from_slice(&plain);
                }
                Ok(_) => {}
                Err(fault) => return self.fault(&fault.text()),
            }
        }
        if !key {
            return self.value_ends();
        }
        let place = self.token..self.message.text.len();
        self.keys.add(&self.message.text, place.clone());
        self.message.key(self.open.len(), place);
        self.want = Want::Colon;
        None
    }

    /// A number or a keyword ended, before the byte that showed it.
    pub(super) fn scalar(&mut self) -> Option<Event> {
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
            let (word, gap) = if token.len() > QUOTED { (&token[..QUOTED], "…") } else { (token, "") };
            let text = format!("invalid keyword '{}{gap}'", String::from_utf8_lossy(word));
            return self.fault(&text);
        }
        self.value_ends()
    }

    /// Counts a token that is whole.
    fn count(&mut self) -> Option<Event> {
        self.tokens += 1;
        if self.tokens > MAX_TOKENS { self.limit("JSON token count limit exceeded") } else { None }
    }

    /// A value is whole. Only now a key that stood there before is told, as qemu-ga does: a fault in the value goes first.
    fn value_ends(&mut self) -> Option<Event> {
        if self.open.last() == Some(&true) && self.keys.twice() {
            return self.fault("duplicate key");
        }
        self.want = Want::CommaOrEnd;
        self.message.value_ends(self.open.len());
        self.token_ends()
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

    pub(super) fn start_afresh(&mut self) {
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

    /// A grammatical fault: told now, and the rest of the message is passed over.
    fn fault(&mut self, what: &str) -> Option<Event> {
        let (line, column) = self.token_at;
        let error = Error::generic(format!("{line}:{column}: JSON parse error, {what}"));
        self.swallow(false);
        self.token_ends();
        Some(Event::Fault(error))
    }

    /// A limit was passed. The token may be unfinished: then the lexer goes on to its end.
    pub(super) fn limit(&mut self, what: &str) -> Option<Event> {
        self.swallow(false);
        if self.state == State::Between {
            self.token_ends();
        }
        Some(Event::Fault(Error::generic(what)))
    }

    pub(super) fn swallow(&mut self, line: bool) {
        self.fate = Fate::Swallowed { line };
        self.forget();
    }
}
