//! The engine and the one thread that runs components: started by the first call of one, never before. The thread that serves channels
//! runs none.
//!
//! Calls share the thread: each yields at every tick, so one that loops delays the others and nobody else. What a component awaits (a
//! timer, a nested call) is driven by the daemon's reactor; this thread sleeps until it is woken.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use smol::future::or;
use smol::lock::Semaphore;
use smol::{Executor, Task};
use target_lexicon::{Architecture, Triple};
use wasmtime::{Config, Engine as Wasmtime};

use super::clock::{Clock, Until};
use super::stacks::Stacks;

/// The format of artifacts: whatever is compiled by another engine, or by one that was set up otherwise, is compiled anew.
pub const ARTIFACTS: &str = "wasmtime-48.0.8-3";

/// Calls of all extensions at once that are asked for from outside.
pub(super) const AT_ONCE: usize = 16;

/// Calls within those at once, by `next` or by name: as many as they have when each goes through the eight wraps that a command may have, for
/// calls that keep one another from ending would all fail. What all of them may have in memory together is bounded by these two.
pub(super) const WITHIN: usize = 8 * AT_ONCE;

/// Stack of the agent's own code that runs beneath a component, in bytes.
const HOST_STACK: usize = 512 << 10;

/// How long what runs on the thread of components has to see that its time is over.
const GRACE: Duration = Duration::from_millis(100);

/// What components run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Machine code: of what every processor of this architecture has.
    Native,
    /// Code of the Pulley interpreter.
    Pulley,
}

impl Kind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Pulley => "pulley",
        }
    }
}

/// How an engine is set up: for the daemon and for what compiles the same, or the one would not load what the other made.
///
/// # Errors
/// This build of the engine cannot do it.
pub fn config(kind: Kind, stack: usize) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config.wasm_component_model(true).concurrency_support(false);
    config.epoch_interruption(true);
    // No address space is held for what a memory might become: it is moved when it grows.
    config.memory_reservation(0).memory_reservation_for_growth(1 << 20).memory_guard_size(64 << 10);
    config.max_wasm_stack(stack).async_stack_size(stack + HOST_STACK);
    config.with_host_stack(Arc::<Stacks>::default());
    config.wasm_memory64(false).wasm_relaxed_simd(false);
    config.wasm_backtrace_max_frames(NonZeroUsize::new(8)).generate_address_map(false);
    if kind == Kind::Pulley {
        config.target("pulley64")?;
        return Ok(config);
    }
    // Said, a target is the architecture's baseline; unsaid, the features of the processor that compiles would be in the code, and what one
    // machine put into a cache would not load on another. All of WebAssembly's SIMD is there at the baseline, too: on x86-64 that is SSE2,
    // and what needs more (SSSE3 to swizzle, SSE4.1 to round) is made of several instructions or a call into the engine.
    let host = Triple::host();
    // Elsewhere there is no compiler, and the engine's own choice is its interpreter.
    if let Architecture::X86_64 | Architecture::Aarch64(_) | Architecture::S390x | Architecture::Riscv64(_) =
        host.architecture
    {
        config.target(&host.to_string())?;
    }
    Ok(config)
}

/// An engine that runs.
#[derive(Debug)]
pub struct Engine {
    engine: Wasmtime,
    kind: Kind,
    executor: Arc<Executor<'static>>,
    clock: Arc<Clock>,
    /// Dropped, it ends the thread.
    _running: smol::channel::Sender<()>,
    /// Turns of [`AT_ONCE`].
    pub(super) turns: Arc<Semaphore>,
    /// Turns of [`WITHIN`].
    pub(super) within: Arc<Semaphore>,
}

impl Engine {
    /// Starts the engine's threads.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub fn start(engine: Wasmtime, kind: Kind) -> io::Result<Self> {
        let executor: Arc<Executor<'static>> = Arc::default();
        let (running, stop) = smol::channel::bounded::<()>(1);
        let run = executor.clone();
        // Components have stacks of their own.
        thread::Builder::new().name("extensions".into()).stack_size(1 << 20).spawn(move || {
            // Until the engine is dropped.
            smol::future::block_on(run.run(async {
                let _ = stop.recv().await;
            }));
        })?;
        let clock = Clock::start(&engine)?;
        Ok(Self {
            engine,
            kind,
            executor,
            clock,
            _running: running,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            within: Arc::new(Semaphore::new(WITHIN)),
        })
    }

    /// Wasmtime's part.
    pub fn wasmtime(&self) -> &Wasmtime {
        &self.engine
    }

    /// What components run as.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Counts time for a call that is to end at `deadline`.
    pub(super) fn until(&self, deadline: Instant) -> Until {
        self.clock.until(deadline)
    }

    /// Runs something on the thread of components and waits for it; `None` if it has not ended a moment after the deadline that it should
    /// have kept itself: something that nothing interrupts may keep the thread. Dropped, it ends as with [`Self::spawn`].
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        deadline: Instant,
    ) -> Option<T> {
        let late = self.until(deadline + GRACE);
        let ended = async { Some(self.spawn(work).await) };
        let late = async {
            late.await;
            None
        };
        or(ended, late).await
    }

    /// Runs something on the thread of components; dropped, it ends there at its next yield. It must not panic.
    pub(super) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Task<T> {
        self.executor.spawn(work)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.clock.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_a_thread_that_is_stuck_is_answered_in_time() {
        let wasmtime = Wasmtime::new(&config(Kind::Pulley, 512 << 10).unwrap()).unwrap();
        let engine = Engine::start(wasmtime, Kind::Pulley).unwrap();
        let begun = Instant::now();
        let (until, soon) = (begun + Duration::from_secs(60), begun + Duration::from_millis(50));
        assert_eq!(smol::block_on(engine.run(async { 7 }, until)), Some(7));
        let (release, stuck) = std::sync::mpsc::channel::<()>();
        engine.spawn(async move { stuck.recv() }).detach();
        assert_eq!(smol::block_on(engine.run(async { 8 }, soon)), None);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        drop(release);
    }
}
