//! Broken messages: one error each, and in step again. The texts are those of qemu-ga 11.1 (reference §1.4); clients match a part.

use crate::table::Table;

const PING: &str = "\n{\"execute\":\"guest-ping\",\"id\":\"next\"}";
const PONG: &str = "\n{\"return\": {}, \"id\": \"next\"}";

fn parse_error(place: &str, what: &str) -> String {
    format!(r#"{{"error": {{"class": "GenericError", "desc": "{place}: JSON parse error, {what}"}}}}"#)
}

/// Each broken message gets its error, and the ping after it its reply.
fn check(cases: &[(&str, &str, &str)]) {
    let table = cases.iter().fold(Table::new(), |table, (broken, place, what)| {
        table.ask(format!("{broken}{PING}"), parse_error(place, what) + PONG)
    });
    table.check_streams();
}

#[test]
fn bytes_that_no_token_has() {
    check(&[
        ("+1", "1:1", "stray '+'"),
        (".5", "1:1", "stray '.'"),
        ("#", "1:1", "stray '#'"),
        ("  /* c */", "1:3", "stray '/'"),
        ("%s", "1:1", "stray '%'"),
        ("Nan", "1:1", "stray 'N'"),
        ("01", "1:1", "stray '01'"),
        ("-x", "1:1", "stray '-x'"),
        ("1.x", "1:1", "stray '1.x'"),
        ("1e+x", "1:1", "stray '1e+x'"),
        ("\u{feff}", "1:1", "stray '\\uFFFD'"),
        ("\"a\tb\"", "1:1", "stray '\\\"a\\t'"),
        ("'a\u{1}", "1:1", "stray ''a\\u0001'"),
    ]);
}

#[test]
fn bytes_that_no_token_has_within_a_message() {
    check(&[
        (r#"{"execute":#"#, "1:12", "stray '#'"),
        ("{\"execute\":\"guest-ping\",\"id\":\"a\tb\"}", "1:30", "stray '\\\"a\\t'"),
        ("{\"id\":\"a\rb\"}", "1:7", "stray '\\\"a\\r'"),
        ("[1,\n01]", "2:1", "stray '01'"),
        ("{\"a\":[{\"b\":@}]}", "1:12", "stray '@'"),
    ]);
}

#[test]
fn words_that_mean_nothing() {
    check(&[
        ("abc", "1:1", "invalid keyword 'abc'"),
        ("garbage", "1:1", "invalid keyword 'garbage'"),
        ("nul", "1:1", "invalid keyword 'nul'"),
        ("nulll", "1:1", "invalid keyword 'nulll'"),
        (r#"{"execute":yes}"#, "1:12", "invalid keyword 'yes'"),
        ("[nan]", "1:2", "invalid keyword 'nan'"),
    ]);
}

#[test]
fn tokens_of_the_wrong_kind() {
    check(&[
        ("}", "1:1", "expecting value"),
        ("]", "1:1", "expecting value"),
        (",", "1:1", "expecting value"),
        (":", "1:1", "expecting value"),
        ("[,]", "1:2", "expecting value"),
        ("[1,]", "1:4", "expecting value"),
        (r#"{"a":}"#, "1:6", "expecting value"),
        (r#"{"a"::1}"#, "1:6", "expecting value"),
        ("{,}", "1:2", "expecting key"),
        (r#"{"a":1,}"#, "1:8", "expecting key"),
        ("{1:2}", "1:2", "expecting key"),
        ("{:}", "1:2", "expecting key"),
        ("{null:1}", "1:2", "expecting key"),
        ("{[]:1}", "1:2", "expecting key"),
        (r#"{"a" 1}"#, "1:6", "expecting ':'"),
        (r#"{"a"}"#, "1:5", "expecting ':'"),
        (r#"{"a","b"}"#, "1:5", "expecting ':'"),
        (r#"{"a":1 "b":2}"#, "1:8", "expected ',' or '}'"),
        (r#"{"a":1:2}"#, "1:7", "expected ',' or '}'"),
        ("[1 2]", "1:4", "expected ',' or ']'"),
        ("[1:2]", "1:3", "expected ',' or ']'"),
        ("[[] {}]", "1:5", "expected ',' or ']'"),
    ]);
}

#[test]
fn brackets_that_do_not_match() {
    check(&[
        ("{]", "1:2", "expecting key"),
        ("[}", "1:2", "expecting value"),
        ("[1}", "1:3", "expected ',' or ']'"),
        (r#"{"a":1]"#, "1:7", "expected ',' or '}'"),
    ]);
}

#[test]
fn keys_that_stand_twice() {
    // Told where the second one's value ends, and what is wrong before that goes first.
    check(&[
        (r#"{"a":1,"a" 2}"#, "1:12", "expecting ':'"),
        (r#"{"a":1,"a":2}"#, "1:12", "duplicate key"),
        (r#"{"execute":"guest-ping","execute":"guest-ping"}"#, "1:35", "duplicate key"),
        (r#"{"execute":"guest-ping","id":{"x":[{"b":1,"b":1}]}}"#, "1:47", "duplicate key"),
        (r#"{"a":1,"\u0061":2}"#, "1:17", "duplicate key"),
        (r#"{"a":1,'a':2}"#, "1:12", "duplicate key"),
        (r#"{"":1,"":2}"#, "1:10", "duplicate key"),
    ]);
    Table::new()
        .ask(
            r#"{"execute":"guest-ping","id":{"a":{"a":[{"a":1},{"a":1}]}}}"#,
            r#"{"return": {}, "id": {"a": {"a": [{"a": 1}, {"a": 1}]}}}"#,
        )
        .check();
}

#[test]
fn strings_that_are_not_text() {
    check(&[
        (r#""\q""#, "1:1", "invalid escape sequence in string"),
        (r#""\x41""#, "1:1", "invalid escape sequence in string"),
        (r#"{"execute":"guest-ping","id":"\0"}"#, "1:30", "invalid escape sequence in string"),
        (r#""\ud83d""#, "1:1", r"\\ud83d is not a valid Unicode character"),
        (r#""\ud83d\u0041""#, "1:1", r"\\ud83d is not a valid Unicode character"),
        (r#""\ude00""#, "1:1", r"\\ude00 is not a valid Unicode character"),
        (r#""\ufffe""#, "1:1", r"\\ufffe is not a valid Unicode character"),
        (r#""\uFDD0""#, "1:1", r"\\uFDD0 is not a valid Unicode character"),
    ]);
    let utf8 = |bytes: &[u8]| [b"[\"a", bytes, b"\"]", PING.as_bytes()].concat();
    let mut table = Table::new();
    for bytes in [
        &b"\x80"[..],
        b"\xc3(",
        b"\xc1\x81",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xef\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf8",
    ] {
        table = table.ask(utf8(bytes), parse_error("1:2", "invalid UTF-8 sequence in string") + PONG);
    }
    table.check_streams();
}

#[test]
fn several_broken_messages() {
    const ONCE: &str = "a broken message gets one error; the original replies again for what is left of it";
    let (first, second, third) = (
        parse_error("1:1", "invalid keyword 'foo'"),
        parse_error("1:5", "invalid keyword 'bar'"),
        parse_error("1:9", "invalid keyword 'baz'"),
    );
    let orphan = parse_error("1:38", "expecting value");
    let stray = parse_error("1:30", "stray '…'");
    Table::new()
        .ask(format!("foo bar baz{PING}"), format!("{first}\n{second}\n{third}{PONG}"))
        .ask(format!(r#"{{"execute":"guest-ping"}}}}{PING}"#), format!("{{\"return\": {{}}}}\n{}{PONG}", parse_error("1:25", "expecting value")))
        .differs(
            ONCE,
            format!(r#"[+1, {{"b":[2]}}]{PING}"#),
            parse_error("1:2", "stray '+'") + PONG,
            &[&format!(
                "{}\n{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"QMP input member 'b' is unexpected\"}}}}\n{}{PONG}",
                parse_error("1:2", "stray '+'"),
                parse_error("1:4", "expecting value")
            )],
        )
        .differs(
            ONCE,
            format!("{{\"execute\":\"guest-ping\",\"id\":\"a\u{2}b\"}}{PING}"),
            format!("{stray}{PONG}"),
            &[&format!("{stray}\n{orphan}{PONG}")],
        )
        .check_streams();
}
