//! What one call has in its store: what it may still use up, what it is told, and where what it says goes. It lives as long as the
//! call, or until the thaw, where that is to be told to the same instance as the freeze.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use waga_builtins::{Agent, exec};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, UpdateDeadline};
use wasmtime_wasi_io::IoView;

use super::files::{Files, Slots};
use super::log::Journal;
use super::meter::Meter;
use super::reach::Reach;
use super::scripts::Script;
use super::state::Session;
use crate::config::CallLimits;

/// Instances, and tables, of one component: those of Python have some dozens.
const INSTANCES: usize = 512;
/// Memories of one component: those of JavaScript have three.
const MEMORIES: usize = 64;
/// Bytes that an element of a table takes.
const ELEMENT: usize = 16;
/// Resources that a call may have open.
const RESOURCES: usize = 1024;
/// Random bytes that a call may ask for.
const RANDOM: u64 = 1 << 20;

/// What an extension is called, and what it is told of itself.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// Its name.
    pub name: Arc<str>,
    /// Its configuration, as JSON.
    pub config: Arc<str>,
    /// What bounds a call.
    pub limits: Arc<CallLimits>,
    /// Its environment.
    pub env: Arc<[(String, String)]>,
    /// What a call may call in turn; nothing outside of the agent.
    pub reach: Option<Arc<Reach>>,
    /// The programs that it may run.
    pub exec: Arc<exec::Rules>,
    /// What it keeps from one call to the next.
    pub state: Arc<Session>,
    /// Whom it works for.
    pub agent: Weak<Agent>,
    /// Whether it may do things while filesystems are frozen.
    pub while_frozen: bool,
    /// What it may have of files.
    pub files: Arc<Files>,
    /// The file that the engine of scripts is to run.
    pub script: Option<Script>,
}

/// The data of a call's store.
pub(super) struct Call {
    pub(super) grant: Grant,
    /// Shared with the streams that it has open.
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) begun: Instant,
    /// Random bytes left.
    pub(super) random: u64,
    /// Room for files.
    pub(super) slots: Slots,
    memory: u64,
    /// Whether it was refused memory that it asked for.
    pub(super) denied: bool,
    host_calls: u64,
    /// Whether it made more calls than it may.
    pub(super) exceeded: bool,
    table: ResourceTable,
    /// Given instead of that one once it made too many calls: nothing is found in it, and so the next call ends it.
    nothing: ResourceTable,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// What ends a component that the engine has no word for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Too many calls of the agent.
    HostCalls,
    /// Its own wish.
    Exit,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostCalls => "too many calls of the agent",
            Self::Exit => "an end of its own",
        })
    }
}

impl std::error::Error for Ended {}

impl Call {
    pub(super) fn new(grant: Grant) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        let mut nothing = ResourceTable::new();
        nothing.set_max_capacity(0);
        Self {
            journal: Arc::new(Mutex::new(Journal::new(grant.name.clone(), grant.limits.log))),
            host_calls: grant.limits.host_calls,
            grant,
            begun: Instant::now(),
            random: RANDOM,
            slots: Slots::default(),
            memory: 0,
            denied: false,
            exceeded: false,
            table,
            nothing,
        }
    }

    /// Another call begins in the instance of an earlier one: it may use up as much, but for the memory that is there already.
    pub(super) fn renew(&mut self, grant: Grant) {
        self.rest();
        self.host_calls = grant.limits.host_calls;
        self.grant = grant;
        self.begun = Instant::now();
        self.random = RANDOM;
        (self.denied, self.exceeded) = (false, false);
    }

    /// The call is over, and its instance is kept: what it said is said to its end.
    pub(super) fn rest(&mut self) {
        let fresh = Journal::new(self.grant.name.clone(), self.grant.limits.log);
        *self.journal() = fresh;
    }

    /// Where its words go.
    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one call of the agent.
    ///
    /// # Errors
    /// It was one too many; the component ends.
    pub(super) fn count(&mut self) -> wasmtime::Result<()> {
        match self.host_calls.checked_sub(1) {
            Some(left) => {
                self.host_calls = left;
                Ok(())
            }
            None => {
                self.exceeded = true;
                Err(wasmtime::Error::new(Ended::HostCalls))
            }
        }
    }
}

impl IoView for Call {
    /// Asked once for each call of a `wasi:io` interface, which is how those are counted.
    fn table(&mut self) -> &mut ResourceTable {
        if self.count().is_ok() { &mut self.table } else { &mut self.nothing }
    }
}

impl Call {
    /// The table, for what counts its calls itself.
    pub(super) fn resources(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    fn grow(&mut self, current: usize, desired: usize, size: usize) -> bool {
        let more = (desired.saturating_sub(current) as u64).saturating_mul(size as u64);
        let total = self.memory.saturating_add(more);
        let granted = total <= self.grant.limits.memory;
        if granted {
            self.memory = total;
        } else {
            self.denied = true;
        }
        granted
    }
}

/// The sum over all memories, tables included, counts.
impl ResourceLimiter for Call {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, 1))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, ELEMENT))
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

/// At each tick: go on after the others had their turn, or end when the CPU time is used up.
pub(super) fn at_tick(meter: &Meter, limits: &CallLimits) -> UpdateDeadline {
    if meter.spent() < limits.cpu { UpdateDeadline::Yield(1) } else { UpdateDeadline::Interrupt }
}
