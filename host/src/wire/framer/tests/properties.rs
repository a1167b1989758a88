//! What holds for any bytes: cuts do not matter, nothing panics, valid JSON is understood, and the stream is in step again when it should be.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::super::{Fate, Framer, State};
use super::{Outcome, outcomes, outcomes_of};
use crate::wire::number::Step;
use crate::wire::oracle;

/// Whole messages of every kind, to be broken.
const MESSAGES: &[&str] = &[
    r#"{"execute":"guest-ping"}"#,
    r#"{"execute":"guest-sync","arguments":{"id":-12},"id":[1,{"a":null},"b"]}"#,
    r#"{'execute':'x','arguments':{'s':'a\'b"c\u0000','u':18446744073709551615}}"#,
    r#"{"execute":"\ud83d\ude00é","id":{"x":[true,false],"y":-1.5e-7}} "#,
    "[0,[],{},\"\\\\\"]",
    "{\n\t\"a\": {\"b\": {\"c\": []}}}\r\n",
    "nul 12 'x' ",
];

/// What breaks them.
const PIECES: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"'",
    b"\\",
    b"\\u",
    b"\\ud83d",
    b"\\q",
    b"0",
    b"-",
    b"1.",
    b"1e",
    b"+",
    b"true",
    b"x",
    b"\t",
    b"\n",
    b"\r",
    b" ",
    b"\0",
    b"\x7f",
    b"\x80",
    b"\xc0\x80",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xfe",
    b"\xff",
    b"%",
    b"A",
    b"\"a\":1,\"a\":2",
    b"\xf0\x9f\x98\x80",
];

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<Index>(), 0..6_usize, select(PIECES), select(MESSAGES));
    let mutated = (select(MESSAGES), vec(change, 0..6)).prop_map(|(message, changes)| {
        let mut bytes = message.as_bytes().to_vec();
        for (place, count, piece, message) in changes {
            let at = place.index(bytes.len() + 1);
            match count {
                0 => drop(bytes.splice(at..at, message.bytes())),
                1 | 2 => drop(bytes.splice(at..at, piece.iter().copied())),
                _ => drop(bytes.drain(at..bytes.len().min(at + count - 2))),
            }
        }
        bytes
    });
    let pieces = vec(select(PIECES), 0..24).prop_map(|pieces| pieces.concat());
    prop_oneof![3 => mutated, 2 => pieces, 1 => vec(any::<u8>(), 0..64)]
}

const SYNC: &[u8] = br#"{"execute":"guest-sync","arguments":{"id":77},"id":"s"}"#;

fn is_sync(outcome: Option<&Outcome>) -> bool {
    let expected = Outcome::Request {
        id: "\"s\"".to_owned(),
        command: "guest-sync".to_owned(),
        arguments: r#"{"id":77}"#.to_owned(),
    };
    outcome == Some(&expected)
}

