//! Messages made to cost: each limit at its boundary, time that grows with size and no faster, memory that is bounded and given back.

use serde::Deserialize;
use waga_builtins::qapi::Arguments;

use super::{PING, told};
use crate::wire::{Event, Framer, MAX_DEPTH, MAX_SIZE, MAX_TOKENS, Request};

/// Feeds it all as reads of 64 KiB: the text of each fault, and the length of each message.
fn feed(framer: &mut Framer, input: &[u8]) -> Vec<Result<usize, String>> {
    let mut told = Vec::new();
    for read in input.chunks(64 << 10) {
        let mut rest = read;
        while !rest.is_empty() {
            let (taken, event) = framer.feed(rest);
            rest = &rest[taken..];
            told.extend(event.map(|event| match event {
                Event::Message(message) => Ok(message.text().len()),
                Event::Fault(error) => Err(error.desc),
            }));
            assert!(framer.held() <= MAX_SIZE + MAX_SIZE / 2);
        }
    }
    told
}

/// A limit's error, and in step at once: the next message follows without a byte between.
#[track_caller]
fn refused(input: &[u8], limit: &str) {
    let mut framer = Framer::default();
    assert_eq!(feed(&mut framer, input), [Err(format!("JSON {limit} limit exceeded"))]);
    assert!(framer.held() < 1 << 16, "{} held", framer.held());
    assert_eq!(feed(&mut framer, b"{}"), [Ok(2)]);
}

fn accepted(input: &[u8]) {
    let mut framer = Framer::default();
    assert!(matches!(feed(&mut framer, input)[..], [Ok(_)]));
    assert!(framer.held() < 1 << 16, "{} held", framer.held());
}

/// Runs it, and fails where it works as long as only a quadratic one would: linear ones take half a second. Of the processor's time, for
/// others may have it meanwhile.
fn linear<T>(run: impl FnOnce() -> T) -> T {
    let worked = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
    let start = worked();
    let result = run();
    assert!(worked() - start < 10, "it took {} s", worked() - start);
    result
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    accepted(&nested(MAX_DEPTH));
    refused(&nested(MAX_DEPTH + 1), "nesting depth");
    let objects = |depth: usize| [b"{\"a\":".repeat(depth), b"1".to_vec(), b"}".repeat(depth)].concat();
    accepted(&objects(MAX_DEPTH));
    refused(&objects(MAX_DEPTH + 1), "nesting depth");
    // However much follows, it is one message until it balances, or until 0xFF.
    let mut framer = Framer::default();
    assert_eq!(feed(&mut framer, &b"[{\"a\":".repeat(1 << 18)).len(), 1);
    assert!(framer.held() < 1 << 16);
    assert_eq!(feed(&mut framer, b"\n{}\xff{}"), [Ok(2)]);
}

#[test]
fn tokens_are_bounded() {
    let list = |zeros: usize| [b"[".to_vec(), b"0,".repeat(zeros - 1), b"0]".to_vec()].concat();
    linear(|| accepted(&list((MAX_TOKENS - 1) / 2)));
    linear(|| refused(&list(MAX_TOKENS / 2 + 1), "token count"));
}

#[test]
fn sizes_are_bounded() {
    let string = |size: usize| [b"\"", &vec![b'x'; size - 2][..], b"\""].concat();
    accepted(&string(MAX_SIZE - 1));
    // Its last byte is the one too many, and it is over all the same.
    refused(&string(MAX_SIZE), "token size");
    // Tokens count together, white space does not.
    for (input, fits) in [
        (&b"[\"1234\",12]"[..], true),
        (b"[ \"1234\" , \n\t 12 ]", true),
        (b"[\"1234\",123]", false),
        (b"{\"12\":\"345\"}", false),
        (b"[\"\",12345678901234567890]", false),
        (b"[[[[[[]]]]]]", false),
    ] {
        let mut framer = Framer { size: MAX_SIZE - 12, ..Framer::default() };
        let told = feed(&mut framer, input);
        assert_eq!(told.iter().all(Result::is_ok), fits, "{}: {told:?}", input.escape_ascii());
        assert_eq!(told.len(), 1);
        assert_eq!(feed(&mut framer, b"{}"), [Ok(2)]);
    }
}

/// A token that never ends, in a framer that has already seen nearly all that a message may have.
#[test]
fn endless_tokens_are_bounded() {
    for (start, more) in
        [("[1", "1"), ("[1.", "1"), ("[x", "x"), ("[\"", "\\\\"), ("[\"", "é"), ("['", "\""), ("{\"", "x")]
    {
        let mut framer = Framer::default();
        assert_eq!(feed(&mut framer, start.as_bytes()), []);
        framer.size = MAX_SIZE - 1000;
        let told = feed(&mut framer, more.repeat(10_000).as_bytes());
        assert_eq!(told, [Err("JSON token size limit exceeded".to_owned())], "{start}");
        assert!(framer.held() < 1 << 10);
        assert_eq!(feed(&mut framer, b"\xff{}"), [Ok(2)], "{start}");
    }
}

