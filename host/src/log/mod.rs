//! The log: `tracing` events as lines like qemu-ga's, `SECONDS.MICROS: level: message`, for standard error, a file, syslog or the journal.
//!
//! A subscriber of our own, because memory is the figure with the least to spare: it filters by level, knows no spans and keeps nothing.
//! Nothing here ever waits for whoever takes the lines: what cannot be written at once is counted and told later; files have a thread of
//! their own (see [`writer`]), for they cannot be asked whether they would make one wait.

mod line;
mod output;
mod socket;
mod stream;
mod writer;

use std::any::Any;
use std::io;
use std::sync::atomic::Ordering;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::config;
use line::Text;
pub(crate) use output::{Entry, Kind, Output};
use writer::Writer;

/// The target of events that tell of the agent's own life and stand in every log: without them, the last word of a quiet one would be that
/// a channel failed, when it has long been open again.
pub(crate) const LIFE: &str = "waga::life";

/// The files of the log and of the audit, and their thread.
static FILES: Writer = Writer::new();

/// Starts logging: errors and [`LIFE`] only, or everything.
///
/// Lines of files wait for a thread that the first of them starts, so a daemon that forks does so before anything is logged. `leaves`: it
/// is going to the background, and will leave its standard error.
///
/// # Errors
/// The log file cannot be opened. A journal or syslog that is not there is none: it may come.
pub(crate) fn start(config: &config::Log, leaves: bool) -> io::Result<()> {
    let output = Output::open(&config.target, Kind::Log, &FILES, leaves)?;
    let log = Log { output, most: if config.verbose { Level::TRACE } else { Level::ERROR } };
    tracing::subscriber::set_global_default(log).map_err(io::Error::other)?;
    // Rust's own would tell everything, and wait for whoever reads standard error.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(text = harmless(panic.payload()), place, "panicked");
    }));
    Ok(())
}

/// What a panic says, if that is the program's own text. One with values in it may quote an argument: that of a string cut amid a
/// character does.
fn harmless(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(not told: it may quote an argument)")
}

/// Opens what takes audit lines; `leaves` as with [`start`].
///
/// # Errors
/// The audit file cannot be opened.
pub(crate) fn audit(config: &config::Audit, leaves: bool) -> io::Result<Output> {
    Output::open(&config.target, Kind::Audit, &FILES, leaves)
}

/// Opens log and audit files anew by their paths, for whoever rotates them. Returns at once: the thread of the files does it.
///
/// A file that cannot be opened is logged, and the old one stays.
pub(crate) fn reopen() {
    FILES.reopen();
}

/// Holds back what is for files, in bounded memory, or lets it go: while filesystems are frozen none is written to.
///
/// Holding waits for a write that has begun, at most for a second, so it belongs on a thread that may wait; `false` if that write hangs.
/// (One that a freeze catches cannot even be killed, and would keep the port from the agent's successor, which is to thaw.) Letting go
/// waits for nothing. Journal, syslog and a standard error that is no file are not held back: they do not wait.
#[must_use = "a write that hangs would be frozen"]
pub(crate) fn hold(held: bool) -> bool {
    FILES.hold(held, writer::LAST)
}

/// Waits until files have what was logged, at most for a second: for the end of the program.
pub(crate) fn end() {
    FILES.flush(writer::LAST);
}

/// How many lines of a kind were lost since the program started, whether or not that was told since.
pub(crate) fn lost(kind: Kind) -> u64 {
    output::LOST[kind as usize].load(Ordering::Relaxed)
}

/// The program's last words, or a text before there is a log: on standard error, without waiting for whoever reads it.
pub(crate) fn say(text: &str) {
    output::say(text);
}

struct Log {
    output: Output,
    most: Level,
}

impl Subscriber for Log {
    /// Only our own events: what libraries trace of themselves is not for operators.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let told = *metadata.level() <= self.most || metadata.target() == LIFE;
        told && metadata.target().starts_with("waga")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.most.max(Level::INFO)))
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.output.put(&text.entry(*event.metadata().level()));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests;
