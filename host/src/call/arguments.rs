//! The words after a command's name, and the JSON object that they stand for.
//!
//! Values are kept as text: what was a number of any size on the command line is the same digits on the wire.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt::{self, Formatter};
use std::io::Read;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::Error;
use super::layout::{self, Layout};

/// The most that is read from stdin. An agent takes 64 MiB.
const LONGEST: u64 = 256 << 20;

/// The arguments of a command, in the order in which they were given.
#[derive(Debug, Default)]
pub(super) struct Arguments(Vec<(String, Box<RawValue>)>);

impl Arguments {
    /// Reads words: `key=value` each, or one JSON object, or a `-` for an object from `stdin`. `None` if there are none.
    ///
    /// # Errors
    /// [`Error::Usage`], which names the word that is wrong and the way out.
    pub(super) fn read(words: &[OsString], stdin: impl Read) -> Result<Option<Self>, Error> {
        let words = words.iter().map(|word| word.to_str().ok_or(word));
        let words: Vec<&str> = words.collect::<Result<_, _>>().map_err(|word| {
            Error::Usage(format!("'{}' is not UTF-8, and JSON has nothing else", word.to_string_lossy()))
        })?;
        match words[..] {
            [] => Ok(None),
            ["-"] => Self::from_stdin(stdin).map(Some),
            [word] if word.trim_start().starts_with('{') => Self::from_json(word, word).map(Some),
            _ => Self::from_pairs(&words).map(Some),
        }
    }

    /// One argument, which is text.
    pub(super) fn one(key: &str, text: &str) -> Self {
        let value = serde_json::value::to_raw_value(text).expect("a string is JSON");
        Self(vec![(key.to_owned(), value)])
    }

    fn from_stdin(stdin: impl Read) -> Result<Self, Error> {
        let mut text = String::new();
        let count = stdin.take(LONGEST + 1).read_to_string(&mut text);
        let count = count.map_err(|error| Error::Usage(format!("'-': cannot read stdin: {error}")))?;
        if count as u64 > LONGEST {
            return Err(Error::Usage(format!("'-': more than {} MiB on stdin", LONGEST >> 20)));
        }
        Self::from_json(&text, "-")
    }

    fn from_json(text: &str, word: &str) -> Result<Self, Error> {
        let Members(members) = serde_json::from_str(text).map_err(|error| {
            Error::Usage(format!("'{word}' is not one JSON object: {error}; key=value needs no JSON"))
        })?;
        Self::distinct(members).map_err(|key| Error::Usage(format!("'{word}' has the key '{key}' twice")))
    }

    fn from_pairs(words: &[&str]) -> Result<Self, Error> {
        let mut members = Vec::with_capacity(words.len());
        for word in words {
            if *word == "-" || word.trim_start().starts_with('{') {
                return Err(Error::Usage(format!(
                    "'{word}' cannot be mixed with other arguments: give all as key=value, or all in one JSON object"
                )));
            }
            let Some((key, value)) = word.split_once('=') else {
                return Err(Error::Usage(format!(
                    "'{word}' is no argument: write key=value, or all arguments as one JSON object"
                )));
            };
            if key.is_empty() {
                return Err(Error::Usage(format!("'{word}' has no key before its '=': write key=value")));
            }
            members.push((key.to_owned(), value_of(value)));
        }
        Self::distinct(members).map_err(|key| {
            let word = words.iter().rfind(|word| word.starts_with(&format!("{key}=")));
            let word = word.expect("the key is of a word");
            Error::Usage(format!(
                "'{word}' gives '{key}' a second time: give several values as one array, {key}='[1,2]'"
            ))
        })
    }

    /// Members whose keys differ, or the first key that does not.
    fn distinct(members: Vec<(String, Box<RawValue>)>) -> Result<Self, String> {
        let mut keys = HashSet::new();
        match members.iter().find(|(key, _)| !keys.insert(key)) {
            Some((key, _)) => Err(key.clone()),
            None => Ok(Self(members)),
        }
    }

    /// The object as JSON on one line.
    pub(super) fn text(&self) -> String {
        let mut out = vec![b'{'];
        for (place, (key, value)) in self.0.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            serde_json::to_writer(&mut out, key).expect("a string is JSON");
            out.push(b':');
            layout::write(&mut out, value.get(), Layout::Compact).expect("memory takes it");
        }
        out.push(b'}');
        String::from_utf8(out).expect("made of text")
    }
}

/// What stands after a `=`: JSON if it is JSON, else a string.
fn value_of(text: &str) -> Box<RawValue> {
    serde_json::from_str(text).unwrap_or_else(|_| {
        let quoted = serde_json::to_string(text).expect("a string is JSON");
        RawValue::from_string(quoted).expect("it was just spelt")
    })
}

/// The way out if the agent wants another type than a `key=value` among `words` was taken for. The value may be a secret, so it is not told.
pub(super) fn hint(words: &[OsString], error: &Error) -> Option<String> {
    let Error::Agent { desc, .. } = error else { return None };
    let (key, wanted) = desc.strip_prefix("Invalid parameter type for '")?.split_once("', expected: ")?;
    let given = |word: &OsString| {
        word.to_str().and_then(|word| word.split_once('=')).is_some_and(|(name, _)| name == key)
    };
    match wanted {
        _ if !words.iter().any(given) => None,
        "string" => Some(format!("'{key}' was read as JSON; to give text, write {key}='\"...\"'")),
        "array" => Some(format!("to give a list, write {key}='[\"...\"]'")),
        _ => None,
    }
}

