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
        let mut ready = None;
        // Each is taken out first: whatever it does, it is not told twice.
        while let Some(owed) = { self.lock().owed.pop() } {
            let begun = Instant::now();
            let mut hook = match owed {
                Owed::Kept(hook) => hook,
                Owed::Left(name) => {
                    let ready = ready.get_or_insert_with(|| {
                        let its = agent.clone();
                        elsewhere(agent, async move { its.freeze_hooks().await }).unwrap_or_default()
                    });
                    match ready.iter().position(|hook| called(&**hook) == name) {
                        Some(place) => ready.swap_remove(place),
                        None => {
                            self.lost(&name, reported);
                            continue;
                        }
                    }
                }
            };
            let told = elsewhere(agent, async move {
                let ran = hook.thaw().await;
                (hook, ran)
            });
            match told {
                Some((hook, ran)) => self.told(&*hook, "thaw", begun, &ran, reported),
                None => tracing::error!("a thaw hook ended by a fault of the agent"),
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

/// What comes of it on the agent's thread: that which thaws has a small stack, and is to be there for the next thaw. `None`: it panicked, or
/// the agent ends.
fn elsewhere<T: Send + 'static>(agent: &Agent, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let work = agent.run(AssertUnwindSafe(work).catch_unwind())?;
    smol::block_on(work.fallible())?.ok()
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
mod tests {
    use std::sync::{Mutex, PoisonError};

    use smol::Executor;

    use super::*;
    use crate::context::{Caller, Catalogue, CommandInfo, Settings};

    /// What was told, in order.
    type Notes = Arc<Mutex<Vec<String>>>;

    /// One that does as its name says.
    struct Fake {
        name: Arc<str>,
        has_begun: bool,
        notes: Notes,
    }

    impl Fake {
        fn does(&self, action: &str) -> Told {
            let note = format!("{} {action}", self.name);
            self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
            match &*self.name {
                "bad" => Err(format!("no {action}")),
                "mad" if action == "thaw" => panic!("a fault"),
                _ => Ok(()),
            }
        }
    }

    impl FreezeHook for Fake {
        fn extension(&self) -> &Arc<str> {
            &self.name
        }

        fn file(&self) -> &str {
            "/a\nb"
        }

        fn freeze(&mut self) -> BoxFuture<'_, Told> {
            Box::pin(async {
                if &*self.name == "lost" {
                    return Err("it is not there".into());
                }
                self.has_begun = true;
                if &*self.name == "slow" {
                    std::future::pending::<()>().await;
                }
                self.does("freeze")
            })
        }

        fn has_begun(&self) -> bool {
            self.has_begun
        }

        fn thaw(&mut self) -> BoxFuture<'_, Told> {
            Box::pin(async { self.does("thaw") })
        }
    }

    struct Fakes(Vec<&'static str>, Notes);

    impl Catalogue for Fakes {
        fn commands(&self, _: &Caller, _: bool) -> Vec<CommandInfo> {
            Vec::new()
        }

        fn freeze_hooks(&self) -> BoxFuture<'_, Vec<Box<dyn FreezeHook>>> {
            let fake = |name: &&str| -> Box<dyn FreezeHook> {
                Box::new(Fake { name: (*name).into(), has_begun: false, notes: self.1.clone() })
            };
            let all = self.0.iter().map(fake).collect();
            Box::pin(async move { all })
        }
    }

    /// An agent with these; its executor runs as long as the closure does.
    fn with(names: &[&'static str], state: &std::path::Path, act: impl FnOnce(&Arc<Agent>)) -> Vec<String> {
        let notes = Notes::default();
        let executor: Arc<Executor<'static>> = Arc::default();
        let agent = Arc::new(Agent::new(
            &Settings::new(state),
            Box::new(Fakes(names.to_vec(), notes.clone())),
            &executor,
        ));
        let (end, ended) = smol::channel::bounded::<()>(1);
        std::thread::scope(|scope| {
            scope.spawn(|| smol::block_on(executor.run(ended.recv())));
            act(&agent);
            drop(end);
        });
        notes.lock().unwrap().clone()
    }

    fn errors(agent: &Agent) -> Vec<Option<String>> {
        agent.freeze.report().hooks.into_iter().map(|run| run.error).collect()
    }

    #[test]
    fn who_was_told_of_the_one_is_told_of_the_other_in_reverse() {
        let folder = tempfile::tempdir().unwrap();
        let told = with(&["first", "mad", "bad", "never"], folder.path(), |agent| {
            assert_eq!(agent.freeze.tell_freeze(agent).unwrap_err().desc, "no freeze");
            agent.freeze.tell_thaw(agent, true);
            assert_eq!(errors(agent), [None, None, Some("no freeze".into()), Some("no thaw".into()), None]);
            // Nobody is told twice.
            agent.freeze.tell_thaw(agent, true);
            assert_eq!(agent.freeze.marker.owed(), [""; 0]);
        });
        assert_eq!(told, ["first freeze", "mad freeze", "bad freeze", "bad thaw", "mad thaw", "first thaw"]);
        let told = with(&["first", "lost"], folder.path(), |agent| {
            assert_eq!(agent.freeze.tell_freeze(agent).unwrap_err().desc, "it is not there");
            agent.freeze.tell_thaw(agent, false);
            assert_eq!(errors(agent).len(), 2);
        });
        assert_eq!(told, ["first freeze", "first thaw"]);
    }

    #[test]
    fn a_freeze_that_is_to_end_ends_who_is_being_told() {
        let folder = tempfile::tempdir().unwrap();
        let told = with(&["slow", "never"], folder.path(), |agent| {
            std::thread::scope(|scope| {
                let freeze = scope.spawn(|| agent.freeze.tell_freeze(agent).unwrap_err().desc);
                let stop = loop {
                    // Not while it is asked which there are.
                    if !agent.freeze.marker.owed().is_empty()
                        && let Some(stop) = agent.freeze.lock().stop_hook.take()
                    {
                        break stop;
                    }
                    std::thread::yield_now();
                };
                stop.try_send(()).unwrap();
                assert_eq!(freeze.join().unwrap(), "the freeze ended meanwhile");
            });
            agent.freeze.tell_thaw(agent, true);
        });
        assert_eq!(told, ["slow thaw"]);
    }

    #[test]
    fn the_successor_of_an_agent_tells_those_that_are_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let told = with(&["first", "gone", "last"], folder.path(), |agent| {
            agent.freeze.tell_freeze(agent).unwrap();
            assert_eq!(agent.freeze.marker.owed(), ["first /a\\nb", "gone /a\\nb", "last /a\\nb"]);
        });
        assert_eq!(told.len(), 3);
        let told = with(&["last", "other", "first"], folder.path(), |agent| {
            Freeze::resume(agent).unwrap();
            agent.freeze.tell_thaw(agent, true);
            let errors = errors(agent);
            assert!(errors[0].is_none() && errors[2].is_none(), "{errors:?}");
            assert!(
                errors[1].as_deref().is_some_and(|text| text.starts_with("extension gone: it is not there"))
            );
        });
        assert_eq!(told, ["last thaw", "first thaw"]);
        for broken in ["", "x", "\n\n\n", "\u{fffd}"] {
            std::fs::write(folder.path().join("waga.owed"), broken).unwrap();
            let told = with(&["first"], folder.path(), |agent| {
                Freeze::resume(agent).unwrap();
                agent.freeze.tell_thaw(agent, true);
            });
            assert_eq!(told, [""; 0], "{broken:?}");
            assert!(!folder.path().join("waga.owed").exists());
        }
    }
}
