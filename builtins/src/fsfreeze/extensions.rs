//! Extensions that are told of freezing and thawing, beside the operator's program. What they are, and what runs them, is no matter of
//! this crate: the catalogue has those that are to be told.
//!
//! They are told of a freeze after the program, in their order, before anything is frozen; and of the thaw in reverse, when nothing is
//! frozen any more, so that none of them delays it. Who was told of the one is told of the other, whatever came in between.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use smol::channel::Receiver;
use smol::future::or;

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
    /// By one before: all that is known of it is what it is called.
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

/// What tells a hook from others, in a line.
fn called(hook: &dyn FreezeHook) -> String {
    format!("{} {}", hook.extension(), hook.file().escape_debug())
}

impl Freeze {
    /// Tells all of them of the freeze, up to the first that fails. A freeze that is to end meanwhile ends the one that is being told.
    pub(super) fn tell_freeze(&self, agent: &Agent) -> Result<()> {
        self.lock().owed.clear();
        let ended = || Error::generic("the freeze ended before all extensions were told of it");
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
            self.told(&*hook, "freeze", begun, ran.as_ref().err());
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
    pub(super) fn tell_thaw(&self, agent: &Agent, reported: bool) {
        if self.lock().owed.is_empty() {
            return;
        }
        let mut ready = None;
        // Each is taken out first: whatever it does, it is not told twice.
        while let Some(owed) = { self.lock().owed.pop() } {
            let begun = Instant::now();
            let mut hook = match owed {
                Owed::Kept(hook) => hook,
                Owed::Left(name) => {
                    let ready = ready.get_or_insert_with(|| smol::block_on(agent.freeze_hooks()));
                    match ready.iter().position(|hook| called(&**hook) == name) {
                        Some(place) => ready.swap_remove(place),
                        None => {
                            self.lost(&name, reported);
                            continue;
                        }
                    }
                }
            };
            let ran = smol::block_on(hook.thaw());
            if reported {
                self.told(&*hook, "thaw", begun, ran.as_ref().err());
            }
            if let Err(reason) = ran {
                tracing::error!(reason, "an extension's thaw hook failed");
            }
        }
        if let Err(error) = self.marker.owe([]) {
            tracing::warn!(%error, "which extensions were to be told of the thaw stays written down");
        }
    }

    /// What ends a hook that is told of the freeze.
    pub(super) fn stopped(&self) -> Result<Receiver<()>> {
        let (stop, stopped) = smol::channel::bounded(1);
        let mut inner = self.lock();
        if inner.cancelled.is_some() {
            return Err(Error::generic("the freeze ended before its hook began"));
        }
        inner.stop_hook = Some(stop);
        Ok(stopped)
    }

    fn told(&self, hook: &dyn FreezeHook, action: &'static str, begun: Instant, error: Option<&String>) {
        self.lock().report.hooks.push(HookRun {
            hook: hook.file().to_owned(),
            extension: Some(hook.extension().to_string()),
            action,
            time: report::nanoseconds(begun.elapsed()),
            error: error.cloned(),
        });
    }

    /// One that an agent before told of a freeze is not there any more.
    fn lost(&self, name: &str, reported: bool) {
        let (extension, file) = name.split_once(' ').unwrap_or((name, ""));
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