/// What is kept may be longer than what came, but not than the limit.
#[test]
fn a_plain_spelling_counts_as_much_as_it_takes() {
    let quotes = |count: usize| [b"'", &vec![b'"'; count][..], b"'"].concat();
    let mut framer = Framer::default();
    feed(&mut framer, b"[");
    framer.size = MAX_SIZE - 5000;
    assert_eq!(feed(&mut framer, &quotes(2000)), []);
    assert_eq!(feed(&mut framer, b",1]"), [Ok(2 * 2000 + 2 + 4)]);
    feed(&mut framer, b"[");
    framer.size = MAX_SIZE - 5000;
    assert_eq!(feed(&mut framer, &quotes(2500)), [Err("JSON token size limit exceeded".to_owned())]);
    assert_eq!(feed(&mut framer, b",1]{}"), [Ok(2)]);
}

#[test]
fn time_grows_with_the_size_of_strings() {
    for (what, count) in [
        ("é", 1 << 19),
        ("aé", 1 << 18),
        ("😀", 1 << 18),
        ("\\\\", 1 << 19),
        ("\\n", 1 << 19),
        ("\\u00e9", 1 << 17),
        ("\\ud83d\\ude00", 1 << 16),
        ("é\\n", 1 << 18),
        ("'", 1 << 19),
    ] {
        let inner = what.repeat(count);
        linear(|| accepted(format!("\"{inner}\"").as_bytes()));
        linear(|| accepted(format!("{{\"{inner}\":1}}").as_bytes()));
    }
}

#[test]
fn time_grows_with_the_number_of_bad_bytes() {
    let many = 1 << 17;
    assert_eq!(linear(|| feed(&mut Framer::default(), &b"%\n".repeat(many))).len(), many);
    assert_eq!(linear(|| feed(&mut Framer::default(), &b"\"x\n".repeat(many))).len(), many);
    assert_eq!(linear(|| feed(&mut Framer::default(), &b"}".repeat(many))).len(), many);
    assert_eq!(linear(|| feed(&mut Framer::default(), &b"[%".repeat(many))).len(), 1);
    assert_eq!(linear(|| feed(&mut Framer::default(), &b"\xff".repeat(many))).len(), 0);
    // A long token that turns out bad at its end.
    let long = [b"[\"", &vec![b'x'; 8 << 20][..], b"\x01"].concat();
    let told = linear(|| feed(&mut Framer::default(), &long));
    assert!(matches!(&told[..], [Err(text)] if text.len() < 300));
}

#[test]
fn white_space_costs_nothing() {
    let mut framer = Framer::default();
    assert_eq!(feed(&mut framer, &b" \t\r\n".repeat(1 << 20)), []);
    assert_eq!(framer.held(), 0);
    feed(&mut framer, b"[1");
    let held = framer.held();
    assert_eq!(feed(&mut framer, &b" \t\r\n".repeat(1 << 20)), []);
    assert_eq!(framer.held(), held);
    assert_eq!(feed(&mut framer, b"]"), [Ok(3)]);
}

/// Half a million keys of an object, the last one twice or not.
fn many_keys(last: &str) -> String {
    let keys: String = (0..MAX_TOKENS / 4 - 4).map(|key| format!("\"{key:06x}\":0,")).collect();
    format!("{{{keys}\"{last}\":0}}")
}

#[test]
fn time_grows_with_the_number_of_keys() {
    let mut framer = Framer::default();
    let distinct = many_keys("last");
    assert!(linear(|| feed(&mut framer, distinct.as_bytes()))[0].is_ok());
    let told = linear(|| feed(&mut framer, many_keys("000000").as_bytes()));
    assert!(matches!(&told[..], [Err(text)] if text.ends_with("duplicate key")), "{told:?}");

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "read only")]
    struct Args {
        first: Option<i64>,
        second: Option<i64>,
    }
    let arguments = Arguments::new(distinct.clone().into_bytes(), 0..distinct.len());
    let error = linear(|| arguments.parse::<Args>().unwrap_err());
    assert_eq!(error.desc, "Parameter '000000' is unexpected");

    // Many objects of some keys, inside each other and beside each other.
    let some: String = (0..40).map(|key| format!("\"{}{key}\":0,", "k".repeat(100))).collect();
    let objects = format!("[{}0]", format!("{{{some}\"z\":{{{some}\"z\":1}}}},").repeat(500));
    linear(|| accepted(objects.as_bytes()));
    let deep = format!("{}1{}", format!("{{{some}\"z\":").repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH));
    linear(|| accepted(deep.as_bytes()));
}

/// What an error quotes from a message does not grow with it.
#[test]
fn names_that_are_quoted_are_cut() {
    let name = "é".repeat(1 << 20);
    for message in [
        format!(r#"{{"execute":"a","{name}":1}}"#),
        format!(r#"{{"execute":"{name}"}}"#),
        format!(r#"{{"execute":"a","arguments":{{"{name}":1}}}}"#),
    ] {
        let mut framer = Framer::default();
        let (_, Some(Event::Message(message))) = framer.feed(message.as_bytes()) else {
            panic!("no message")
        };
        match Request::try_from(message) {
            Err(response) => assert!(response.into_parts().0.len() < 16 << 10),
            Ok(request) => {
                assert!(request.command.len() <= 4 << 10);
                #[derive(Debug, Deserialize)]
                struct Nothing {}
                let error = request.arguments.parse::<Nothing>().err();
                assert!(error.is_none_or(|error| error.desc.len() < 8 << 10));
            }
        }
    }
    let word = [b"[", &vec![b'x'; 1 << 20][..], b"]", PING].concat();
    assert_eq!(told(&word), [format!("1:2: invalid keyword '{}…'", "x".repeat(200)), "ping {} ".to_owned()]);
}
