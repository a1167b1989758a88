//! Where requests come from and replies go: opening, reading and writing bytes. What the bytes mean is the wire's business.
//!
//! Each connection is one task on the daemon's thread: it reads, serves the requests in what it read one after another, and reads
//! again. So a client that does not read its replies, or floods, waits for itself alone.
//!
//! Each channel is one task too, which opens it again where that makes sense, and says so when it gives up.

mod conversation;
mod inherited;
mod isa_serial;
mod listener;
mod stream;
mod unix;
mod virtio_serial;
mod vsock;

use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use smol::{Executor, Timer};
use waga_builtins::{Caller, os_text};

use crate::config::{Channel, Endpoint};
use crate::dispatch::Dispatcher;
use crate::log::LIFE;
use crate::wire::budget::Budget;
use conversation::converse;
pub use inherited::{Passed, passed};
use listener::Listener;
use stream::Stream;

/// Pauses before a channel is opened again: at once, then ever longer, up to those of qemu-ga's `--retry-path`.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];
/// A channel that worked this long before it failed begins with the first pause again.
const WORKED: Duration = Duration::from_secs(5);

/// Everything a conversation needs; shared by all channels.
#[derive(Debug, Clone)]
pub struct House {
    /// Serves the requests.
    pub dispatcher: Arc<Dispatcher>,
    /// Bounds what is unfinished.
    pub budget: Arc<Budget>,
    /// Runs the tasks, which end with it.
    pub executor: Weak<Executor<'static>>,
    /// Takes the end of a channel that should have none.
    pub failed: smol::channel::Sender<io::Error>,
}

impl House {
    /// Runs a task beside the others; not at all once the agent ends.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(executor) = self.executor.upgrade() {
            executor.spawn(task).detach();
        }
    }
}

/// Whether the files that channels make can be made now, and do not have to wait for a filesystem that is frozen.
pub(crate) fn can_be_made(channels: &[Channel]) -> bool {
    let sockets = channels.iter().filter_map(|channel| match &channel.endpoint {
        Endpoint::Unix(path, _) => Some(path),
        _ => None,
    });
    sockets.into_iter().all(|path| unix::takes_files(path))
}

/// Opens the channels and serves them from then on; returns how many there are. Sockets that the service manager passed, if there are
/// any, take the place of all that are configured, as with qemu-ga.
///
/// # Errors
/// What hinders opening a channel, with its name and place, unless it is to be tried again and again.
pub fn open_all(channels: &[Channel], passed: Vec<Passed>, house: &House) -> io::Result<usize> {
    if passed.is_empty() {
        for channel in channels {
            open(channel, house)?;
        }
        return Ok(channels.len());
    }
    let count = passed.len();
    for passed in passed {
        let place = format!("descriptor {}", passed.number);
        let served = Served { name: passed.name, place, endpoint: None, retry: false };
        served.start(Listener::new(passed.socket).map(Open::Listener), house)?;
    }
    Ok(count)
}

/// Opens a channel and serves it from then on.
fn open(channel: &Channel, house: &House) -> io::Result<()> {
    let Channel { name, endpoint, retry } = channel.clone();
    let opened = Open::new(&endpoint);
    Served { name, place: endpoint.to_string(), endpoint: Some(endpoint), retry }.start(opened, house)
}

/// An open channel.
enum Open {
    Port(virtio_serial::Port),
    Line(Stream),
    Listener(Listener),
}

impl Open {
    fn new(endpoint: &Endpoint) -> io::Result<Self> {
        Ok(match endpoint {
            Endpoint::VirtioSerial(path) => Self::Port(virtio_serial::Port::open(path).map_err(|error| {
                let text = "No such file or directory: has the machine a virtio-serial port of this name?";
                match error.kind() {
                    io::ErrorKind::NotFound => io::Error::new(error.kind(), text),
                    _ => error,
                }
            })?),
            Endpoint::IsaSerial(path) => Self::Line(isa_serial::open(path)?),
            Endpoint::Unix(path, access) => Self::Listener(unix::listen_at(path, *access)?),
            Endpoint::Vsock { cid, port } => Self::Listener(vsock::listen_at(*cid, *port)?),
        })
    }

