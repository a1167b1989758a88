//! Extensions that are told of freezing and thawing, beside the operator's program. What they are, and what runs them, is no matter of
//! this crate: the catalogue has those that are to be told.
//!
//! They are told of a freeze after the program, in their order, before anything is frozen; and of the thaw in reverse, when nothing is
//! frozen any more, so that none of them delays it. Who was told of the one is told of the other, whatever came in between.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use smol::channel::Receiver;
use smol::future::{FutureExt, or};

use super::report::{self, HookRun};
use super::state::Freeze;
use crate::command::BoxFuture;
use crate::context::Agent;
use crate::error::{Error, Result};

/// What came of telling one; an error is text for people.
pub type Told = std::result::Result<(), String>;

/// One that is told of a freeze, and of the thaw after it.
pub trait FreezeHook: Send {
    /// The extension whose it is.
    fn extension(&self) -> &Arc<str>;

    /// The file that has it, as people know it: a component's, or a script's.
    fn file(&self) -> &str;

    /// Of one of several of an extension, what tells it from the others: the name of a script. It stays, wherever the next version lies.
    fn script(&self) -> Option<&str>;

    /// Tells it that filesystems are about to be frozen. Dropped, it ends.
    ///
    /// # Errors
    /// Why that failed, for whoever asked for the freeze.
    fn freeze(&mut self) -> BoxFuture<'_, Told>;

    /// Whether that has begun, however it ended: then it is told of the thaw.
    fn has_begun(&self) -> bool;

    /// Tells it that nothing is frozen any more. Ends in bounded time.
    ///
    /// # Errors
    /// Why that failed.
    fn thaw(&mut self) -> BoxFuture<'_, Told>;
}

/// One that was told of a freeze, and of no thaw yet.
pub(super) enum Owed {
    /// By this agent, which has it still as it was then.
    Kept(Box<dyn FreezeHook>),
    /// By one before, or one whose telling was ended: all that is known of it is what it is called.
    Left(String),
}

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.called())
    }
}

impl Owed {
    fn called(&self) -> String {
        match self {
            Self::Kept(hook) => called(&**hook),
            Self::Left(called) => called.clone(),
        }
    }
}

/// What tells a hook from others, for the agent's successor as well, whose configuration may have it elsewhere.
fn id(hook: &dyn FreezeHook) -> String {
    match hook.script() {
        Some(script) => format!("{} {}", hook.extension(), script.escape_debug()),
        None => hook.extension().to_string(),
    }
}

/// That, and for people where its file is, in a line.
fn called(hook: &dyn FreezeHook) -> String {
    format!("{}\t{}", id(hook), hook.file().escape_debug())
}

/// The two of them.
fn parts(called: &str) -> (&str, &str) {
    called.split_once('\t').unwrap_or((called, ""))
}

/// One that was told of the thaw, and what came of that.
type Back = (Box<dyn FreezeHook>, Told);

/// Why nothing came of what was to be done elsewhere.
enum Unfinished {
    /// It panicked.
    Fault,
    /// The agent ends, or somebody wanted it to stop.
    Stopped,
}

impl Freeze {
    /// Tells all of them of the freeze, up to the first that fails. A freeze that is to end meanwhile ends the one that is being told.
    pub(super) fn tell_freeze(&self, agent: &Arc<Agent>) -> Result<()> {
        let ended = || Error::generic("the freeze ended before all extensions were told of it");
        // Of an earlier freeze, whose agent did not come to it.
        self.tell_owed(agent, false, true);
        if !self.lock().owed.is_empty() {
            return Err(ended());
        }
        let stopped = self.stopped()?;
        // Whatever they need is loaded here, before anything is frozen.
        let ready = smol::block_on(unless(stopped, agent.freeze_hooks()));
        self.lock().stop_hook = None;
        for mut hook in ready.ok_or_else(ended)? {
            let stopped = self.stopped()?;
            // Written down first: an agent that finds it tells of the thaw in place of this one.
            let owed: Vec<_> = self.lock().owed.iter().map(Owed::called).collect();
            self.marker.owe(owed.into_iter().chain([called(&*hook)])).map_err(|error| {
                Error::io(format_args!("cannot write '{}'", self.marker.owed_path().display()), error)
            })?;
            let begun = Instant::now();
            let ran = smol::block_on(unless(stopped, hook.freeze()));
            let ran = ran.unwrap_or_else(|| Err("the freeze ended meanwhile".to_owned()));
            self.told(&*hook, "freeze", begun, &ran, true);
            let mut inner = self.lock();
            inner.stop_hook = None;
            if hook.has_begun() {
                inner.owed.push(Owed::Kept(hook));
            }
            drop(inner);
            ran.map_err(Error::generic)?;
        }
        Ok(())
    }

    /// Tells of the thaw those that were told of the freeze, the last first. `reported`: that belongs to the freeze of the report.
    ///
    /// What fails is in the log and the report; the thaw does not fail for it.
    pub(super) fn tell_thaw(&self, agent: &Arc<Agent>, reported: bool) {
        if self.lock().owed.is_empty() && !reported {
            return;
        }
        self.tell_owed(agent, reported, false);
    }

