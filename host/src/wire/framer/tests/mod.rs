//! Every lexical rule and every fault, with the exact reply and place; then properties of any bytes, and hostile ones.

mod hostile;
mod properties;

use super::Framer;
use crate::wire::oracle::{Outcome, outcomes, outcomes_of};

/// What a stream says, a line each: an error's text, or the arguments of a request between its command and its `id`.
fn told(input: &[u8]) -> Vec<String> {
    outcomes(input, &[]).into_iter().map(tell).collect()
}

fn tell(outcome: Outcome) -> String {
    match outcome {
        Outcome::Request { id, command, arguments } => format!("{command} {arguments} {id}"),
        Outcome::Refused(line) => {
            let reply: serde_json::Value = serde_json::from_str(&line).expect("a reply is JSON");
            reply["error"]["desc"].as_str().expect("an error has a text").replace("JSON parse error, ", "")
        }
    }
}

const PING: &[u8] = b"\n{\"execute\":\"ping\"}";

/// Each input gets exactly these replies, and the request on the next line is understood.
#[track_caller]
fn check<T: AsRef<[u8]> + ?Sized>(cases: &[(&T, &[&str])]) {
    for (input, expected) in cases {
        let input = [input.as_ref(), PING].concat();
        let expected: Vec<_> = expected.iter().chain(&["ping {} "]).map(|&text| text.to_owned()).collect();
        assert_eq!(told(&input), expected, "{}", input.escape_ascii());
    }
}

const NO_OBJECT: &str = "QMP input must be a JSON object";