/// The members of an object as they stand, a key that comes twice included.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn check(words: &[&str]) -> Result<Option<String>, Error> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        Arguments::read(&words, &b" {\"from\": \"stdin\",\n \"b\": [1, 2]}\n"[..])
            .map(|arguments| arguments.map(|arguments| arguments.text()))
    }

    #[test]
    fn words_become_an_object() {
        for (words, expected) in [
            (&["path=/etc/motd", "mode=r"][..], r#"{"path":"/etc/motd","mode":"r"}"#),
            (&["z=1", "a=-2.50", "m=1e3"], r#"{"z":1,"a":-2.50,"m":1e3}"#),
            (
                &["big=18446744073709551615", "low=-9223372036854775808"],
                r#"{"big":18446744073709551615,"low":-9223372036854775808}"#,
            ),
            (&["beyond=184467440737095516160000"], r#"{"beyond":184467440737095516160000}"#),
            (&["text=\"123\""], r#"{"text":"123"}"#),
            (&["yes=true", "no=false", "nothing=null"], r#"{"yes":true,"no":false,"nothing":null}"#),
            (&["arg=[\"-a\", {\"b\" : 1}]", "o={ }"], r#"{"arg":["-a",{"b":1}],"o":{}}"#),
            (&["empty=", "eq=a=b", "blank=a b"], r#"{"empty":"","eq":"a=b","blank":"a b"}"#),
            (
                &["a=[1", "b=01", "c=NaN", "d=True", "e='x'"],
                r#"{"a":"[1","b":"01","c":"NaN","d":"True","e":"'x'"}"#,
            ),
            (&["quote=\"", "line=a\nb", "ü=ö"], r#"{"quote":"\"","line":"a\nb","ü":"ö"}"#),
            (&["{\"b\": 18446744073709551615,\n\"a\": \"x=y\"}"], r#"{"b":18446744073709551615,"a":"x=y"}"#),
            (&[" {}"], "{}"),
            (&["-"], r#"{"from":"stdin","b":[1,2]}"#),
        ] {
            assert_eq!(check(words), Ok(Some(expected.to_owned())), "{words:?}");
        }
        assert_eq!(check(&[]), Ok(None));
    }

    #[test]
    fn wrong_words_are_named_with_the_way_out() {
        for (words, wrong, hint) in [
            (&["path"][..], "'path' is no argument", "key=value"),
            (&["a=1", "[1,2]"], "'[1,2]' is no argument", "key=value"),
            (&["=x"], "'=x' has no key", "key=value"),
            (&["a=1", "b=2", "a=3"], "'a=3' gives 'a' a second time", "a='[1,2]'"),
            (&["{\"a\":1}", "b=2"], "'{\"a\":1}' cannot be mixed", "one JSON object"),
            (&["a=1", "-"], "'-' cannot be mixed", "one JSON object"),
            (&["{\"a\":1"], "'{\"a\":1' is not one JSON object: EOF", "key=value"),
            (&["{} {}"], "'{} {}' is not one JSON object: trailing", "key=value"),
            (&["{\"a\":1,\"b\":2,\"a\":3}"], "'{\"a\":1,\"b\":2,\"a\":3}' has the key 'a' twice", ""),
        ] {
            let Err(Error::Usage(text)) = check(words) else { panic!("{words:?} are taken") };
            assert!(text.starts_with(wrong) && text.contains(hint), "{text}");
        }
        let word = OsString::from_vec(b"a=\xff".to_vec());
        let Err(Error::Usage(text)) = Arguments::read(&[word], &b""[..]) else { panic!("taken") };
        assert!(text.contains("not UTF-8"), "{text}");
        for stdin in [&b""[..], b"[1]", b"5", b"{\"a\":1}x", b"\xff"] {
            let Err(Error::Usage(text)) = Arguments::read(&["-".into()], stdin) else { panic!("taken") };
            assert!(text.starts_with("'-'"), "{text}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let number = any::<f64>().prop_filter_map("finite", serde_json::Number::from_f64);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            number.prop_map(Value::Number),
            any::<String>().prop_map(Value::from),
            "[0-9tfn\\[\\]{}\"]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_object_goes_through_words(members in proptest::collection::hash_map("[^={\\-\\s][^=]*", any_value(), 1..6)) {
            let object: Value = members.into_iter().collect();
            let words = object.as_object().unwrap().iter().map(|(key, value)| match value.as_str() {
                // As people write it, unless it would be taken for something else.
                Some(text) if serde_json::from_str::<Value>(text).is_err() => format!("{key}={text}"),
                _ => format!("{key}={value}"),
            });
            let words: Vec<OsString> = words.map(OsString::from).collect();
            // Reading a double may cost serde_json its last bit; both sides are read.
            let plain: Value = serde_json::from_str(&object.to_string()).unwrap();
            let text = Arguments::read(&words, std::io::empty()).unwrap().unwrap().text();
            prop_assert_eq!(text.lines().count(), 1);
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), plain.clone());
            let json = Arguments::read(&[object.to_string().into()], std::io::empty()).unwrap().unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&json.text()).unwrap(), plain);
        }
    }
}
