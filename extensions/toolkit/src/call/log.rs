//! What the component says while it is called, on standard error: in an agent it would be in the log, under the extension's name.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// From now on what is logged goes to standard error; what is for whoever looks for a fault only if that is wanted.
pub(super) fn start(verbose: bool) {
    let most = if verbose { Level::DEBUG } else { Level::INFO };
    // Nobody else sets one here.
    let _ = tracing::subscriber::set_global_default(Log { most });
}

struct Log {
    most: Level,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most && metadata.target().starts_with("waga")
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        for line in text.0.lines() {
            eprintln!("log: {level}: {}", super::plain(line));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A message, and what goes with it but the extension's name, which is none here.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            "extension" => Ok(()),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}
