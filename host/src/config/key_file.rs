//! Key files as GLib reads them: the format of `qemu-ga.conf`. Groups of `key=value`, escapes in values, a fault with its line.
//!
//! What GLib accepts is accepted and what it refuses is refused (tested beside qemu-ga), but faults are named by line.

use std::collections::HashSet;

/// One entry of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) key: String,
    /// As it stands, white space before it taken off.
    raw: String,
}

/// What is wrong, and in which line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) text: String,
}

/// The entries of one group of a file, in order, all its parts together; a group that is not there has none. Of a key that stands twice
/// the last one counts, and nobody looks at the others.
pub(super) fn group(text: &str, wanted: &str) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    let mut current: Option<&str> = None;
    for (line, content) in (1..).zip(text.split_inclusive('\n')) {
        let fault = |text: String| Err(Fault { line, text });
        let ended = content.strip_suffix('\n');
        let content = ended.map_or(content, |content| content.strip_suffix('\r').unwrap_or(content));
        // GLib's white space is that of ASCII; behind a value it stays.
        let content = content.trim_start_matches(|c: char| c.is_ascii_whitespace());
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if let Some(rest) = content.strip_prefix('[') {
            match rest.trim_end_matches([' ', '\t']).strip_suffix(']') {
                Some("") => return fault("a group without a name".into()),
                Some(name)
                    if !name.contains(['[', ']']) && !name.contains(|c: char| c.is_ascii_control()) =>
                {
                    current = Some(name);
                    continue;
                }
                _ => {}
            }
        }
        match content
            .split_once('=')
            .map(|(key, value)| (key.trim_end_matches(|c: char| c.is_ascii_whitespace()), value))
        {
            Some((key, value)) if !key.is_empty() && !key.starts_with('[') => {
                let Some(group) = current else {
                    return fault("a key before the first [group]".into());
                };
                if !is_key(key) {
                    return fault(format!("'{}' is not the name of a key", shorten(key)));
                }
                if group == wanted {
                    let raw = value.trim_start_matches(|c: char| c.is_ascii_whitespace()).to_owned();
                    entries.push(Entry { line, key: key.to_owned(), raw });
                }
            }
            _ => {
                return fault(format!(
                    "'{}' is neither a [group] nor key=value nor a # comment",
                    shorten(content)
                ));
            }
        }
    }
    let mut seen = HashSet::new();
    let mut last: Vec<_> = entries.into_iter().rev().filter(|entry| seen.insert(entry.key.clone())).collect();
    last.reverse();
    Ok(last)
}

/// Whether GLib takes it for a key: brackets stand around a language at its end, if anywhere.
fn is_key(key: &str) -> bool {
    let Some(place) = key.find(['[', ']']) else { return true };
    let (name, language) = key.split_at(place);
    let language = language.strip_prefix('[').and_then(|language| language.strip_suffix(']'));
    let in_language = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
    !name.ends_with(' ') && language.is_some_and(|language| language.chars().all(in_language))
}

impl Entry {
    /// The value as text, its escapes (`\s \n \t \r \\`) resolved.
    pub(super) fn string(&self) -> Result<String, Fault> {
        let mut text = String::with_capacity(self.raw.len());
        let mut characters = self.raw.chars();
        while let Some(character) = characters.next() {
            text.push(match character {
                '\\' => match characters.next() {
                    Some('s') => ' ',
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some('\\') => '\\',
                    _ => return Err(self.fault("has a \\ that is none of \\s \\n \\t \\r \\\\")),
                },
                other => other,
            });
        }
        Ok(text)
    }

    /// The value as a truth: `true`, `1`, `false` or `0`.
    pub(super) fn boolean(&self) -> Result<bool, Fault> {
        match self.raw.trim_end_matches(|c: char| c.is_ascii_whitespace()) {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.fault("has to be true, false, 1 or 0")),
        }
    }

    fn fault(&self, text: &str) -> Fault {
        Fault { line: self.line, text: format!("the value of '{}' {text}", shorten(&self.key)) }
    }
}

/// As much of a text as belongs into a message.
fn shorten(text: &str) -> &str {
    let end = text.char_indices().map(|(place, _)| place).nth(60).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
        let read = |entry: Entry| Ok((entry.key.clone(), entry.string()?));
        let entries = group(text, "general").and_then(|entries| entries.into_iter().map(read).collect());
        entries.map_err(|fault: Fault| format!("{}: {}", fault.line, fault.text))
    }

    #[test]
    fn what_glib_accepts_is_accepted() {
        for (text, expected) in [
            ("", &[][..]),
            ("# c\n\n \t# c\n[general]\n  a  =  b  \n", &[("a", "b  ")]),
            ("[other]\na=0\n [general] \na=1\n[other]\n[general]\nb=2", &[("a", "1"), ("b", "2")]),
            ("[general]\r\na=b\r\n", &[("a", "b")]),
            ("[general]\na=\\sx\\t\\\\\\n", &[("a", " x\t\\\n")]),
            ("[general]\na b=x=y\na[de]=q\n", &[("a b", "x=y"), ("a[de]", "q")]),
            ("[general]\na[]=x\na[sr@Latn]=y", &[("a[]", "x"), ("a[sr@Latn]", "y")]),
            ("[general]\na=\\x\nb=1\na=2\n", &[("b", "1"), ("a", "2")]),
            ("[general]\na=b\r", &[("a", "b\r")]),
            ("[General]\na=b", &[]),
        ] {
            let expected = expected.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
            assert_eq!(pairs(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_glib_refuses_is_refused_with_its_line() {
        for (text, expected) in [
            ("a=b\n", "1: a key before"),
            ("[general]\ngarbage\n", "2: 'garbage' is neither"),
            ("[general\n", "1: '[general' is neither"),
            ("[general] x\n", "1: '[general] x' is neither"),
            ("[]\n", "1: a group without a name"),
            ("[general]\n=x\n", "2: '=x' is neither"),
            ("[general]\na=\\x\n", "2: the value of 'a' has a \\"),
            ("[general]\na=\\\n", "2: the value of 'a' has a \\"),
            ("\u{feff}[general]\n", "1: "),
            ("[general]\na[=x\n", "2: 'a[' is not the name of a key"),
            ("[general]\na]=x\n", "2: 'a]' is not"),
            ("[x]\na[d e]=x\n", "2: 'a[d e]' is not"),
            ("[general]\na[d]e=x\n", "2: 'a[d]e' is not"),
            ("[general]\na [de]=x\n", "2: 'a [de]' is not"),
        ] {
            let error = pairs(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn truths_have_four_spellings() {
        let truth =
            |value: &str| group(&format!("[general]\na={value}\n"), "general").unwrap()[0].boolean().ok();
        assert_eq!(
            ["true", "1 ", "false\t", "0"].map(truth),
            [Some(true), Some(true), Some(false), Some(false)]
        );
        assert_eq!(["", "yes", "TRUE", "2", "true # c"].map(truth), [None; 5]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[\\[\\]=#\\\\ a-z\n\r\t]*") {
            let _ = pairs(&format!("[general]\n{text}"));
            let _ = pairs(&text);
        }

        #[test]
        fn any_value_can_be_written(value in "[^\\r]*") {
            let escaped = value.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t").replace(' ', "\\s");
            let plain: String = escaped.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            let expected: String = value.chars().filter(|c| !matches!(c, '\u{c}')).collect();
            prop_assert_eq!(pairs(&format!("[general]\nk={plain}\n")), Ok(vec![("k".to_owned(), expected)]));
        }
    }
}
