//! What of a request's arguments may be written down.

use std::borrow::Cow;

use waga_builtins::qapi::{members, respell, unescape};

use super::json;
use crate::registry::ArgumentNames;

/// Most bytes of a value.
const VALUE: usize = 256;
/// More bytes than the text of any argument's name has, however it is escaped.
const KEY: usize = 512;

/// The arguments of one request.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// Those that the command has, as they came.
    names: Vec<Cow<'static, str>>,
    /// The others, of which nothing is told.
    unexpected: usize,
    /// Safe values, spelt.
    values: Vec<(Cow<'static, str>, String)>,
    /// Names of values that stand there in part or not at all, being large or not plain.
    cut: Vec<Cow<'static, str>>,
}

impl Described {
    /// Looks through the top level of checked `text`: `known` are the command's arguments, `safe` those with harmless values.
    pub(super) fn new(text: &[u8], known: &ArgumentNames, safe: &'static [&'static str]) -> Self {
        let mut described = Self::default();
        for (key, value) in members(text) {
            let key = if key.len() <= KEY { unescape(key) } else { String::new() };
            let Some(name) = known.find(&key) else {
                described.unexpected += 1;
                continue;
            };
            described.names.push(name.clone());
            if !safe.contains(&&*name) {
                continue;
            }
            let (spelt, is_whole) = spelt(value);
            if let Some(spelt) = spelt {
                described.values.push((name.clone(), spelt));
            }
            if !is_whole {
                described.cut.push(name);
            }
        }
        described
    }

    /// Adds what is known to a line; with values or, where they make it too long, without.
    pub(super) fn add(&self, values: bool, add: &mut impl FnMut(&str, &str)) {
        add("arguments", &json(&self.names));
        let told = if values { &self.values[..] } else { &[] };
        let told: Vec<String> = told.iter().map(|(name, value)| format!("{}: {value}", json(name))).collect();
        add("values", &format!("{{{}}}", told.join(", ")));
        let all: Vec<_>;
        let cut = if values {
            &self.cut
        } else {
            let cut = self.cut.iter().filter(|name| !self.values.iter().any(|(told, _)| told == *name));
            all = self.values.iter().map(|(name, _)| name).chain(cut).cloned().collect();
            &all
        };
        if !cut.is_empty() {
            add("cut", &json(cut));
        }
        if self.unexpected > 0 {
            add("unexpected", &self.unexpected.to_string());
        }
    }
}

/// A value, and whether that is all of it. Objects are not told: they may have members that the command does not know.
fn spelt(value: &[u8]) -> (Option<String>, bool) {
    match value.first() {
        Some(b'"') => {
            // Six bytes of text make at least one of what it says.
            let part = &value[..value.len().min(VALUE * 6 + 16)];
            let text = unescape(part);
            let end = text.floor_char_boundary(VALUE);
            (Some(json(&text[..end])), end == text.len() && part.len() == value.len())
        }
        Some(b'{') | None => (None, false),
        _ if value.len() > VALUE || value.contains(&b'{') => (None, false),
        _ => {
            let mut spelt = Vec::with_capacity(value.len());
            respell(value, &mut spelt);
            (String::from_utf8(spelt).ok(), true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let described = Described::new(
            text.as_bytes(),
            &ArgumentNames::Fixed(&["path", "mode", "buf-b64"]),
            &["path", "mode"],
        );
        let mut line = String::new();
        described.add(true, &mut |name, value| line += &format!("{name}={value} "));
        assert_eq!(line.trim_end(), expected, "{text}");
    }

    #[test]
    fn names_that_are_known_and_values_that_are_safe() {
        check("{}", "arguments=[] values={}");
        check(
            r#"{"buf-b64":"c2VjcmV0","path":"/a\"b","zzz":{"path":"secret"},"mode":3}"#,
            r#"arguments=["buf-b64", "path", "mode"] values={"path": "/a\"b", "mode": 3} unexpected=1"#,
        );
        check(r#"{"p\u0061th":"x"}"#, r#"arguments=["path"] values={"path": "x"}"#);
    }

    #[test]
    fn values_that_are_large_or_not_plain_are_cut() {
        let (long, kept) = ("é".repeat(1000), r"\u00E9".repeat(128));
        check(
            &format!(r#"{{"path":"{long}","mode":["a",{{"password":"secret"}}]}}"#),
            &format!(r#"arguments=["path", "mode"] values={{"path": "{kept}"}} cut=["path", "mode"]"#),
        );
        let escaped = r"\u0001".repeat(5000);
        let kept = r"\u0001".repeat(256);
        check(
            &format!(r#"{{"path":"{escaped}"}}"#),
            &format!(r#"arguments=["path"] values={{"path": "{kept}"}} cut=["path"]"#),
        );
        check(r#"{"mode":["a",1,true]}"#, r#"arguments=["mode"] values={"mode": ["a", 1, true]}"#);
        check(&format!(r#"{{"{}":1}}"#, "k".repeat(9000)), "arguments=[] values={} unexpected=1");
    }
}
