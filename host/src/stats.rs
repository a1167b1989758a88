//! What is counted where requests are served: of each channel and of each command, for `waga-get-stats`.
//!
//! Counting costs a request two looks at the clock and some additions that nobody waits for: a command's counters are found through its
//! place in the registry, a channel's among the few that are served. Both sets are bounded by the configuration, never by what clients ask.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use waga_builtins::{Caller, ChannelStats, CommandStats, ServerStats};

use crate::audit::Outcome;
use crate::log::{self, Kind};
use crate::registry::Slot;

/// What was counted since the agent started.
#[derive(Debug)]
pub(crate) struct Stats {
    begun: Instant,
    channels: OnceLock<Vec<Arc<Channel>>>,
    /// By the name of the command, for a registry that is built anew.
    commands: Mutex<HashMap<Arc<str>, Arc<Counts>>>,
    unknown: AtomicU64,
}

/// What a command's calls came to.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    calls: AtomicU64,
    ended: AtomicU64,
    failures: AtomicU64,
    refused: AtomicU64,
    total: AtomicU64,
    longest: AtomicU64,
}

/// What came over one channel.
#[derive(Debug)]
pub(crate) struct Channel {
    name: Arc<str>,
    begun: Instant,
    clients: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
    /// When the last request came, in milliseconds since `begun`.
    last: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            channels: OnceLock::new(),
            commands: Mutex::default(),
            unknown: AtomicU64::new(0),
        }
    }
}

impl Stats {
    /// These channels are counted, and no others.
    pub(crate) fn serve(&self, names: &[Arc<str>]) {
        let channel = |name: &Arc<str>| {
            Arc::new(Channel {
                name: name.clone(),
                begun: self.begun,
                clients: AtomicU64::new(0),
                requests: AtomicU64::new(0),
                errors: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                malformed: AtomicU64::new(0),
                last: AtomicU64::new(0),
            })
        };
        let _ = self.channels.set(names.iter().map(channel).collect());
    }

    /// The channel of a client; an extension has none.
    fn channel(&self, caller: &Caller) -> Option<&Arc<Channel>> {
        let Caller::Channel(name) = caller else { return None };
        // As a rule it is the very same text.
        let is_it = |channel: &&Arc<Channel>| Arc::ptr_eq(&channel.name, name) || channel.name == *name;
        self.channels.get()?.iter().find(is_it)
    }

    /// A message came.
    pub(crate) fn asked(&self, caller: &Caller, now: Instant) -> Option<&Channel> {
        let channel = self.channel(caller)?;
        add(&channel.requests, 1);
        channel.last.store(milliseconds(now.saturating_duration_since(self.begun)), Relaxed);
        Some(channel)
    }

    /// See [`crate::dispatch::Dispatcher::connected`].
    pub(crate) fn connected(&self, caller: &Caller) -> Client {
        let channel = self.channel(caller).cloned();
        if let Some(channel) = &channel {
            add(&channel.clients, 1);
        }
        Client(channel)
    }

    /// A command was asked for that there is not.
    pub(crate) fn unknown(&self) {
        add(&self.unknown, 1);
    }

    /// What is counted of a command.
    pub(crate) fn of<'a>(&self, slot: &'a Slot) -> &'a Counts {
        slot.counts.get_or_init(|| {
            let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
            commands.entry(slot.name.clone()).or_default().clone()
        })
    }

    /// As `waga-get-stats` tells it, of these commands.
    pub(crate) fn told(&self, slots: &[Arc<Slot>]) -> ServerStats {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |slot: &Arc<Slot>| Some(commands.get(&slot.name)?.told(&slot.name));
        ServerStats {
            uptime_seconds: self.begun.elapsed().as_secs(),
            channels: self.channels.get().into_iter().flatten().map(|channel| channel.told()).collect(),
            commands: slots.iter().filter_map(told).collect(),
            unknown_commands: self.unknown.load(Relaxed),
            log_lines_lost: log::lost(Kind::Log),
            audit_lines_lost: log::lost(Kind::Audit),
        }
    }
}

