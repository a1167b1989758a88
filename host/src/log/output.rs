//! Where one kind of lines goes, and how each place wants them spelt.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
#[cfg(test)]
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tracing::Level;

use super::socket::Socket;
use super::stream::Stream;
use super::writer::{self, Writer};
use crate::config::Target;

/// systemd's journal, in its native protocol.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The system's syslog.
const SYSLOG: &str = "/dev/log";
/// The journal's words for whose lines are on a standard error: `DEVICE:INODE`.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// What is to be put on a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// How bad it is.
    pub level: Level,
    /// One line of text, without its end.
    pub text: &'a str,
    /// The command it is about, for the journal.
    pub command: Option<&'a str>,
    /// The channel it is about, for the journal.
    pub channel: Option<&'a str>,
}

/// Which lines: the log's are stamped and levelled like qemu-ga's, the audit's are JSON as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The log.
    Log,
    /// The audit.
    Audit,
}

/// Lines of each kind that were lost.
pub(super) static LOST: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

impl Kind {
    /// So many more of its lines were lost.
    pub(super) fn count_lost(self, lines: u64) {
        LOST[self as usize].fetch_add(lines, Ordering::Relaxed);
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Audit => "audit",
        }
    }

    /// What syslog and journal know its lines by.
    fn identifier(self) -> &'static str {
        match self {
            Self::Log => "waga",
            Self::Audit => "waga-audit",
        }
    }

    /// A line for a file or a stream, with its end.
    fn line(self, entry: &Entry<'_>) -> String {
        match self {
            Self::Log => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let level = match entry.level {
                    Level::ERROR => "error",
                    Level::WARN => "warning",
                    Level::INFO => "info",
                    Level::DEBUG | Level::TRACE => "debug",
                };
                format!("{}.{:06}: {level}: {}\n", now.as_secs(), now.subsec_micros(), entry.text)
            }
            Self::Audit => format!("{}\n", entry.text),
        }
    }

    /// Says that lines were lost: an error, so that it is told at every verbosity.
    fn loss(self, lost: u64) -> String {
        match self {
            Self::Log => {
                format!("{lost} {} of the log {} lost", plural(lost, "line"), plural(lost, "was"))
            }
            Self::Audit => {
                let time = humantime::format_rfc3339_micros(SystemTime::now());
                format!(r#"{{"time": "{time}", "lost": {lost}}}"#)
            }
        }
    }

    /// The same as a line.
    pub(super) fn loss_line(self, lost: u64) -> String {
        let text = self.loss(lost);
        self.line(&Entry { level: Level::ERROR, text: &text, command: None, channel: None })
    }

    /// A datagram of the journal's native protocol.
    fn journal(self, entry: &Entry<'_>) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(128 + entry.text.len());
        let mut add = |name: &str, value: &str| {
            datagram.extend_from_slice(name.as_bytes());
            if value.contains('\n') {
                datagram.push(b'\n');
                datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
            } else {
                datagram.push(b'=');
            }
            datagram.extend_from_slice(value.as_bytes());
            datagram.push(b'\n');
        };
        add("PRIORITY", &severity(entry.level).to_string());
        add("SYSLOG_IDENTIFIER", self.identifier());
        add("MESSAGE", entry.text);
        for (name, value) in [("WAGA_COMMAND", entry.command), ("WAGA_CHANNEL", entry.channel)] {
            if let Some(value) = value {
                add(name, value);
            }
        }
        datagram
    }

    /// A message as syslog(3) writes it, of facility daemon. In UTC, as musl has it and unlike glibc: the zone's rules are files that a
    /// daemon had better not read, and most who read this (rsyslog, journald) take their own clock anyway.
    fn syslog(self, entry: &Entry<'_>, now: SystemTime) -> Vec<u8> {
        const DAEMON: u8 = 3;
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        // 2026-11-24T10:00:00Z
        let time = humantime::format_rfc3339_seconds(now).to_string();
        let number =
            |place: std::ops::Range<usize>| time.get(place).and_then(|text| text.parse::<usize>().ok());
        let month = number(5..7).and_then(|month| MONTHS.get(month.wrapping_sub(1))).unwrap_or(&"Jan");
        let (day, clock) = (number(8..10).unwrap_or(1), time.get(11..19).unwrap_or("00:00:00"));
        let priority = DAEMON << 3 | severity(entry.level);
        let (name, process) = (self.identifier(), std::process::id());
        format!("<{priority}>{month} {day:2} {clock} {name}[{process}]: {}", entry.text).into_bytes()
    }
}