#[test]
fn values_are_found_by_structure() {
    check(&[
        (r#"{"execute":"a"}{"execute":"b"}"#, &["a {} ", "b {} "][..]),
        ("{\"execute\"\n:\t\"a\"\r,\"id\" : [ 1 , { } ] }", &["a {} [1, {}]"]),
        (
            r#"{"execute":"a","arguments":{"x":[1,-2.5e+7,"]}"],"y":{}},"id":null}"#,
            &[r#"a {"x":[1,-2.5e+7,"]}"],"y":{}} null"#],
        ),
        (r#"{'execute':'a','id':'"'}"#, &[r#"a {} "\"""#]),
        (r#"{"id":7}"#, &["QMP input lacks member 'execute'"]),
        ("[1,[]]", &[NO_OBJECT]),
        ("[]", &[NO_OBJECT]),
        (r#""x"'y'"#, &[NO_OBJECT, NO_OBJECT]),
        ("true false null 0 -0 -0.5E-1 10", &[NO_OBJECT; 7]),
        ("", &[]),
        (" \t\r\n", &[]),
    ]);
}

#[test]
fn scalars_end_where_the_next_byte_shows_it() {
    check(&[
        ("1\"a\"", &[NO_OBJECT, NO_OBJECT][..]),
        ("1[]", &[NO_OBJECT, NO_OBJECT]),
        ("1true", &[NO_OBJECT, NO_OBJECT]),
        ("1}", &[NO_OBJECT, "1:2: expecting value"]),
        ("1-1", &[NO_OBJECT, NO_OBJECT]),
        ("truefalse", &["1:1: invalid keyword 'truefalse'"]),
    ]);
    assert!(told(b"12").is_empty(), "more digits may come");
    assert!(told(b"true").is_empty());
    assert_eq!(told(b"12\xff"), [NO_OBJECT]);
}

#[test]
fn bytes_that_no_token_has() {
    check(&[
        (&b"+1"[..], &["1:1: stray '+'"][..]),
        (b"  .5", &["1:3: stray '.'"]),
        (b"01", &["1:1: stray '01'"]),
        (b"-01", &["1:1: stray '-01'"]),
        (b"1.", &["1:1: stray '1.\n'"]),
        (b"1.x", &["1:1: stray '1.x'"]),
        (b"1e", &["1:1: stray '1e\n'"]),
        (b"1e+", &["1:1: stray '1e+\n'"]),
        (b"-", &["1:1: stray '-\n'"]),
        (b"0x10", &[NO_OBJECT, "1:2: invalid keyword 'x'", NO_OBJECT]),
        (b"NaN", &["1:1: stray 'N'"]),
        (b"Infinity", &["1:1: stray 'I'"]),
        (b"-Infinity", &["1:1: stray '-I'"]),
        (b"// note", &["1:1: stray '/'"]),
        (b"%d", &["1:1: stray '%'"]),
        (b"\\", &["1:1: stray '\\'"]),
        (b"\x00", &["1:1: stray '\0'"]),
        (b"\x00\x01", &["1:1: stray '\0'", "1:2: stray '\x01'"]),
        (b"\x7f", &["1:1: stray '\x7f'"]),
        (b"\xfe", &["1:1: stray '\u{fffd}'"]),
        (b"\xef\xbb\xbf{\"execute\":\"a\"}", &["1:1: stray '\u{fffd}'", "a {} "]),
        (b"{\"a\":+1,\"b\":[{}]}{\"execute\":\"b\"}", &["1:6: stray '+'", "b {} "]),
        (b"{\"a\":[01]}{\"execute\":\"b\"}", &["1:7: stray '01'", "b {} "]),
        (b"[)]", &["1:2: stray ')'"]),
        // The bytes of a broken token that are structure still count.
        (b"[-]{\"execute\":\"b\"}", &["1:2: stray '-]'", "b {} "]),
    ]);
}

#[test]
fn strings_end_at_a_control_byte() {
    check(&[
        (&b"\"a\tb\""[..], &["1:1: stray '\"a\t'"][..]),
        (b"\"a\0b\"", &["1:1: stray '\"a\0'"]),
        (b"\"a", &["1:1: stray '\"a\n'"]),
        (b"'a", &["1:1: stray ''a\n'"]),
        (b"\"a\\", &["1:1: stray '\"a\\\n'"]),
        (b"\"a\xfe\"", &["1:1: stray '\"a\u{fffd}'"]),
        (b"{\"execute\":\"a\",\"id\":\"a\tb\"}", &["1:21: stray '\"a\t'"]),
        (b"{\"execute\":\"a", &["1:12: stray '\"a\n'"]),
    ]);
    let long = [b"[\"", &b"x".repeat(1000)[..], b"\x01\"]"].concat();
    check(&[(&long, &[format!("1:2: stray '\"{}…\u{1}'", "x".repeat(199)).as_str()])]);
}

#[test]
fn strings_that_are_not_text() {
    let bad = |inner: &[u8], why: &str| {
        for quote in [b"\"", b"'"] {
            let why = why.replace('"', std::str::from_utf8(quote).unwrap());
            let string = [quote, inner, quote].concat();
            check(&[
                (&string, &[format!("1:1: {why}").as_str()][..]),
                (&[b"{\"a\":", &string[..], b",\"b\":1}"].concat(), &[&format!("1:6: {why}")]),
                (&[b"{", &string[..], b":1}"].concat(), &[&format!("1:2: {why}")]),
            ]);
        }
    };
    for escape in ["\\q", "\\x41", "\\0", "\\U0041", "\\ ", "\\é"] {
        bad(escape.as_bytes(), "invalid escape sequence in string");
    }
    for (escape, shown) in [
        ("\\ud83d", "\\ud83d"),
        ("\\ud83d\\u0041", "\\ud83d"),
        ("\\ud83d\\ud83d", "\\ud83d"),
        ("\\ude00\\ud83d", "\\ude00"),
        ("\\uFFFE", "\\uFFFE"),
        ("\\uffff", "\\uffff"),
        ("\\uFDD0", "\\uFDD0"),
        ("\\ud83f\\udfff", "\\ud83f\\udfff"),
        ("\\u12g4", "\\u12g4"),
        ("\\u", "\\u\""),
        ("\\u123", "\\u123\""),
    ] {
        bad(escape.as_bytes(), &format!("{shown} is not a valid Unicode character"));
    }
    for bytes in [
        &b"\x80"[..],
        b"\xc3(",
        b"\xc3",
        b"\xc1\x81",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xef\xbf\xbf",
        b"\xef\xb7\x90",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xc3\\n\xa9",
    ] {
        bad(bytes, "invalid UTF-8 sequence in string");
    }
}

#[test]
fn tokens_of_the_wrong_kind() {
    check(&[
        ("}", &["1:1: expecting value"][..]),
        ("]", &["1:1: expecting value"]),
        (",", &["1:1: expecting value"]),
        (":", &["1:1: expecting value"]),
        ("[,1]", &["1:2: expecting value"]),
        ("[1,]", &["1:4: expecting value"]),
        ("[1,,1]", &["1:4: expecting value"]),
        (r#"{"a":}"#, &["1:6: expecting value"]),
        (r#"{"a":,"b":1}"#, &["1:6: expecting value"]),
        ("{,}", &["1:2: expecting key"]),
        ("{1:2}", &["1:2: expecting key"]),
        ("{:}", &["1:2: expecting key"]),
        ("{true:1}", &["1:2: expecting key"]),
        ("{[]:1}", &["1:2: expecting key"]),
        (r#"{"a":1,}"#, &["1:8: expecting key"]),
        (r#"{"a" 1}"#, &["1:6: expecting ':'"]),
        (r#"{"a"}"#, &["1:5: expecting ':'"]),
        (r#"{"a","b"}"#, &["1:5: expecting ':'"]),
        (r#"{"a":1 "b":2}"#, &["1:8: expected ',' or '}'"]),
        (r#"{"a":1:2}"#, &["1:7: expected ',' or '}'"]),
        ("[1 2]", &["1:4: expected ',' or ']'"]),
        ("[1:2]", &["1:3: expected ',' or ']'"]),
        ("[[] {}]", &["1:5: expected ',' or ']'"]),
        ("[nul]", &["1:2: invalid keyword 'nul'"]),
        ("[trueish,{}]", &["1:2: invalid keyword 'trueish'"]),
        ("foo bar", &["1:1: invalid keyword 'foo'", "1:5: invalid keyword 'bar'"]),
        // A bracket that closes nothing ends the message, as it does for qemu-ga.
        ("[}", &["1:2: expecting value"]),
        ("{]", &["1:2: expecting key"]),
        ("[1}", &["1:3: expected ',' or ']'"]),
        ("]]", &["1:1: expecting value", "1:2: expecting value"]),
        (r#"{"execute":"a"}}"#, &["a {} ", "1:16: expecting value"]),
        // Up to the balance, over lines.
        ("[1 2\n,[\n{\n}]\n]", &["1:4: expected ',' or ']'"]),
    ]);
}

#[test]
fn keys_that_stand_twice() {
    check(&[
        (r#"{"a":1,"a":2}"#, &["1:12: duplicate key"][..]),
        (r#"{"a":1,"a": [2] }"#, &["1:15: duplicate key"]),
        (r#"{"a":1,"\u0061":{"b":{}},"c":1}"#, &["1:24: duplicate key"]),
        (r#"[{"a":1,'a':null}]"#, &["1:13: duplicate key"]),
        (r#"{"":1,"":2}"#, &["1:10: duplicate key"]),
        (r#"{"\n":1,"\u000A":2}"#, &["1:18: duplicate key"]),
        // What is wrong before the second value ends is told instead.
        (r#"{"a":1,"a"}"#, &["1:11: expecting ':'"]),
        (r#"{"a":1,"a":}"#, &["1:12: expecting value"]),
        (r#"{"a":1,"a":[1,2,%]}"#, &["1:17: stray '%'"]),
        (
            r#"{"execute":"a","id":{"execute":{"execute":[{"execute":1},{"execute":1}]}}}"#,
            &[r#"a {} {"execute": {"execute": [{"execute": 1}, {"execute": 1}]}}"#],
        ),
    ]);
}

#[test]
fn lines_and_columns_count_bytes_from_the_start_of_the_connection() {
    check(&[
        ("[]\n\n  }", &[NO_OBJECT, "3:3: expecting value"][..]),
        ("\t}", &["1:2: expecting value"]),
        ("[\"é\" 1]", &["1:7: expected ',' or ']'"]),
        ("\r\n\"a\n[+]", &["2:1: stray '\"a\n'", "3:2: stray '+'"]),
        ("[1\n2]", &["2:1: expected ',' or ']'"]),
    ]);
    let mut framer = Framer::default();
    outcomes_of(&mut framer, b"\n\n[", &[]);
    framer.reset();
    assert_eq!(tell(outcomes_of(&mut framer, b"}", &[]).remove(0)), "1:1: expecting value");
}

#[test]
fn ff_starts_afresh_at_any_byte() {
    let request: &[u8] = br#"{"execute":"a","arguments":{"x":[-1.5e+3,true,"\u0041'",'"']},"id":1}"#;
    for at in 0..request.len() {
        let broken = told(&[&request[..at], b"\xff", request].concat());
        let errors = usize::from(at > 0);
        assert_eq!(broken.len(), errors + 1, "{at}: {broken:?}");
        assert!(broken[errors].starts_with("a {"), "{at}: {broken:?}");
    }
    assert!(told(b"\xff\xff\xff").is_empty());
    assert_eq!(told(b"{\xff\xff}"), ["1:2: stray '\u{fffd}'", "1:4: expecting value"]);
    // After a fault that was told, it is silent.
    assert_eq!(told(b"[}{]\xff{\"execute\":\"a\"}").len(), 3);
    assert_eq!(told(b"[1 2 \xff{\"execute\":\"a\"}"), ["1:4: expected ',' or ']'", "a {} "]);
}
