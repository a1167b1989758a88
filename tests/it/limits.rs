//! The limits of one message, each exactly at its boundary: 1,024 brackets deep, 2,097,152 tokens, 64 MiB of tokens.

use std::io::Write;
use std::net::Shutdown;

use waga_tests::agent::{Agent, Program};

use crate::each;
use crate::table::rest;

const NOT_AN_OBJECT: &str = "QMP input must be a JSON object";

/// Sends a message and a ping: the replies, of which the last has to be the ping's.
fn replies(agent: &Agent, message: &[u8]) -> Vec<String> {
    let mut client = agent.client();
    let mut sending = client.stream().try_clone().unwrap();
    let ping = b"\n{\"execute\":\"guest-ping\"}";
    let answers = std::thread::scope(|scope| {
        scope.spawn(move || {
            // The agent may answer before all is sent, and the reader must not wait for us.
            sending.write_all(message).unwrap();
            sending.write_all(ping).unwrap();
            sending.shutdown(Shutdown::Write).unwrap();
        });
        rest(&mut client)
    });
    let mut replies: Vec<String> = answers.lines().map(str::to_owned).collect();
    assert_eq!(replies.pop().as_deref(), Some("{\"return\": {}}"), "out of step");
    replies
}

/// The message within a limit gets its reply, the one beyond it the limit's error: just one, which the original gives since version 11.
fn check(within: &[u8], reply: &str, beyond: &[u8], limit: &str) {
    each(|program: &Program| {
        let agent = program.setup().quiet().start();
        let fits = replies(&agent, within);
        assert!(fits.len() == 1 && fits[0].contains(reply), "{:?}", fits.first());
        let error = format!(r#"{{"error": {{"class": "GenericError", "desc": "{limit}"}}}}"#);
        let too_much = replies(&agent, beyond);
        assert_eq!(too_much.first(), Some(&error));
        assert!(too_much.len() == 1 || !program.since(11), "{} replies", too_much.len());
    });
}

#[test]
fn nesting_ends_at_1024() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    check(&nested(1024), NOT_AN_OBJECT, &nested(1025), "JSON nesting depth limit exceeded");
    let request = |depth: usize| {
        let id = format!("{}{}", r#"{"a":"#.repeat(depth), "1") + &"}".repeat(depth);
        format!(r#"{{"execute":"guest-ping","id":{id}}}"#).into_bytes()
    };
    check(&request(1023), r#""id": {"a": {"a": "#, &request(1024), "JSON nesting depth limit exceeded");
}

#[test]
fn tokens_end_at_2097152() {
    // `[` and `]`, a number and a comma for each but the last, and a pair of brackets for one number to make it even.
    let list = |first: &str, numbers: usize| format!("[{first}{}]", ",0".repeat(numbers)).into_bytes();
    let numbers = (2_097_152 - 4) / 2;
    check(&list("[]", numbers), NOT_AN_OBJECT, &list("[0]", numbers), "JSON token count limit exceeded");
}

#[test]
fn sizes_end_below_64_mebibytes() {
    let string = |size: usize| [b"\"", &vec![b'x'; size - 2][..], b"\""].concat();
    let limit = 64 << 20;
    check(&string(limit - 1), NOT_AN_OBJECT, &string(limit), "JSON token size limit exceeded");
    // White space does not count, and tokens count together.
    let list = |size: usize| [b"[", &[b' '; 1000][..], &string(size - 5), b",1]"].concat();
    check(&list(limit - 1), NOT_AN_OBJECT, &list(limit + 1), "JSON token size limit exceeded");
}

#[test]
fn a_message_that_never_ends_is_left_by_ff() {
    each(|program: &Program| {
        let agent = program.setup().quiet().start();
        let mut client = agent.client();
        for open in [&"[".repeat(1025), &"{\"a\":".repeat(1100), "[1 2 ", "{\"a\":[{\"b\" 1 "] {
            client.send(open).unwrap();
            if program.is_waga() {
                // The original before 11 tells only when the brackets balance.
                assert!(client.text().unwrap().contains("error"));
            }
            client.sync(77).unwrap();
        }
    });
}

#[test]
fn floods_without_an_end_cost_bounded_memory() {
    let Some(agent) = crate::waga() else { return };
    let agent = agent.program().setup().quiet().start();
    let mut client = agent.client();
    client.sync(1).unwrap();
    agent.forget_peak();
    let before = agent.memory("VmHWM");
    // White space, brackets, bytes that mean nothing, and a string that has passed its limit by far.
    for (flood, errors) in [(&b" \n\t\r"[..], 0), (b"[[[[", 1), (b"{{{{", 1)] {
        for _ in 0..64 {
            client.send(flood.repeat(64 << 10)).unwrap();
        }
        (0..errors).for_each(|_| assert!(client.text().unwrap().contains("error")));
        client.sync(2).unwrap();
    }
    let grown = agent.memory("VmHWM").saturating_sub(before);
    assert!(grown < 4 << 20, "{} KiB for floods of 16 MiB", grown >> 10);
    client.send("\"").unwrap();
    for _ in 0..80 {
        client.send(vec![b'x'; 1 << 20]).unwrap();
    }
    assert!(client.text().unwrap().contains("JSON token size limit exceeded"));
    client.sync(3).unwrap();
    let grown = agent.memory("VmHWM").saturating_sub(before);
    assert!(grown < 160 << 20, "{} MiB for a string of 80 MiB", grown >> 20);
    agent.until("it is given back", |agent| agent.memory("VmRSS") < before + (8 << 20));
}
