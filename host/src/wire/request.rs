//! A message as the framer hands it over, and the request that it is, if it is one.

use std::ops::Range;

use waga_builtins::Error;
use waga_builtins::qapi::{Arguments, respell, shorten, unescape};

use super::response::Response;

/// Largest `id` that is echoed, in bytes as it came. qemu-ga has no such bound of its own.
const MAX_ID: usize = 1 << 20;

/// One checked JSON value, with the places of the members that make it a request.
#[derive(Debug, Default)]
pub struct Message {
    pub(super) text: Vec<u8>,
    execute: Option<Range<usize>>,
    arguments: Option<Range<usize>>,
    id: Option<Range<usize>>,
    /// The first key that no request has.
    unexpected: Option<Range<usize>>,
    current: Member,
    value: usize,
}

/// The member whose value is being read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Member {
    Execute,
    Arguments,
    Id,
    #[default]
    Other,
}

impl Message {
    /// The checked text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// A key ended; `depth` is the number of brackets around it.
    pub(super) fn key(&mut self, depth: usize, place: Range<usize>) {
        if depth != 1 {
            return;
        }
        self.current = match &self.text[place.start + 1..place.end - 1] {
            b"execute" => Member::Execute,
            b"arguments" => Member::Arguments,
            b"id" => Member::Id,
            _ => {
                self.unexpected.get_or_insert(place);
                Member::Other
            }
        };
    }

    /// The value of a key is next.
    pub(super) fn value_starts(&mut self, depth: usize) {
        if depth == 1 {
            self.value = self.text.len();
        }
    }

    /// A value ended.
    pub(super) fn value_ends(&mut self, depth: usize) {
        if depth != 1 {
            return;
        }
        let place = Some(self.value..self.text.len());
        match std::mem::take(&mut self.current) {
            Member::Execute => self.execute = place,
            Member::Arguments => self.arguments = place,
            Member::Id => self.id = place,
            Member::Other => {}
        }
    }

    fn first_byte(&self, place: &Range<usize>) -> u8 {
        self.text[place.start]
    }
}

/// What a client asks for.
#[derive(Debug)]
pub struct Request {
    /// The `id`, spelt for the reply.
    pub id: Option<Vec<u8>>,
    /// The command's name.
    pub command: String,
    /// Its arguments.
    pub arguments: Arguments,
}

impl TryFrom<Message> for Request {
    /// The error reply, with the message's `id` where it has one.
    type Error = Response;

    fn try_from(mut message: Message) -> Result<Self, Response> {
        if message.text.first() != Some(&b'{') {
            return Err(Response::error(None, Error::generic("QMP input must be a JSON object")));
        }
        let id = match message.id.clone().map(|place| &message.text[place]) {
            Some(id) if id.len() > MAX_ID => {
                let desc = format!("QMP input member 'id' is longer than {MAX_ID} bytes");
                return Err(Response::error(None, Error::generic(desc)));
            }
            id => id.map(|id| {
                let mut spelt = Vec::with_capacity(id.len());
                respell(id, &mut spelt);
                spelt
            }),
        };
        let refuse = |desc: String| Err(Response::error(id.clone(), Error::generic(desc)));

        // The first one in the order of the text; qemu-ga takes that of a hash table.
        let execute = message.execute.take();
        let arguments = message.arguments.take();
        let mut faults: Vec<(usize, String)> = Vec::new();
        if let Some(place) = execute.as_ref().filter(|place| message.first_byte(place) != b'"') {
            faults.push((place.start, "QMP input member 'execute' must be a string".into()));
        }
        if let Some(place) = arguments.as_ref().filter(|place| message.first_byte(place) != b'{') {
            faults.push((place.start, "QMP input member 'arguments' must be an object".into()));
        }
        if let Some(place) = message.unexpected.take() {
            let key = name(&message.text[place.clone()]);
            faults.push((place.start, format!("QMP input member '{key}' is unexpected")));
        }
        if let Some((_, desc)) = faults.into_iter().min() {
            return refuse(desc);
        }
        let Some(execute) = execute else { return refuse("QMP input lacks member 'execute'".into()) };
        let command = name(&message.text[execute]);
        let arguments = Arguments::new(message.text, arguments.unwrap_or_default());
        Ok(Self { id, command, arguments })
    }
}

/// What a string of the message says. No command's name is long enough to be cut, so a longer one stays unknown.
fn name(quoted: &[u8]) -> String {
    // Six bytes of text make at least one of what it says.
    shorten(&unescape(&quoted[..quoted.len().min(32 << 10)])).to_owned()
}
