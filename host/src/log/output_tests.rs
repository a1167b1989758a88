//! Sockets as journal and syslog have them, in a folder of the test's.

use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Duration;

use super::*;

const ENTRY: Entry<'_> = Entry { level: Level::WARN, text: "hello", command: None, channel: None };

fn entry(text: &str) -> Entry<'_> {
    Entry { text, ..ENTRY }
}

fn receive(socket: &UnixDatagram) -> String {
    let mut datagram = [0; 8192];
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = socket.recv(&mut datagram).unwrap();
    String::from_utf8(datagram[..length].to_vec()).unwrap()
}

#[test]
fn the_journal_gets_fields() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    let log = Output::direct(Kind::Log, Sink::Journal(Socket::datagrams(&path)));
    log.put(&ENTRY);
    assert_eq!(receive(&journal), "PRIORITY=4\nSYSLOG_IDENTIFIER=waga\nMESSAGE=hello\n");
    log.put(&Entry {
        level: Level::INFO,
        text: "two\nlines",
        command: Some("guest-ping"),
        channel: Some("port"),
    });
    let expected = "PRIORITY=6\nSYSLOG_IDENTIFIER=waga\nMESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nWAGA_COMMAND=guest-ping\nWAGA_CHANNEL=port\n";
    assert_eq!(receive(&journal), expected);
    let audit = Output::direct(Kind::Audit, Sink::Journal(Socket::datagrams(&path)));
    audit.put(&Entry { level: Level::INFO, text: "{}", command: None, channel: None });
    assert_eq!(receive(&journal), "PRIORITY=6\nSYSLOG_IDENTIFIER=waga-audit\nMESSAGE={}\n");
}

#[test]
fn an_event_keeps_its_command_and_channel_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    let output = Output::direct(Kind::Log, Sink::Journal(Socket::datagrams(&path)));
    tracing::subscriber::with_default(super::super::Log { output, most: Level::DEBUG }, || {
        tracing::debug!(command = "guest-x\n", channel = "port", n = 1, "called");
    });
    let fields = "MESSAGE=called command=\"guest-x\\n\" channel=\"port\" n=1\nWAGA_COMMAND\n\x08\0\0\0\0\0\0\0guest-x\n\nWAGA_CHANNEL=port\n";
    assert_eq!(receive(&journal), format!("PRIORITY=7\nSYSLOG_IDENTIFIER=waga\n{fields}"));
}

#[test]
fn syslog_gets_what_syslog_3_writes() {
    let time = humantime::parse_rfc3339("2026-02-03T04:05:06.789Z").unwrap();
    let text = |kind: Kind, level| {
        let text = kind.syslog(&Entry { level, ..ENTRY }, time);
        String::from_utf8(text).unwrap()
    };
    let process = std::process::id();
    assert_eq!(text(Kind::Log, Level::ERROR), format!("<27>Feb  3 04:05:06 waga[{process}]: hello"));
    assert_eq!(text(Kind::Audit, Level::INFO), format!("<30>Feb  3 04:05:06 waga-audit[{process}]: hello"));
    let time = humantime::parse_rfc3339("2026-12-31T23:59:59Z").unwrap();
    let line = String::from_utf8(Kind::Log.syslog(&ENTRY, time)).unwrap();
    assert!(line.starts_with("<28>Dec 31 23:59:59 "), "{line}");
}

#[test]
fn syslog_may_take_a_stream() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let listener = UnixListener::bind(&path).unwrap();
    let log = Output::direct(Kind::Log, Sink::Syslog(Socket::either(&path)));
    log.put(&entry("first"));
    log.put(&entry("second"));
    drop(log);
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text.split_terminator('\0').collect();
    assert!(lines.len() == 2 && text.ends_with('\0'), "{text:?}");
    assert!(lines[0].ends_with("]: first") && lines[1].ends_with("]: second"), "{text:?}");
}

#[test]
fn who_restarts_is_found_again_and_told_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let log = Output::direct(Kind::Log, Sink::Journal(Socket::datagrams(&path)));
    // It was not there at first.
    log.put(&entry("a"));
    log.put(&entry("b"));
    let journal = UnixDatagram::bind(&path).unwrap();
    log.put(&entry("c"));
    assert!(receive(&journal).ends_with("MESSAGE=2 lines of the log were lost\n"));
    assert!(receive(&journal).ends_with("MESSAGE=c\n"));
    // A restart that nothing was said in loses nothing.
    drop(journal);
    std::fs::remove_file(&path).unwrap();
    let journal = UnixDatagram::bind(&path).unwrap();
    log.put(&entry("d"));
    assert!(receive(&journal).ends_with("MESSAGE=d\n"));
    drop(journal);
    log.put(&entry("e"));
    std::fs::remove_file(&path).unwrap();
    let journal = UnixDatagram::bind(&path).unwrap();
    log.put(&entry("f"));
    assert!(receive(&journal).ends_with("MESSAGE=1 line of the log was lost\n"));
    assert!(receive(&journal).ends_with("MESSAGE=f\n"));
}

#[test]
fn a_stream_that_restarts_is_found_again() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = Output::direct(Kind::Log, Sink::Syslog(Socket::either(&path)));
    for word in ["first", "second"] {
        let listener = UnixListener::bind(&path).unwrap();
        log.put(&entry(word));
        let mut line = Vec::new();
        BufReader::new(listener.accept().unwrap().0).read_until(0, &mut line).unwrap();
        assert!(line.ends_with(format!("]: {word}\0").as_bytes()), "{line:?}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_full_socket_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let syslog = UnixDatagram::bind(&path).unwrap();
    let log = Output::direct(Kind::Audit, Sink::Syslog(Socket::either(&path)));
    let sent = 100_000;
    for _ in 0..sent {
        log.put(&entry("{}"));
    }
    syslog.set_nonblocking(true).unwrap();
    let mut taken = 0;
    while syslog.recv(&mut [0; 100]).is_ok() {
        taken += 1;
    }
    assert!(taken > 0 && taken < sent);
    syslog.set_nonblocking(false).unwrap();
    log.put(&entry("{}"));
    let loss = receive(&syslog);
    let (_, loss) = loss.split_once("]: ").unwrap();
    let loss: serde_json::Value = serde_json::from_str(loss).unwrap();
    assert_eq!(loss["lost"], sent - taken);
    assert!(receive(&syslog).ends_with("]: {}"));
}

#[test]
fn the_journals_stream_is_known_by_its_number() {
    let (stderr, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let found = rustix::fs::fstat(&stderr).unwrap();
    let named = format!("{}:{}", found.st_dev, found.st_ino);
    assert!(is_journal(Some(&named), &stderr));
    for other in [None, Some(""), Some("1"), Some("a:b"), Some("1:2"), Some(&named[1..])] {
        assert!(!is_journal(other, &stderr), "{other:?}");
    }
    let elsewhere = std::fs::File::open("/dev/null").unwrap();
    assert!(!is_journal(Some(&named), &elsewhere));
}
