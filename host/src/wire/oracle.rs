//! What must hold for whatever bytes come: the judge of the property tests and of the fuzz targets in `tests/fuzz`.
//!
//! Every function panics where something does not hold. Only built for tests, and under the feature `oracle`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::Deserialize;
use serde::de::IgnoredAny;
use waga_builtins::qapi::arguments::Span;
use waga_builtins::qapi::{Arguments, base64, unescape};

use super::{Event, Framer, MAX_DEPTH, MAX_SIZE, Message, Request, Response};

/// serde_json reads no deeper than this.
const DEPTH: usize = 127;

/// What a stream of bytes came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A value that is a request: its `id` as it is echoed, its command and its arguments.
    Request {
        /// Empty if there is none.
        id: String,
        /// The command's name.
        command: String,
        /// The object's text.
        arguments: String,
    },
    /// Anything else: the reply's line.
    Refused(String),
}

impl Outcome {
    /// Whether the reply tells a broken message.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Refused(line) if line.contains("JSON parse error") || line.contains("limit exceeded"))
    }
}

/// Feeds a fresh framer with `input` in the pieces that `cuts` make of it, checking every step; what it came to.
pub fn outcomes(input: &[u8], cuts: &[usize]) -> Vec<Outcome> {
    outcomes_of(&mut Framer::default(), input, cuts)
}

/// As [`outcomes`], with a framer that has seen something before.
pub fn outcomes_of(framer: &mut Framer, input: &[u8], cuts: &[usize]) -> Vec<Outcome> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).chain([input.len()]).collect();
    cuts.sort_unstable();
    let (mut outcomes, mut start) = (Vec::new(), 0);
    let before = framer.held();
    for end in cuts {
        let mut piece = &input[start..end];
        while !piece.is_empty() {
            let (taken, event) = framer.feed(piece);
            assert!(taken > 0 || event.is_some(), "no progress");
            piece = &piece[taken..];
            outcomes.extend(event.map(outcome));
        }
        start = end;
        check_held(framer, before + end);
    }
    outcomes
}

/// Memory grows with what was fed, and ends at the limit of one message and its tables.
fn check_held(framer: &Framer, fed: usize) {
    // A byte of a string may become an escape of three; a key of five bytes takes two places of a table that is half full.
    let bound = 16 * fed + (1 << 10);
    assert!(framer.held() <= bound.min(2 * MAX_SIZE), "{} held of {fed}", framer.held());
}

fn outcome(event: Event) -> Outcome {
    match event {
        Event::Fault(error) => Outcome::Refused(line(Response::error(None, error))),
        Event::Message(message) => {
            check_text(&message);
            match Request::try_from(message) {
                Err(response) => Outcome::Refused(line(response)),
                Ok(Request { id, command, arguments }) => {
                    let id = id.map(string).unwrap_or_default();
                    if !id.is_empty() {
                        check_line(&format!("{{\"id\": {id}}}\n"));
                    }
                    let text = string(arguments.text().to_vec());
                    assert!(text.starts_with('{') && text.ends_with('}'), "no object: {text}");
                    Outcome::Request { id, command, arguments: text }
                }
            }
        }
    }
}

fn string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("checked text is UTF-8")
}

/// Checked text is compact JSON in UTF-8, as any other reader of JSON would have it.
fn check_text(message: &Message) {
    let text = std::str::from_utf8(message.text()).expect("checked text is UTF-8");
    assert!(text.bytes().all(|byte| byte >= 0x20), "a control byte in {text:?}");
    assert!(text.len() < MAX_SIZE, "longer than the limit");
    if depth(text) <= DEPTH {
        assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "not JSON: {text:?}");
    }
}

/// The line of a reply that is one piece.
fn line(response: Response) -> String {
    let (line, _, rest) = response.into_parts();
    assert!(rest.is_empty(), "an error reply is one piece");
    let line = String::from_utf8(line).expect("a reply is ASCII");
    check_line(&line);
    line
}

/// A reply is one line of ASCII that any reader of JSON takes.
fn check_line(line: &str) {
    let text = line.strip_suffix('\n').expect("a reply ends its line");
    assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "not one line of ASCII: {text:?}");
    if depth(text) <= DEPTH {
        assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "not JSON: {text:?}");
    }
}

/// At least how deep a text's brackets go.
fn depth(text: &str) -> usize {
    let steps = text.bytes().scan(0_usize, |depth, byte| {
        match byte {
            b'{' | b'[' => *depth += 1,
            b'}' | b']' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    steps.max().unwrap_or(0).min(MAX_DEPTH)
}

/// Reads every object in `input` into types such as commands have, and every string as base64.
///
/// An error is fine; its text is a reply's. A large string is the same whether it is copied out or taken where it stands.
pub fn arguments(input: &[u8]) {
    let mut framer = Framer::default();
    let mut rest = input;
    while !rest.is_empty() {
        let (taken, event) = framer.feed(rest);
        rest = &rest[taken..];
        let Some(Event::Message(message)) = event else { continue };
        let text = message.text();
        if text.starts_with(b"{") {
            let arguments = || Arguments::new(text.to_vec(), 0..text.len());
            read::<Everything>(&arguments());
            read::<Vague>(&arguments());
            read::<Nothing>(&arguments());
            read::<BTreeMap<String, Kind>>(&arguments());
            if let Ok(Large { s }) = arguments().parse() {
                let copied = unescape(text[5..].strip_suffix(b"}").expect("an object of one string"));
                let decoded = base64::decode_in_place(arguments().into_string(&s));
                match (base64::decode(&copied), decoded) {
                    (Ok(copied), Ok(taken)) => assert_eq!(taken.bytes(), copied),
                    (Err(copied), Err(taken)) => assert_eq!(taken.desc, copied.desc),
                    (copied, taken) => panic!("{copied:?} copied, {taken:?} taken"),
                }
            }
        }
    }
}

fn read<'a, T: Deserialize<'a> + Debug>(arguments: &'a Arguments) {
    match arguments.parse::<T>() {
        Ok(value) => assert!(!format!("{value:?}").is_empty()),
        Err(error) => drop(line(Response::error(None, error))),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    A,
    PowerDown,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "read, and shown")]
struct Everything {
    i: Option<i64>,
    u: Option<u64>,
    small: Option<u16>,
    f: Option<f64>,
    b: Option<bool>,
    s: Option<String>,
    kind: Option<Kind>,
    list: Option<Vec<String>>,
    records: Option<Vec<Record>>,
    encoded: Option<base64::Encoded>,
    span: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "read, and shown")]
struct Record {
    a: i64,
    b: Option<Box<Record>>,
    c: Option<(i64, bool)>,
}

/// An alternate, as `guest-file-seek` and `guest-exec` have it.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "read, and shown")]
struct Vague {
    a: Alternate,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "read, and shown")]
enum Alternate {
    Flag(bool),
    Number(i64),
    Float(f64),
    Text(String),
    List(Vec<Alternate>),
}

#[derive(Debug, Deserialize)]
struct Nothing {}

#[derive(Debug, Deserialize)]
struct Large {
    s: Span,
}
