//! The log: `tracing` events as lines like qemu-ga's, `SECONDS.MICROS: level: message`, on stderr or in a file.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Starts logging: errors only, or everything. A log file is readable by its owner alone and appended to.
///
/// # Errors
/// The file cannot be opened.
pub(crate) fn start(file: Option<&Path>, verbose: bool) -> io::Result<()> {
    let builder = tracing_subscriber::fmt()
        .with_max_level(if verbose { Level::TRACE } else { Level::ERROR })
        .event_format(Line);
    match file {
        Some(path) => {
            let file =
                OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot open the log file {}: {error}", path.display()),
                    )
                })?;
            builder.with_writer(Mutex::new(file)).try_init()
        }
        None => builder.with_writer(io::stderr).try_init(),
    }
    .map_err(io::Error::other)
}

struct Line;

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N>
    for Line
{
    fn format_event(
        &self,
        cx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        write!(writer, "{}.{:06}: {level}: ", now.as_secs(), now.subsec_micros())?;
        cx.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
