//! Requests found in a stream of bytes: split, joined, spaced, spelt in qemu-ga's dialect, and marked off by 0xFF.

use serde_json::json;
use waga_tests::agent::request;

use crate::table::{Table, shown};
use crate::{each, program, waga};

const PING: &str = r#"{"execute":"guest-ping"}"#;
const PONG: &str = r#"{"return": {}}"#;

#[test]
fn requests_need_no_line() {
    Table::new()
        .ask(PING, PONG)
        .ask(format!("{PING}\n"), PONG)
        .ask(
            r#"{"execute":"guest-ping","id":1}{"execute":"guest-ping","id":2}"#,
            "{\"return\": {}, \"id\": 1}\n{\"return\": {}, \"id\": 2}",
        )
        .ask(format!("{PING} \t\r\n {PING}\n\n\n{PING}"), [PONG; 3].join("\n"))
        .ask(
            "\r\n\t {\t\"execute\"\n:\r\"guest-ping\"\n,\n\"id\" : [ 1\t,2 ] }",
            r#"{"return": {}, "id": [1, 2]}"#,
        )
        .ask(PING.repeat(100), [PONG; 100].join("\n"))
        .ask("", "")
        .ask(" \n\t", "")
        .ask(&PING[..PING.len() - 1], "")
        .check_streams();
}

