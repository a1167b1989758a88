//! What a client asks of `guest-exec`, as far as it matters. What cannot be read, or is too much to be looked at, is refused.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

/// Arguments, or variables, that are looked at. No rule has so many patterns, and each costs time and memory before anything is known of it.
const MOST_WORDS: usize = 4096;
/// Bytes of all of them.
const MOST_BYTES: usize = 256 << 10;

/// The arguments of `guest-exec`. Each at most once: JSON with a key twice is refused when it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Arguments {
    path: String,
    arg: Option<Words>,
    env: Option<Words>,
    // Whatever it is: large, mostly, and none of it is looked at.
    input_data: Option<IgnoredAny>,
    #[serde(rename = "capture-output")]
    _capture_output: Option<IgnoredAny>,
}

/// What is to be started, and with what.
#[derive(Debug)]
pub struct Request {
    pub path: String,
    pub args: Vec<String>,
    /// Absent: the agent's environment.
    pub env: Vec<String>,
    pub has_input: bool,
}

impl Request {
    /// Reads the JSON of a request.
    pub fn read(arguments: &str) -> Result<Self, String> {
        let arguments: Arguments = serde_json::from_str(arguments)
            .map_err(|why| format!("does not understand the request: {why}"))?;
        let words = |words: Option<Words>| words.map_or_else(Vec::new, |words| words.0);
        let request = Self {
            path: arguments.path,
            args: words(arguments.arg),
            env: words(arguments.env),
            has_input: arguments.input_data.is_some(),
        };
        // Where a program's text ends is then another question than where ours does.
        let has_nul = |text: &String| text.contains('\0');
        if has_nul(&request.path) || request.args.iter().chain(&request.env).any(has_nul) {
            return Err("does not allow a NUL in the request".into());
        }
        Ok(request)
    }
}

/// Strings, not too many.
#[derive(Debug)]
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Words;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("strings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Words, A::Error> {
                let (mut words, mut bytes) = (Vec::new(), 0);
                while let Some(word) = sequence.next_element::<String>()? {
                    bytes += word.len();
                    if words.len() == MOST_WORDS || bytes > MOST_BYTES {
                        return Err(A::Error::custom("it is too much to be looked at"));
                    }
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_or_refused() {
        let request = Request::read(
            r#"{"path": "/bin/a", "arg": ["\u0062", "c d"], "env": null, "input-data": "eA==", "capture-output": "merged"}"#,
        )
        .unwrap();
        assert_eq!((&*request.path, request.has_input), ("/bin/a", true));
        assert_eq!((&*request.args, request.env.len()), (&["b".to_owned(), "c d".to_owned()][..], 0));
        for (text, expected) in [
            ("{}", "missing field `path`"),
            (r#"{"path": 1}"#, "invalid type"),
            (r#"{"path": "/a", "path": "/b"}"#, "duplicate field `path`"),
            (r#"{"path": "/a", "p\u0061th": "/b"}"#, "duplicate field `path`"),
            (r#"{"path": "/a", "arg": ["a"], "arg": []}"#, "duplicate field `arg`"),
            (r#"{"path": "/a", "args": []}"#, "unknown field `args`"),
            (r#"{"path": "/a", "arg": "x"}"#, "expected strings"),
            (r#"{"path": "/a", "arg": [["x"]]}"#, "invalid type"),
            (r#"{"path": "/a\u0000b"}"#, "a NUL"),
            (r#"{"path": "/a", "arg": ["\u0000"]}"#, "a NUL"),
            (r#"{"path": "/a", "env": ["A=\u0000"]}"#, "a NUL"),
            (r#"{"path": "/a", "arg": ["\ud800"]}"#, "does not understand"),
            (r#"{"path": "/a"} x"#, "trailing characters"),
            (r#"["/a"]"#, "does not understand"),
            ("", "does not understand"),
        ] {
            let said = Request::read(text).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }

    #[test]
    fn what_is_too_much_is_not_looked_at() {
        let with = |words: &str| format!(r#"{{"path": "/a", "arg": [{words}]}}"#);
        let most = vec!["\"\""; MOST_WORDS].join(",");
        assert_eq!(Request::read(&with(&most)).unwrap().args.len(), MOST_WORDS);
        let long = format!("\"{}\"", "x".repeat(MOST_BYTES));
        assert_eq!(Request::read(&with(&long)).unwrap().args[0].len(), MOST_BYTES);
        for more in [most + ",\"\"", long + ",\"x\""] {
            assert!(Request::read(&with(&more)).unwrap_err().contains("too much"));
        }
    }
}