impl Counts {
    /// A call begins that was asked for then; it goes on until what this returns is dropped.
    pub(crate) fn begin(&self, begun: Instant) -> Call<'_> {
        add(&self.calls, 1);
        Call { counts: self, begun, failed: false }
    }

    /// It was not let begin.
    pub(crate) fn refuse(&self) {
        add(&self.refused, 1);
    }

    fn told(&self, name: &Arc<str>) -> CommandStats {
        // In this order, or a call could seem to have ended that has not begun.
        let ended = self.ended.load(Relaxed);
        let calls = self.calls.load(Relaxed);
        CommandStats {
            name: name.clone(),
            calls,
            running: calls.saturating_sub(ended),
            failures: self.failures.load(Relaxed),
            refused: self.refused.load(Relaxed),
            total_us: self.total.load(Relaxed) / 1000,
            longest_us: self.longest.load(Relaxed) / 1000,
        }
    }
}

/// A call under way. One whose client left ends when it is dropped, and did not fail.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    counts: &'a Counts,
    begun: Instant,
    /// Whether it is to be counted as failed.
    pub(crate) failed: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // In nanoseconds, for most take less than a microsecond or two; five centuries of them fit.
        let took = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        add(&self.counts.total, took);
        // Seldom, so the plain look first.
        if took > self.counts.longest.load(Relaxed) {
            self.counts.longest.fetch_max(took, Relaxed);
        }
        if self.failed {
            add(&self.counts.failures, 1);
        }
        add(&self.counts.ended, 1);
    }
}

impl Channel {
    /// What became of a message.
    pub(crate) fn ended(&self, outcome: Outcome) {
        match outcome {
            Outcome::Ok | Outcome::Abandoned => {}
            Outcome::Error(_) | Outcome::Unknown | Outcome::Panic => add(&self.errors, 1),
            Outcome::Refused(..) => add(&self.refused, 1),
            Outcome::Malformed => add(&self.malformed, 1),
        }
    }

    fn told(&self) -> ChannelStats {
        let requests = self.requests.load(Relaxed);
        let last = self.last.load(Relaxed);
        ChannelStats {
            name: self.name.clone(),
            clients: self.clients.load(Relaxed),
            requests,
            errors: self.errors.load(Relaxed),
            refused: self.refused.load(Relaxed),
            malformed: self.malformed.load(Relaxed),
            idle_ms: (requests > 0).then(|| milliseconds(self.begun.elapsed()).saturating_sub(last)),
        }
    }
}

/// A connection of a channel, as long as it is open.
#[derive(Debug)]
pub(crate) struct Client(Option<Arc<Channel>>);

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(channel) = &self.0 {
            channel.clients.fetch_sub(1, Relaxed);
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn a_command_is_counted_on_when_the_registry_is_built_anew() {
        let stats = Stats::default();
        for failed in [false, true] {
            let registry = Registry::builtins();
            let counts = stats.of(registry.find("guest-ping").unwrap());
            counts.begin(Instant::now()).failed = failed;
            let running = counts.begin(Instant::now());
            counts.refuse();
            let told = stats.told(registry.slots());
            assert_eq!(told.commands.len(), 1);
            assert_eq!((&*told.commands[0].name, told.commands[0].running), ("guest-ping", 1));
            drop(running);
        }
        let told = stats.told(Registry::builtins().slots()).commands.remove(0);
        assert_eq!((told.calls, told.failures, told.refused, told.running), (4, 1, 2, 0));
        assert!(told.longest_us <= told.total_us);
    }

    #[test]
    fn a_channel_counts_its_own_clients_and_no_extensions() {
        let stats = Stats::default();
        let [first, second] = ["first", "second"].map(|name| Caller::Channel(name.into()));
        stats.serve(&["first".into(), "second".into()]);
        let extension = Caller::Extension("x".into(), Arc::new(first.clone()));
        let client = stats.connected(&first);
        for outcome in [Outcome::Ok, Outcome::Malformed, Outcome::Unknown, Outcome::Panic] {
            stats.asked(&first, Instant::now()).unwrap().ended(outcome);
        }
        assert!(stats.asked(&extension, Instant::now()).is_none());
        assert!(stats.asked(&Caller::Channel("third".into()), Instant::now()).is_none());
        drop(stats.connected(&second));
        let told = stats.told(&[]).channels;
        let of = |it: &ChannelStats| (it.clients, it.requests, it.errors, it.refused, it.malformed);
        assert_eq!(told.iter().map(of).collect::<Vec<_>>(), [(1, 4, 2, 0, 1), (0, 0, 0, 0, 0)]);
        assert!(told[0].idle_ms.is_some() && told[1].idle_ms.is_none());
        drop(client);
        assert_eq!(stats.told(&[]).channels[0].clients, 0);
    }
}
