//! Sync and command against peers that nobody would wish for.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::*;

/// The client's end of a pair whose other end is served by `peer`.
fn against(peer: impl FnOnce(Peer) + Send + 'static) -> Stream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || peer(Peer(BufReader::new(theirs))));
    Stream::over(ours.into()).unwrap()
}

/// The agent's end.
struct Peer(BufReader<UnixStream>);

impl Peer {
    /// The next request, and whether a sentinel came before it.
    fn request(&mut self) -> (bool, serde_json::Value) {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        let delimited = line.first() == Some(&SENTINEL);
        (delimited, serde_json::from_slice(&line[usize::from(delimited)..]).unwrap())
    }

    /// The number in the next request, which syncs.
    fn sync(&mut self) -> u64 {
        let (delimited, request) = self.request();
        assert_eq!(delimited, request["execute"] == DELIMITED);
        request["arguments"]["id"].as_u64().unwrap()
    }

    /// Says something; the client may have left.
    fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Waits for the client to leave.
    fn stay(mut self) {
        drop(self.0.read_to_end(&mut Vec::new()));
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(200))
}

fn patient() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

fn ask(stream: Stream, command: &str, deadline: Deadline) -> Result<Option<String>, Error> {
    let line = Client::sync(stream, deadline)?.ask(&Request::new(command, None).unwrap())?;
    Ok(line.map(|line| String::from_utf8(line).unwrap()))
}

#[test]
fn what_is_on_the_line_already_is_thrown_away() {
    for stale in [
        &b""[..],
        b"{\"return\": {}}\n{\"return\": 7}\n",
        b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error, stray '\\uFFFD'\"}}\n",
        b"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command guest-foo has not been found\"}}\n",
        b"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Command guest-sync has been disabled\"}}\n",
        b"\xff{\"return\": 5}\n\n\r\n\xff\xff\n",
        b"\x00\xfe garbage \xc3\n[1,2]\n\"x\"\n",
        b"{\"return\": {\"half\": \"a line",
        b"\xff\xff",
    ] {
        let stream = against(move |mut peer| {
            peer.say(stale);
            let id = peer.sync();
            peer.say([stale, format!("\u{0}\n{{\"return\": {}}}\n", id + 1).as_bytes()].concat());
            peer.say([stale, b"\xff", format!("{{\"return\": {id}}}\n").as_bytes()].concat());
            let (_, request) = peer.request();
            peer.say(format!("{{\"return\": {}}}\n", request["execute"]));
            peer.stay();
        });
        let shown = String::from_utf8_lossy(stale);
        assert_eq!(ask(stream, "guest-x", patient()), Ok(Some("{\"return\": \"guest-x\"}".into())), "{shown:?}");
    }
}

#[test]
fn a_megabyte_of_someone_elses_is_thrown_away_in_bounds() {
    let stream = against(|mut peer| {
        let id = peer.sync();
        peer.say(vec![b'x'; 3 << 20]);
        peer.say([b"\xff", format!("{{\"return\": {id}}}\n").as_bytes()].concat());
        peer.request();
        peer.say("{\"return\": 1}\n");
        peer.stay();
    });
    assert_eq!(ask(stream, "guest-x", patient()), Ok(Some("{\"return\": 1}".into())));
}

#[test]
fn an_agent_that_may_not_sync_is_asked_all_the_same() {
    let refusal = |request: &serde_json::Value| {
        let name = request["execute"].as_str().unwrap();
        format!(
            "{{\"error\": {{\"class\": \"CommandNotFound\", \"desc\": \"Command {name} has been disabled: no\"}}}}\n"
        )
    };
    // Another client's refusal comes first, so that one of ours is left over at the end.
    for stale in [false, true] {
        for plain in [false, true] {
            let stream = against(move |mut peer| {
                let (_, delimited) = peer.request();
                for _ in 0..=u8::from(stale) {
                    peer.say(refusal(&delimited));
                }
                let (sentinel, request) = peer.request();
                assert!(!sentinel && request["execute"] == PLAIN);
                if plain {
                    peer.say(format!("{{\"return\": {}}}\n", request["arguments"]["id"]));
                } else {
                    peer.say(refusal(&request));
                    peer.say(refusal(&request));
                }
                peer.request();
                peer.say("{\"return\": 1}\n");
                peer.stay();
            });
            assert_eq!(ask(stream, "guest-x", patient()), Ok(Some("{\"return\": 1}".into())));
        }
    }
}

