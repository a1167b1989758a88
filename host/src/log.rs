//! The log: `tracing` events as lines like qemu-ga's, `SECONDS.MICROS: level: message`, on stderr or in a file.
//!
//! A subscriber of our own, because memory is the figure with the least to spare: it filters by level, knows no spans and keeps nothing.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::config::{self, Target};

/// Starts logging: errors only, or everything. A log file is readable by its owner alone and appended to.
///
/// # Errors
/// The file cannot be opened.
pub(crate) fn start(config: &config::Log) -> io::Result<()> {
    let file = match &config.target {
        Target::File(path) => Some(path.as_path()),
        _ => None,
    };
    let file = file.map(|path| {
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot open the log file {}: {error}", path.display()))
        })
    });
    let log = Log { file: file.transpose()?, most: if config.verbose { Level::TRACE } else { Level::ERROR } };
    tracing::subscriber::set_global_default(log).map_err(io::Error::other)
}

struct Log {
    file: Option<File>,
    most: Level,
}

impl Subscriber for Log {
    /// Only our own events: what libraries trace of themselves is not for operators.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most && metadata.target().starts_with("waga")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.most))
    }

    fn event(&self, event: &Event<'_>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = format!("{}.{:06}: {level}:", now.as_secs(), now.subsec_micros());
        event.record(&mut Line(&mut line));
        line.push('\n');
        // One write a line, so that lines of several threads stay whole. A log that cannot be written to has nobody to be told.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event's text and fields, as they are added to a line: control characters escaped, so that no value can pass for a line.
struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let start = self.0.len();
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        if self.0[start..].contains(char::is_control) {
            let escaped: String = self.0[start..].chars().flat_map(escape).collect();
            self.0.replace_range(start.., &escaped);
        }
    }
}

fn escape(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_how_bad_and_what_and_stays_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log { file: Some(File::create(&path).unwrap()), most: Level::INFO };
        tracing::subscriber::with_default(log, || {
            tracing::info!(path = "a\nb", error = %"c\nd", "opened");
            tracing::debug!("not told");
            tracing::error!(target: "elsewhere", "not ours");
        });
        let text = std::fs::read_to_string(path).unwrap();
        let (time, rest) = text.split_once(": ").unwrap();
        assert!(time.parse::<f64>().unwrap() > 1e9);
        assert_eq!(rest, "info: opened path=\"a\\nb\" error=c\\nd\n");
    }
}