fn plural(count: u64, word: &'static str) -> &'static str {
    match (count, word) {
        (1, word) => word,
        (_, "was") => "were",
        _ => "lines",
    }
}

/// syslog's number for how bad it is.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// One place that takes lines of one kind.
#[derive(Debug)]
pub(crate) struct Output {
    kind: Kind,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// A file, by its place among those of the thread.
    File(&'static Writer, usize),
    /// What says at once whether it takes a line.
    Direct(Mutex<Direct>),
}

#[derive(Debug)]
struct Direct {
    sink: Sink,
    /// Lines that it did not take, and that it was not told of yet.
    lost: u64,
}

#[derive(Debug)]
enum Sink {
    Stream(Stream),
    Journal(Socket),
    Syslog(Socket),
}

impl Output {
    /// Opens what a target names; a file is handed to `files`. `leaves`: the agent is about to leave its standard error for `/dev/null`,
    /// and whoever reads that is to see its end. (One that is a file has nobody who waits, and stays.)
    ///
    /// # Errors
    /// A file that cannot be opened, with its path.
    pub(super) fn open(
        target: &Target,
        kind: Kind,
        files: &'static Writer,
        leaves: bool,
    ) -> io::Result<Self> {
        let sink = match target {
            Target::Auto if is_journal(std::env::var(JOURNAL_STREAM).ok().as_deref(), io::stderr()) => {
                let mut journal = Socket::datagrams(JOURNAL);
                // A container may have the variable and not the socket.
                if journal.connect().is_err() {
                    return Self::stderr(kind, files, leaves);
                }
                Sink::Journal(journal)
            }
            Target::Auto | Target::Stderr => return Self::stderr(kind, files, leaves),
            Target::File(path) => return Self::file(path, kind, files),
            Target::Syslog => Sink::Syslog(Socket::either(SYSLOG)),
            Target::Journal => Sink::Journal(Socket::datagrams(JOURNAL)),
        };
        Ok(Self::direct(kind, sink))
    }

    fn direct(kind: Kind, sink: Sink) -> Self {
        Self { kind, way: Way::Direct(Mutex::new(Direct { sink, lost: 0 })) }
    }

    pub(super) fn file(path: &Path, kind: Kind, files: &'static Writer) -> io::Result<Self> {
        if files.is_held() {
            return Ok(Self { kind, way: Way::File(files, files.add_later(path.to_owned(), kind)) });
        }
        let file = writer::open(path).map_err(|error| {
            let text = format!("cannot open the {} file {}: {error}", kind.as_str(), path.display());
            io::Error::new(error.kind(), text)
        })?;
        Ok(Self { kind, way: Way::File(files, files.add(file, Some(path.to_owned()), kind)) })
    }

    fn stderr(kind: Kind, files: &'static Writer, leaves: bool) -> io::Result<Self> {
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        if file.metadata()?.is_file() {
            return Ok(Self { kind, way: Way::File(files, files.add(file, None, kind)) });
        }
        let stream = if leaves { Stream::standard() } else { Stream::over(file) };
        Ok(Self::direct(kind, Sink::Stream(stream)))
    }

    /// Lines for a descriptor that is open already, and no file's.
    #[cfg(test)]
    pub(crate) fn over(fd: impl Into<OwnedFd>, kind: Kind) -> Self {
        Self::direct(kind, Sink::Stream(Stream::over(fd.into().into())))
    }

    /// Puts a line there, or counts that it was lost. Never waits for whoever takes it.
    pub(crate) fn put(&self, entry: &Entry<'_>) {
        match &self.way {
            Way::File(files, place) => files.put(*place, self.kind.line(entry).as_bytes()),
            Way::Direct(direct) => {
                direct.lock().unwrap_or_else(PoisonError::into_inner).put(self.kind, entry);
            }
        }
    }
}

impl Direct {
    fn put(&mut self, kind: Kind, entry: &Entry<'_>) {
        if self.lost > 0 {
            let text = kind.loss(self.lost);
            let loss = Entry { level: Level::ERROR, text: &text, command: None, channel: None };
            if self.sink.send(kind, &loss).is_ok() {
                self.lost = 0;
            }
        }
        // While it takes nothing, what comes now is lost too, or the count would come after lines that it does not count.
        if self.lost > 0 || self.sink.send(kind, entry).is_err() {
            self.lost += 1;
            kind.count_lost(1);
        }
    }
}

impl Sink {
    fn send(&mut self, kind: Kind, entry: &Entry<'_>) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.send(kind.line(entry).as_bytes()),
            Self::Journal(socket) => socket.send(&kind.journal(entry)),
            Self::Syslog(socket) => socket.send(&kind.syslog(entry, SystemTime::now())),
        }
    }
}

/// Whether the variable names this very stream: a program that redirected its standard error inherits the variable all the same.
fn is_journal(stream: Option<&str>, stderr: impl AsFd) -> bool {
    let named = stream.and_then(|stream| {
        let (device, inode) = stream.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    match (named, rustix::fs::fstat(stderr)) {
        (Some(named), Ok(found)) => named == (found.st_dev, found.st_ino),
        _ => false,
    }
}

/// See [`super::say`]. A file takes it as it takes anything.
pub(super) fn say(text: &str) {
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    // The want of a descriptor may be what is to be said.
    let mut stream = stderr.map_or_else(|_| Stream::standard(), |fd| Stream::over(fd.into()));
    // Who does not read it has nobody to be told.
    let _ = stream.send(format!("{text}\n").as_bytes());
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