    /// That. `may_stop`: whatever is to end the freeze ends this, too; then the thaw after that tells the rest.
    pub(super) fn tell_owed(&self, agent: &Arc<Agent>, reported: bool, may_stop: bool) {
        let mut ready = None;
        loop {
            // From one whose other end is gone nothing comes.
            let stopped = if may_stop { self.stopped().ok() } else { Some(smol::channel::bounded(1).1) };
            let Some(stopped) = stopped else { return };
            let Some((name, owed)) = self.last_owed() else { break };
            let begun = Instant::now();
            let told = self.one_owed(agent, owed, &mut ready, &stopped);
            self.lock().stop_hook = None;
            match told {
                Ok(Some((hook, ran))) => self.told(&*hook, "thaw", begun, &ran, reported),
                Ok(None) => self.lost(&name, reported),
                Err(Unfinished::Fault) => {
                    tracing::error!(hook = parts(&name).0, "a thaw hook ended by a fault of the agent");
                }
                // It stays written down, and is told by the thaw, or by the agent, that comes after.
                Err(Unfinished::Stopped) => return,
            }
            self.lock().owed.pop();
            self.write_owed();
        }
        self.lock().stop_hook = None;
        // What was not begun of the last freeze may be written down as well.
        self.write_owed();
    }

    /// The one that is told next. It stays among them until it was told: whoever comes after an agent that ends meanwhile has to know.
    fn last_owed(&self) -> Option<(String, Owed)> {
        let mut inner = self.lock();
        let last = inner.owed.last_mut()?;
        let name = last.called();
        Some((name.clone(), std::mem::replace(last, Owed::Left(name))))
    }

    /// Tells one, and has it back; `None`: it is not there.
    fn one_owed(
        &self,
        agent: &Arc<Agent>,
        owed: Owed,
        ready: &mut Option<Vec<Box<dyn FreezeHook>>>,
        stopped: &Receiver<()>,
    ) -> std::result::Result<Option<Back>, Unfinished> {
        let mut hook = match owed {
            Owed::Kept(hook) => hook,
            Owed::Left(name) => {
                if ready.is_none() {
                    let its = agent.clone();
                    let found = elsewhere(agent, stopped, async move { its.freeze_hooks().await });
                    *ready = Some(match found {
                        Err(Unfinished::Stopped) => return Err(Unfinished::Stopped),
                        found => found.unwrap_or_default(),
                    });
                }
                let ready = ready.get_or_insert_default();
                match ready.iter().position(|hook| id(&**hook) == parts(&name).0) {
                    Some(place) => ready.swap_remove(place),
                    None => return Ok(None),
                }
            }
        };
        let tell = async move {
            let ran = hook.thaw().await;
            (hook, ran)
        };
        elsewhere(agent, stopped, tell).map(Some)
    }

    fn write_owed(&self) {
        let owed: Vec<_> = self.lock().owed.iter().map(Owed::called).collect();
        if let Err(error) = self.marker.owe(owed) {
            tracing::warn!(%error, "which extensions were to be told of the thaw stays written down");
        }
    }

    /// What ends a hook that is told of the freeze, or late of one before.
    pub(super) fn stopped(&self) -> Result<Receiver<()>> {
        let (stop, stopped) = smol::channel::bounded(1);
        let mut inner = self.lock();
        if inner.cancelled.is_some() {
            return Err(Error::generic("the freeze ended before its hook began"));
        }
        inner.stop_hook = Some(stop);
        Ok(stopped)
    }

    fn told(&self, hook: &dyn FreezeHook, action: &'static str, begun: Instant, ran: &Told, reported: bool) {
        let (extension, time) = (&**hook.extension(), begun.elapsed());
        match ran {
            Ok(()) => tracing::info!(action, extension, "a freeze hook has run"),
            Err(reason) => tracing::error!(action, extension, reason, "a freeze hook failed"),
        }
        if reported {
            self.lock().report.hooks.push(HookRun {
                hook: hook.file().to_owned(),
                extension: Some(extension.to_owned()),
                action,
                time: report::nanoseconds(time),
                error: ran.as_ref().err().cloned(),
            });
        }
    }

    /// One that an agent before told of a freeze is not there any more.
    fn lost(&self, name: &str, reported: bool) {
        let (id, file) = parts(name);
        let extension = id.split_once(' ').map_or(id, |(extension, _)| extension);
        let reason = "it is not there any more, or cannot be loaded, to be told of the thaw";
        tracing::error!(extension, file, "{reason}");
        if reported {
            self.lock().report.hooks.push(HookRun {
                hook: file.to_owned(),
                extension: Some(extension.to_owned()),
                action: "thaw",
                time: 0,
                error: Some(format!("extension {extension}: {reason}")),
            });
        }
    }
}

/// What comes of it on the agent's thread, unless it is to stop: that which thaws has a small stack, and is to be there for the next thaw.
fn elsewhere<T: Send + 'static>(
    agent: &Agent,
    stopped: &Receiver<()>,
    work: impl Future<Output = T> + Send + 'static,
) -> std::result::Result<T, Unfinished> {
    let work = agent.run(AssertUnwindSafe(work).catch_unwind()).ok_or(Unfinished::Stopped)?;
    match smol::block_on(unless(stopped.clone(), work.fallible())) {
        Some(Some(done)) => done.map_err(|_| Unfinished::Fault),
        // Its executor is gone.
        Some(None) | None => Err(Unfinished::Stopped),
    }
}

/// What comes of it, unless it is to stop.
async fn unless<T>(stopped: Receiver<()>, work: impl Future<Output = T>) -> Option<T> {
    let stop = async {
        // Nobody drops the other end but after sending.
        if stopped.recv().await.is_err() {
            std::future::pending::<()>().await;
        }
        None
    };
    or(async { Some(work.await) }, stop).await
}

#[cfg(test)]
mod tests;