/// JSON as anyone may write it. Numbers are such that reading them loses nothing.
fn value() -> impl Strategy<Value = Value> {
    let character = any::<char>().prop_filter("no noncharacters", |&character| {
        let code = u32::from(character);
        code & 0xfffe != 0xfffe && !(0xfdd0..0xfdf0).contains(&code)
    });
    let special = select(&['"', '\'', '\\', '/', '\n', '\t', '\0', '\u{7f}', 'é', '😀'][..]);
    let text = vec(prop_oneof![character, special], 0..12).prop_map(String::from_iter);
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        select(&[0.5, -1.25, 1e20, 1.0 / 1024.0][..]).prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(text.clone(), inner, 0..20)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Writes a value in one of the many ways that `choices` picks: white space, quotes, escapes.
fn write(value: &Value, choices: &mut impl Iterator<Item = u8>, out: &mut String) {
    let space = |choices: &mut dyn Iterator<Item = u8>| {
        ["", "", "", " ", "\n", "\t\r\n "][usize::from(choices.next().unwrap_or(0)) % 6]
    };
    out.push_str(space(choices));
    match value {
        Value::String(text) => write_text(text, choices, out),
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write(element, choices, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, value)) in members.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write_text(key, choices, out);
                out.push_str(space(choices));
                out.push(':');
                write(value, choices, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
    out.push_str(space(choices));
}

fn write_text(text: &str, choices: &mut impl Iterator<Item = u8>, out: &mut String) {
    let quote = if choices.next().unwrap_or(0) & 1 == 0 { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        let choice = choices.next().unwrap_or(0) % 4;
        let short = "\"'\\/\x08\x0c\n\r\t".find(character).map(|at| char::from(b"\"'\\/bfnrt"[at]));
        match short {
            Some(letter) if choice < 2 => out.extend(['\\', letter]),
            _ if choice == 2 || character < ' ' || character == quote || character == '\\' => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => out.push(character),
        }
    }
    out.push(quote);
}

/// Four times as many cases as usual: they are quick.
fn often() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: 4 * usual.cases, failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(often())]

    #[test]
    fn cuts_do_not_matter(input in hostile(), cuts in vec(any::<usize>(), 0..8)) {
        let whole = outcomes(&input, &[]);
        prop_assert_eq!(&outcomes(&input, &cuts), &whole);
        prop_assert_eq!(&outcomes(&input, &Vec::from_iter(0..input.len())), &whole);
    }

    #[test]
    fn ff_brings_it_in_step(garbage in hostile()) {
        let told = outcomes(&[&garbage[..], b"\xff", SYNC].concat(), &[]);
        prop_assert!(is_sync(told.last()), "{told:?}");
        // Another 0xFF says nothing, and what was said before is the same.
        let twice = outcomes(&[&garbage[..], b"\xff\n\xff", SYNC].concat(), &[]);
        prop_assert_eq!(twice, told);
    }

    /// A line's end does so after a bad byte, in a token that it cuts short, and wherever nothing is open. Other open messages, and those
    /// with a grammatical fault, need their brackets.
    #[test]
    fn a_line_end_brings_it_in_step_unless_brackets_are_open(garbage in hostile()) {
        let mut framer = Framer::default();
        outcomes_of(&mut framer, &garbage, &[]);
        let open = framer.braces > 0 || framer.brackets > 0;
        let cut = match framer.state {
            State::String { .. } => true,
            State::Number(number) => number.step(b'\n') == Step::Fails,
            _ => false,
        };
        let line = cut || framer.fate == Fate::Swallowed { line: true };
        let told = outcomes_of(&mut framer, &[b"\n", SYNC].concat(), &[]);
        prop_assert_eq!(is_sync(told.last()), line || !open, "{:?}", told);
    }

    /// One error a broken message: a single line whose brackets do not close early gets one, whatever else is in it.
    #[test]
    fn a_broken_line_gets_one_error(message in select(&MESSAGES[..4]), at in any::<Index>(), bad in select(&[b'%', 1, 0xfe][..])) {
        let mut bytes = message.as_bytes().to_vec();
        let at = at.index(bytes.len() - 1) + 1;
        bytes.insert(at, bad);
        bytes.push(b'\n');
        let told = outcomes(&[&bytes[..], SYNC].concat(), &[]);
        prop_assert!(is_sync(told.last()), "{told:?}");
        prop_assert!(told.iter().filter(|outcome| outcome.is_fault()).count() <= 1, "{told:?}");
    }

    #[test]
    fn valid_json_is_understood(value in value(), choices in vec(any::<u8>(), 0..400), cuts in vec(any::<usize>(), 0..4)) {
        let mut choices = choices.into_iter();
        let mut message = String::new();
        write(&json!({"execute": "x", "arguments": {"value": value}, "id": value}), &mut choices, &mut message);
        let told = outcomes(message.as_bytes(), &cuts);
        let [Outcome::Request { id, command, arguments }] = &told[..] else {
            panic!("{message}: {told:?}");
        };
        prop_assert_eq!(command, "x");
        prop_assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"value": value}));
        // Doubles that are whole are echoed as integers, as qemu-ga does.
        let echoed: Value = serde_json::from_str(id).unwrap();
        prop_assert!(alike(&echoed, &value), "{id}");
    }

    #[test]
    fn arguments_of_any_shape_are_read_or_refused(input in hostile(), value in value(), name in select(&["i", "u", "small", "f", "b", "s", "kind", "list", "records", "encoded", "span", "a"][..])) {
        oracle::arguments(&input);
        oracle::arguments(json!({name: value}).to_string().as_bytes());
        oracle::arguments(json!({name: [value]}).to_string().as_bytes());
        oracle::arguments(json!({"records": [{"a": value, "b": {"a": 1, "c": [1, value]}}], "i": value}).to_string().as_bytes());
    }

    #[test]
    fn base64_is_read_the_same_in_place(text in "([A-Za-z0-9+/]{4}){0,8}[A-Za-z0-9+/=\n\r\u{e9}\"/]{0,6}") {
        oracle::arguments(json!({"s": text}).to_string().as_bytes());
        oracle::arguments(json!({"s": text}).to_string().replace('/', "\\/").as_bytes());
    }
}

fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| alike(one, other)))
        }
        _ => one == other,
    }
}