    /// Serves it until it fails.
    async fn serve(self, caller: &Caller, house: &House) -> io::Error {
        let ended = match self {
            Self::Port(port) => converse(port, caller, house).await,
            Self::Line(line) => converse(line, caller, house).await,
            Self::Listener(listener) => return listener.serve(caller, house).await,
        };
        ended.err().unwrap_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the line was hung up"))
    }
}

/// A channel that is served, whether it is open now or not.
struct Served {
    name: Arc<str>,
    place: String,
    /// Where it can be opened again; nowhere if the service manager opened it.
    endpoint: Option<Endpoint>,
    retry: bool,
}

impl Served {
    /// Begins to serve it; an error if it could not be opened and that will not change.
    fn start(self, opened: io::Result<Open>, house: &House) -> io::Result<()> {
        match &opened {
            Err(error) if !self.retry => return Err(self.failure("", error)),
            Err(_) => {}
            Ok(_) => tracing::debug!(channel = %self.name, "serving {}", self.place),
        }
        house.spawn(self.keep(opened, house.clone()));
        Ok(())
    }

    /// Serves the channel for as long as that is possible. Without `retry` it fails for good when it cannot be opened; and, but for a
    /// serial line that was hung up, when it breaks.
    async fn keep(self, mut opened: io::Result<Open>, house: House) {
        let caller = Caller::Channel(self.name.clone());
        let mut attempts = Attempts::default();
        let error = loop {
            let (since, was_open) = (Instant::now(), opened.is_ok());
            let error = match opened {
                Ok(open) => {
                    if attempts.0 > 0 {
                        tracing::info!(target: LIFE, channel = %self.name, "{} is open again", self.place);
                    }
                    open.serve(&caller, &house).await
                }
                Err(error) => error,
            };
            let what = if was_open { "the channel failed" } else { "the channel cannot be opened" };
            let error = self.failure(what, &error);
            let hung_up = was_open && matches!(self.endpoint, Some(Endpoint::IsaSerial(_)));
            let Some(endpoint) = self.endpoint.clone().filter(|_| self.retry || hung_up) else {
                break error;
            };
            let (pause, first) = attempts.next(since.elapsed());
            if first {
                tracing::error!(channel = %self.name, "{error}; opening it again");
            } else {
                tracing::debug!(channel = %self.name, "{error}; opening it again in {pause:?}");
            }
            Timer::after(pause).await;
            // A device may keep whoever opens it waiting.
            opened = smol::unblock(move || Open::new(&endpoint)).await;
        };
        // Whoever started the agent must know that it can no longer be reached.
        let _ = house.failed.send(error).await;
    }

    fn failure(&self, what: &str, error: &io::Error) -> io::Error {
        let separator = if what.is_empty() { "" } else { ": " };
        let text = format!("{}: {}: {what}{separator}{}", self.name, self.place, os_text(error));
        io::Error::new(error.kind(), text)
    }
}

/// How often a channel was opened again since it last worked.
#[derive(Debug, Default)]
struct Attempts(usize);

impl Attempts {
    /// The pause before the next one, and whether it is the first.
    fn next(&mut self, worked: Duration) -> (Duration, bool) {
        if worked >= WORKED {
            self.0 = 0;
        }
        let pause = PAUSES[self.0.min(PAUSES.len() - 1)];
        self.0 += 1;
        (pause, self.0 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_keeps_failing_is_opened_ever_more_seldom() {
        let mut attempts = Attempts::default();
        let pauses: Vec<_> = (0..5).map(|_| attempts.next(Duration::from_millis(1))).collect();
        let [at_once, short, long] = PAUSES;
        assert_eq!(pauses, [(at_once, true), (short, false), (long, false), (long, false), (long, false)]);
        assert_eq!(attempts.next(WORKED), (at_once, true), "it worked in between");
    }
}