#[test]
fn both_quotes_are_understood() {
    Table::new()
        .ask("{'execute':'guest-ping'}", PONG)
        .ask(r#"{'execute':"guest-ping",'id':'a"b'}"#, r#"{"return": {}, "id": "a\"b"}"#)
        .ask(r#"{"execute":"guest-ping","id":"it's"}"#, r#"{"return": {}, "id": "it's"}"#)
        .ask(r#"{"execute":"guest-ping","id":"it\'s"}"#, r#"{"return": {}, "id": "it's"}"#)
        .ask(r#"{'execute':'guest-ping','id':'\'\"'}"#, r#"{"return": {}, "id": "'\""}"#)
        .ask(r#"{'execute':'guest-sync','arguments':{'id':1234567012345}}"#, r#"{"return": 1234567012345}"#)
        .check_streams();
}

#[test]
fn a_request_may_be_cut_anywhere() {
    let stream = [
        r#"{"execute":"guest-sync","arguments":{"id":-12}}"#,
        r#" {'execute': 'guest-ping', 'id': "\u00e9\ud83d\ude00'\\"}"#,
        "\n[1.5e3, null]12 nope\n",
        "{\"execute\":\"guest-ping\",\"id\":\"é\"}",
    ]
    .concat();
    let expected = [
        r#"{"return": -12}"#,
        r#"{"return": {}, "id": "\u00E9\uD83D\uDE00'\\"}"#,
        r#"{"error": {"class": "GenericError", "desc": "QMP input must be a JSON object"}}"#,
        r#"{"error": {"class": "GenericError", "desc": "QMP input must be a JSON object"}}"#,
        "JSON parse error, invalid keyword 'nope'",
        r#"{"return": {}, "id": "\u00E9"}"#,
    ];
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        for cut in 0..=stream.len() {
            let (head, tail) = stream.as_bytes().split_at(cut);
            client.send(head).unwrap();
            client.send(tail).unwrap();
            for expected in expected {
                let reply = client.text().unwrap();
                assert!(
                    reply == expected || reply.contains(expected),
                    "cut at {cut}: {reply}, not {expected}"
                );
            }
        }
        for byte in stream.bytes() {
            client.send([byte]).unwrap();
        }
        for expected in expected {
            assert!(client.text().unwrap().contains(expected));
        }
    });
}

#[test]
fn a_delimited_reply_has_its_byte_right_before_it() {
    Table::new()
        .ask(r#"{"execute":"guest-sync-delimited","arguments":{"id":7}}"#, r#"\xff{"return": 7}"#)
        .ask(r#"{"execute":"guest-sync-delimited","arguments":{"id":7},"id":"x"}"#, r#"\xff{"return": 7, "id": "x"}"#)
        .ask(
            r#"{"execute":"guest-sync-delimited","arguments":{"id":"7"}}{"execute":"guest-ping"}"#,
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Invalid parameter type for 'id', expected: integer\"}}\n{\"return\": {}}",
        )
        // What Proxmox sends before each of its commands.
        .ask(
            r#"{"execute":"guest-sync-delimited","arguments":{"id":401234}}{"execute":"guest-ping","arguments":{}}"#,
            "\\xff{\"return\": 401234}\n{\"return\": {}}",
        )
        .check_streams();
}

#[test]
fn the_byte_ff_starts_afresh() {
    const SILENT: &str =
        "a 0xFF between messages is not answered by an error, so that replies can be counted";
    const ONCE: &str = "a message broken off by 0xFF gets one error, whatever was open";
    let broken = r#"{"error": {"class": "GenericError", "desc": "…JSON parse error, stray '…'"}}"#;
    let noise = format!("{broken}\n");
    let synced = r#"\xff{"return": 7}"#;
    let sync = br#"{"execute":"guest-sync-delimited","arguments":{"id":7}}"#;
    let with = |head: &[u8]| [head, b"\xff", &sync[..]].concat();
    Table::new()
        .differs(SILENT, b"\xff", "", &[broken])
        .differs(SILENT, b"\xff\xff\xff\n", "", &[&noise.repeat(3)])
        .differs(SILENT, with(b""), synced, &[&format!("{noise}{synced}")])
        .differs(SILENT, with(b"\n"), synced, &[&format!("{noise}{synced}")])
        .differs(
            SILENT,
            with(PING.as_bytes()),
            format!("{PONG}\n{synced}"),
            &[&format!("{PONG}\n{noise}{synced}")],
        )
        .differs(
            ONCE,
            with(br#"{"execute":"guest-ping","id":[{"#),
            format!("{noise}{synced}"),
            &[&format!("{noise}{synced}")],
        )
        .ask(with(br#"{"execute":"gu"#), format!("{noise}{synced}"))
        .ask(with(b"{\"a\xfe"), format!("{noise}{synced}"))
        .check_streams();
}

#[test]
fn every_id_comes_back() {
    const DOUBLE: &str = "a number too large for a double keeps its spelling; the original replies with `inf`, which is not JSON";
    let mut table = Table::new();
    for (id, spelt) in [
        ("0", "0"),
        ("-0", "0"),
        ("-1", "-1"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "9223372036854775808"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "1.8446744073709552e+19"),
        ("-9223372036854775809", "-9.2233720368547758e+18"),
        ("0.1", "0.10000000000000001"),
        ("1.0", "1"),
        ("-0.0", "-0"),
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("1e-7", "9.9999999999999995e-08"),
        ("123456789.125", "123456789.125"),
        ("null", "null"),
        ("true", "true"),
        ("false", "false"),
        ("\"\"", "\"\""),
        ("\"x1\"", "\"x1\""),
        ("[]", "[]"),
        ("{}", "{}"),
        (r#"[ 1,[null ,{"a":true}],"b"]"#, r#"[1, [null, {"a": true}], "b"]"#),
        (r#""\" \\ \b \f \n \r \t \/ /""#, r#""\" \\ \b \f \n \r \t / /""#),
        (r#""\u0001\u001f\u0000 ~""#, r#""\u0001\u001F\u0000 ~""#),
        ("\"\x7f\"", r#""\u007F""#),
        ("\"é€😀\"", r#""\u00E9\u20AC\uD83D\uDE00""#),
        (r#""\uD83d\uDE00\u00E9""#, r#""\uD83D\uDE00\u00E9""#),
    ] {
        table = table
            .ask(format!(r#"{{"execute":"guest-ping","id":{id}}}"#), format!(r#"{{"return": {{}}, "id": {spelt}}}"#))
            .ask(
                format!(r#"{{"id":{id},"execute":"nope"}}"#),
                format!(r#"{{"id": {spelt}, "error": {{"class": "CommandNotFound", "desc": "The command nope has not been found"}}}}"#),
            );
    }
    const ZERO: &str =
        "RFC 8259 lets an exponent follow a zero; the original takes the zero and the rest for two tokens";
    table
        .differs(
            ZERO,
            r#"{"execute":"guest-ping","id":0e5}"#,
            r#"{"return": {}, "id": 0}"#,
            &[r#"{"error": {"class": "GenericError", "desc": "1:31: JSON parse error, expected ',' or '}'"}}"#],
        )
        .differs(
            DOUBLE,
            r#"{"execute":"guest-ping","id":1e400}"#,
            r#"{"return": {}, "id": 1e400}"#,
            &[r#"{"return": {}, "id": inf}"#],
        )
        .check();
}

#[test]
fn numbers_are_exact_up_to_their_type() {
    const TYPE: &str = r#"{"error": {"class": "GenericError", "desc": "Invalid parameter type for 'id', expected: integer"}}"#;
    let mut table = Table::new();
    for id in ["0", "-1", "9223372036854775807", "-9223372036854775808", "4294967296", "9007199254740993"] {
        let reply = format!(r#"{{"return": {id}}}"#);
        table = table.ask(format!(r#"{{"execute":"guest-sync","arguments":{{"id":{id}}}}}"#), reply);
    }
    for id in [
        "9223372036854775808",
        "18446744073709551615",
        "-9223372036854775809",
        "1.0",
        "1e3",
        "\"1\"",
        "true",
        "null",
        "[]",
        "{}",
    ] {
        table = table.ask(format!(r#"{{"execute":"guest-sync","arguments":{{"id":{id}}}}}"#), TYPE);
    }
    table.check();
}

#[test]
fn the_largest_id_is_a_mebibyte() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    for (length, fits) in [((1 << 20) - 2, true), ((1 << 20) - 1, false)] {
        let id = "x".repeat(length);
        let reply = client.ask(&json!({"execute": "guest-ping", "id": id})).unwrap();
        assert_eq!(reply["id"].as_str() == Some(&id), fits, "an id of {length} bytes");
    }
    assert_eq!(client.ask(&json!({"execute": "guest-ping"})).unwrap(), json!({"return": {}}));
}

#[test]
fn requests_of_one_connection_are_answered_in_order() {
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        let many: String = (0..500).map(|id| request("guest-sync", &json!({"id": id}))).collect();
        client.send(many).unwrap();
        for id in 0..500 {
            assert_eq!(client.text().unwrap(), format!("{{\"return\": {id}}}"));
        }
    });
}

#[test]
fn nothing_is_said_unasked() {
    let agent = program().agent();
    let mut client = agent.client();
    client.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.line().unwrap().map(|line| shown(&line)), None);
}