#[test]
fn an_end_is_told_from_silence() {
    type Act = fn(Peer);
    let cases: [(Act, u8); 8] = [
        (drop, 3),
        (Peer::stay, 4),
        (
            |mut peer| {
                let id = peer.sync();
                peer.say(format!("\u{0}{{\"return\": {id}"));
            },
            3,
        ),
        (
            |mut peer| {
                let id = peer.sync();
                peer.say(format!("{{\"return\": {id}}}\n"));
            },
            3,
        ),
        (
            |mut peer| {
                let id = peer.sync();
                peer.say(format!("{{\"return\": {id}}}\n{{\"retu"));
                peer.request();
            },
            3,
        ),
        (
            |mut peer| {
                let id = peer.sync();
                peer.say(format!("{{\"return\": {id}}}\n{{\"retu"));
                peer.stay();
            },
            4,
        ),
        // Floods: of one line without an end, and of lines.
        (|mut peer| while peer.say([b'{'; 4096]) {}, 4),
        (|mut peer| while peer.say([b'\n'; 4096]) {}, 4),
    ];
    for (place, (act, code)) in cases.into_iter().enumerate() {
        let started = Instant::now();
        let limit = if code == 4 { soon() } else { patient() };
        let error = ask(against(act), "guest-x", limit).unwrap_err();
        assert_eq!(error.exit_code(), code, "{place}: {error}");
        assert!(error.to_string().contains("guest-"), "{place}: {error}");
        assert!(started.elapsed() < Duration::from_secs(20), "{place}");
    }
}

/// As QEMU's own monitor does, whose socket is easily taken for the agent's, and an agent whose memory is taken.
#[test]
fn an_error_in_place_of_the_sync_is_told() {
    for left in [false, true] {
        let error = ask(
            against(move |mut peer| {
                peer.sync();
                peer.say("{\"QMP\": {}}\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"not\\u001bnow\"}}\n");
                if !left {
                    peer.stay();
                }
            }),
            "guest-x",
            if left { patient() } else { soon() },
        );
        let error = error.unwrap_err();
        assert_eq!(error.exit_code(), if left { 3 } else { 4 });
        let text = error.to_string();
        assert!(text.ends_with("; it said: GenericError: not\\u{1b}now"), "{text}");
    }
}

#[test]
fn a_reply_without_an_end_is_given_up() {
    let stream = against(|mut peer| {
        let id = peer.sync();
        peer.say(format!("{{\"return\": {id}}}\n"));
        peer.request();
        while peer.say([b'"'; 64 << 10]) {}
    });
    let mut client = Client::sync(stream, patient()).unwrap();
    client.longest = 1 << 20;
    let error = client.ask(&Request::new("guest-x", None).unwrap()).unwrap_err();
    assert_eq!(error, Error::Transport("a reply of more than 1 MiB".to_owned()));
}

#[test]
fn a_large_command_meets_an_agent_that_does_not_read() {
    for talks in [false, true] {
        let stream = against(move |mut peer| {
            let id = peer.sync();
            peer.say(format!("{{\"return\": {id}}}\n"));
            if talks {
                while peer.say([b'x'; 4096]) {}
            }
            std::thread::park_timeout(Duration::from_secs(20));
        });
        let mut client = Client::sync(stream, patient()).unwrap();
        client.deadline = soon();
        let error = client.ask(&Request::new(&"x".repeat(8 << 20), None).unwrap()).unwrap_err();
        assert_eq!(error.exit_code(), 4, "{error}");
    }
}

#[test]
fn what_a_peer_said_before_it_left_is_read() {
    let stream = against(|mut peer| {
        let id = peer.sync();
        peer.say(format!(
            "{{\"return\": {id}}}\n{{\"error\": {{\"class\": \"c\", \"desc\": \"too long\"}}}}\n"
        ));
        peer.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        peer.0.read_exact(&mut [0; 1 << 20]).unwrap();
    });
    let client = Client::sync(stream, patient()).unwrap();
    let line = client.ask(&Request::new(&"x".repeat(8 << 20), None).unwrap()).unwrap().unwrap();
    assert!(String::from_utf8(line).unwrap().contains("too long"));
}

#[test]
fn silence_is_success_where_it_should_be() {
    type Act = fn(Peer);
    type Limit = fn() -> Deadline;
    let cases: [(Act, Limit, bool); 5] = [
        (Peer::stay, soon, true),
        // The three seconds.
        (Peer::stay, patient, true),
        (drop, patient, true),
        (
            |mut peer| {
                peer.say("{\"return\": {}}\n");
            },
            patient,
            true,
        ),
        (
            |mut peer| {
                peer.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n");
            },
            patient,
            false,
        ),
    ];
    for (act, limit, success) in cases {
        let stream = against(move |mut peer| {
            let id = peer.sync();
            peer.say(format!("{{\"return\": {id}}}\n"));
            peer.request();
            act(peer);
        });
        let mut client = Client::sync(stream, patient()).unwrap();
        client.deadline = limit();
        let line = client.ask(&Request::new("guest-shutdown", None).unwrap()).unwrap();
        assert_eq!(line.is_none(), success, "{line:?}");
    }
    // But an agent that does not even sync was not told.
    assert_eq!(ask(against(Peer::stay), "guest-shutdown", soon()).unwrap_err().exit_code(), 4);
}
