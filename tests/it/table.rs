//! Tables of requests and their exact replies, checked against the program under test and the original beside it.
//!
//! A reply of waga is compared byte by byte; one of the original in everything but the order of members, which is that of a hash
//! table, and the wording of JSON parse errors, which differs between its versions. `…` in an expected reply stands for anything.
//! Where the original deliberately is not followed, the case says so and why ([`Table::differs`]); then its own reply is checked too.

use std::net::Shutdown;

use serde_json::Value;
use waga_tests::agent::{Program, Setup};
use waga_tests::client::Client;

use crate::each;

/// One request, or a piece of stream, and what it gets.
#[derive(Debug)]
struct Case {
    input: Vec<u8>,
    /// One line a reply.
    expected: String,
    /// Why the original replies otherwise, and with which of these.
    differs: Option<(&'static str, Vec<String>)>,
}

/// Cases that one agent is put to, in order.
#[must_use = "only `check` or `check_streams` runs the cases"]
pub(crate) struct Table<'a> {
    cases: Vec<Case>,
    since: u32,
    setup: Box<dyn Fn(Setup) -> Setup + 'a>,
}

impl<'a> Table<'a> {
    pub(crate) fn new() -> Self {
        Self { cases: Vec::new(), since: 0, setup: Box::new(|setup| setup) }
    }

    /// How the agent is to be set up.
    pub(crate) fn setup(mut self, setup: impl Fn(Setup) -> Setup + 'a) -> Self {
        self.setup = Box::new(setup);
        self
    }

    /// Leaves out originals before this version: they do not have it.
    pub(crate) fn since(mut self, version: u32) -> Self {
        self.since = version;
        self
    }

    /// A request that waga and the original answer alike.
    pub(crate) fn ask(self, input: impl AsRef<[u8]>, expected: impl Into<String>) -> Self {
        self.case(input.as_ref(), expected.into(), None)
    }

    /// Many of them.
    pub(crate) fn all(self, cases: &[(&str, &str)]) -> Self {
        cases.iter().fold(self, |table, (input, expected)| table.ask(input, *expected))
    }

    /// A request to which the original replies otherwise, one of `original` depending on its version.
    pub(crate) fn differs(
        self,
        reason: &'static str,
        input: impl AsRef<[u8]>,
        expected: impl Into<String>,
        original: &[&str],
    ) -> Self {
        let original = original.iter().map(|&reply| reply.to_owned()).collect();
        self.case(input.as_ref(), expected.into(), Some((reason, original)))
    }

    fn case(mut self, input: &[u8], expected: String, differs: Option<(&'static str, Vec<String>)>) -> Self {
        self.cases.push(Case { input: input.to_vec(), expected, differs });
        self
    }

    /// Sends the requests over one connection, each after the reply to the one before.
    pub(crate) fn check(self) {
        self.on_each(|program| {
            let agent = (self.setup)(program.setup()).start();
            let mut client = agent.client();
            for case in &self.cases {
                client.send([&case.input[..], b"\n"].concat()).unwrap();
                case.check(program, &shown(&client.line().unwrap().unwrap_or_default()));
            }
        });
    }

    /// Sends each case over a connection of its own, which is then half closed, and takes all that comes until the agent closes it.
    pub(crate) fn check_streams(self) {
        self.on_each(|program| {
            let agent = (self.setup)(program.setup()).start();
            let exchange = |input: &[u8]| {
                let mut client = agent.client();
                client.send(input).unwrap();
                client.stream().shutdown(Shutdown::Write).unwrap();
                rest(&mut client)
            };
            for case in &self.cases {
                if !program.is_waga() {
                    // It goes on with what the last client left unfinished.
                    exchange(b"\xff\n");
                }
                case.check(program, &exchange(&case.input));
            }
        });
    }

    fn on_each(&self, test: impl Fn(&Program)) {
        each(|program| {
            if program.since(self.since) {
                test(program);
            }
        });
    }
}

/// All lines until the agent closes.
pub(crate) fn rest(client: &mut Client) -> String {
    let mut lines = Vec::new();
    while let Some(line) = client.line().unwrap() {
        lines.push(shown(&line));
    }
    lines.join("\n")
}

/// A line as text, with bytes beyond ASCII as `\xNN`.
pub(crate) fn shown(line: &[u8]) -> String {
    let shown = line.iter().map(|&byte| match byte {
        ..0x80 => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    });
    shown.collect()
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
pub(crate) fn matches(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|start| text.strip_prefix(start)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    false
}

/// Whether the original's reply is the expected one for all that a client may rely on.
fn alike(program: &Program, reply: &str, expected: &str) -> bool {
    let (reply, expected) = (settled(program, reply), settled(program, expected));
    let same = |(reply, expected): (&String, &String)| {
        if matches(reply, expected) {
            return true;
        }
        // The same bytes in another order of members.
        let sorted = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.sort_unstable();
            bytes
        };
        let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
        sorted(reply) == sorted(expected) && parsed(reply).is_some() && parsed(reply) == parsed(expected)
    };
    reply.len() == expected.len() && reply.iter().zip(&expected).all(same)
}

/// The lines of a reply with parse errors brought to one wording, and several in a row to one: the original replies again for what is
/// left of a broken message. From version 11 on only the position is taken off.
fn settled(program: &Program, reply: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut broken = false;
    for line in reply.lines() {
        let Some(at) = line.find("JSON parse error") else {
            broken = false;
            lines.push(line.to_owned());
            continue;
        };
        if !std::mem::replace(&mut broken, true) {
            let text = if program.since(11) { &line[at..] } else { "JSON parse error" };
            lines.push(text.to_owned());
        }
    }
    lines
}

impl Case {
    fn check(&self, program: &Program, reply: &str) {
        if program.is_waga() {
            reply.lines().for_each(sound);
        }
        let input = String::from_utf8_lossy(&self.input[..self.input.len().min(400)]);
        let (right, expected) = match &self.differs {
            _ if program.is_waga() => (matches(reply, &self.expected), self.expected.clone()),
            None => (alike(program, reply, &self.expected), self.expected.clone()),
            Some((reason, known)) => {
                let right = known.iter().any(|expected| alike(program, reply, expected));
                (right, format!("{} ({reason})", known.join("\nor ")))
            }
        };
        let name = program.name();
        assert!(right, "{name}\n   asked: {input}\n replied: {reply}\nexpected: {expected}");
    }
}

/// Every reply of waga is one object on a line of ASCII, with a result or an error and perhaps an `id`.
fn sound(line: &str) {
    let line = line.strip_prefix("\\xff").unwrap_or(line);
    assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "not printable ASCII: {line}");
    let reply: Value = match serde_json::from_str(line) {
        Ok(reply) => reply,
        // JSON, but more than a double.
        Err(error) if error.to_string().contains("number out of range") => return,
        Err(error) => panic!("not JSON ({error}): {line}"),
    };
    let keys: Vec<&str> = reply.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(matches!(keys[..], ["return"] | ["return", "id"] | ["error"] | ["id", "error"]), "{line}");
}
