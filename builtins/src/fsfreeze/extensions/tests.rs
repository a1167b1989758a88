//! Who is told of what, in which order, and by whom.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use smol::Executor;

use super::super::report::By;
use super::super::state::Phase;
use super::*;
use crate::context::{Caller, Catalogue, CommandInfo, Settings};

/// What was told, in order.
type Notes = Arc<Mutex<Vec<String>>>;

/// One that does as its name says: `extension:script@version`.
struct Fake {
    name: &'static str,
    extension: Arc<str>,
    file: String,
    has_begun: bool,
    notes: Notes,
}

impl Fake {
    fn does(&self, action: &str) -> Told {
        let note = format!("{} {action}", self.name);
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
        match self.name {
            "bad" => Err(format!("no {action}")),
            "mad" if action == "thaw" => panic!("a fault"),
            _ => Ok(()),
        }
    }
}

impl FreezeHook for Fake {
    fn extension(&self) -> &Arc<str> {
        &self.extension
    }

    fn file(&self) -> &str {
        &self.file
    }

    fn script(&self) -> Option<&str> {
        self.name.split_once(':').map(|(_, script)| script)
    }

    fn freeze(&mut self) -> BoxFuture<'_, Told> {
        Box::pin(async {
            if self.name == "lost" {
                return Err("it is not there".into());
            }
            self.has_begun = true;
            if self.name == "slow" {
                std::future::pending::<()>().await;
            }
            self.does("freeze")
        })
    }

    fn has_begun(&self) -> bool {
        self.has_begun
    }

    fn thaw(&mut self) -> BoxFuture<'_, Told> {
        Box::pin(async {
            if self.name == "waits" {
                self.does("begins")?;
                while !self.notes.lock().unwrap().iter().any(|note| note == "go") {
                    smol::future::yield_now().await;
                }
            }
            self.does("thaw")
        })
    }
}

struct Fakes(Vec<&'static str>, Notes);

impl Catalogue for Fakes {
    fn commands(&self, _: &Caller, _: bool) -> Vec<CommandInfo> {
        Vec::new()
    }

    fn freeze_hooks(&self) -> BoxFuture<'_, Vec<Box<dyn FreezeHook>>> {
        let fake = |name: &&'static str| -> Box<dyn FreezeHook> {
            let (name, version) = name.split_once('@').unwrap_or((*name, "a"));
            let extension = name.split(':').next().unwrap_or(name).into();
            let file = format!("/{version}\nb");
            Box::new(Fake { name, extension, file, has_begun: false, notes: self.1.clone() })
        };
        let all = self.0.iter().map(fake).collect();
        Box::pin(async move { all })
    }
}

/// An agent with these, and what runs what it starts.
fn agent_with(names: &[&'static str], state: &Path, notes: &Notes) -> (Arc<Agent>, Arc<Executor<'static>>) {
    let executor: Arc<Executor<'static>> = Arc::default();
    let fakes = Box::new(Fakes(names.to_vec(), notes.clone()));
    (Arc::new(Agent::new(&Settings::new(state), fakes, &executor)), executor)
}

/// An agent with these; its executor runs as long as the closure does.
fn with(names: &[&'static str], state: &Path, act: impl FnOnce(&Arc<Agent>)) -> Vec<String> {
    running(names, state, |agent, _| act(agent))
}

/// As [`with`], with what was told by then.
fn running(names: &[&'static str], state: &Path, act: impl FnOnce(&Arc<Agent>, &Notes)) -> Vec<String> {
    let notes = Notes::default();
    let (agent, executor) = agent_with(names, state, &notes);
    let (end, ended) = smol::channel::bounded::<()>(1);
    std::thread::scope(|scope| {
        scope.spawn(|| smol::block_on(executor.run(ended.recv())));
        // Dropped by a panic as well, or the thread goes on for ever.
        let _end = end;
        act(&agent, &notes);
    });
    notes.lock().unwrap().clone()
}

fn note(notes: &Notes, text: &str) {
    notes.lock().unwrap().push(text.to_owned());
}

fn await_note(notes: &Notes, text: &str) {
    until(|| notes.lock().unwrap().iter().any(|note| note == text));
}

fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

fn phase(agent: &Agent) -> Phase {
    agent.freeze.lock().phase
}

/// An agent was killed when all of these had been told of the freeze.
fn left_behind(names: &[&'static str], state: &Path) {
    with(names, state, |agent| agent.freeze.tell_freeze(agent).unwrap());
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
        assert_eq!(agent.freeze.marker.owed(), ["first\t/a\\nb", "gone\t/a\\nb", "last\t/a\\nb"]);
    });
    assert_eq!(told.len(), 3);
    let told = with(&["last", "other", "first"], folder.path(), |agent| {
        Freeze::resume(agent).unwrap();
        agent.freeze.tell_thaw(agent, true);
        let errors = errors(agent);
        assert!(errors[0].is_none() && errors[2].is_none(), "{errors:?}");
        assert!(errors[1].as_deref().is_some_and(|text| text.starts_with("extension gone: it is not there")));
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

#[test]
fn one_of_the_next_version_is_told_for_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    left_behind(&["pack@1", "more:a b.js@1", "more:c.js@1"], folder.path());
    let told = with(&["more:c.js@2", "pack@2", "more:a b.js@2"], folder.path(), |agent| {
        Freeze::resume(agent).unwrap();
        agent.freeze.tell_thaw(agent, true);
        assert_eq!(errors(agent), [None, None, None]);
    });
    assert_eq!(told, ["more:c.js thaw", "more:a b.js thaw", "pack thaw"]);
    left_behind(&["more:a.js"], folder.path());
    with(&[], folder.path(), |agent| {
        Freeze::resume(agent).unwrap();
        agent.freeze.tell_thaw(agent, true);
        let run = &agent.freeze.report().hooks[0];
        assert_eq!((run.extension.as_deref(), &*run.hook), (Some("more"), "/a\\nb"));
    });
}

#[test]
fn an_agent_that_ends_leaves_to_its_successor_who_was_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let (agent, executor) = agent_with(&["first", "second"], folder.path(), &notes);
    agent.freeze.tell_freeze(&agent).unwrap();
    let both = agent.freeze.marker.owed();
    drop(executor);
    agent.freeze.tell_thaw(&agent, true);
    assert_eq!(agent.freeze.marker.owed(), both);
    // While one is being told.
    let notes = Notes::default();
    let (agent, executor) = agent_with(&["first", "waits", "last"], folder.path(), &notes);
    agent.freeze.tell_freeze(&agent).unwrap();
    let (end, ended) = smol::channel::bounded::<()>(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = smol::block_on(executor.run(ended.recv()));
        });
        scope.spawn(|| agent.freeze.tell_thaw(&agent, true));
        await_note(&notes, "waits begins");
        drop(end);
    });
    assert_eq!(agent.freeze.marker.owed().len(), 2);
    let told = with(&["first", "waits", "last"], folder.path(), |agent| {
        Freeze::resume(agent).unwrap();
        agent.freeze.lock().owed.pop();
        agent.freeze.tell_thaw(agent, true);
        assert!(agent.freeze.marker.owed().is_empty());
    });
    assert_eq!(told, ["first thaw"]);
}

#[test]
fn the_end_of_an_agent_waits_until_all_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let told = running(&["first", "waits"], folder.path(), |agent, notes| {
        agent.freeze.tell_freeze(agent).unwrap();
        agent.freeze.lock().phase = Phase::Frozen;
        std::thread::scope(|scope| {
            scope.spawn(|| smol::block_on(Freeze::thaw(agent, By::Failure, "a test".to_owned())));
            await_note(notes, "waits begins");
            assert_eq!(phase(agent), Phase::Thawing);
            let mut end = Box::pin(Freeze::end(agent, "a test"));
            assert!(smol::block_on(smol::future::poll_once(&mut end)).is_none());
            note(notes, "go");
            smol::block_on(end);
            note(notes, "end");
        });
        assert_eq!(phase(agent), Phase::Thawed);
        assert!(agent.freeze.report().thawed_by == Some(By::Failure));
    });
    assert_eq!(told[2..], ["waits begins", "go", "waits thaw", "first thaw", "end"]);
}

#[test]
fn a_freeze_tells_first_what_is_owed_of_one_before() {
    let folder = tempfile::tempdir().unwrap();
    left_behind(&["first", "gone"], folder.path());
    let told = with(&["first"], folder.path(), |agent| {
        Freeze::resume(agent).unwrap();
        agent.freeze.tell_freeze(agent).unwrap();
        agent.freeze.tell_thaw(agent, true);
        assert_eq!(errors(agent), [None, None]);
    });
    assert_eq!(told, ["first thaw", "first freeze", "first thaw"]);
}

#[test]
fn who_is_owed_is_told_without_any_thaw() {
    let folder = tempfile::tempdir().unwrap();
    left_behind(&["first", "last"], folder.path());
    let told = with(&["first", "last"], folder.path(), |agent| {
        Freeze::resume(agent).unwrap();
        Freeze::catch_up(agent);
        until(|| phase(agent) == Phase::Thawed);
        assert!(agent.freeze.lock().owed.is_empty() && agent.freeze.marker.owed().is_empty());
        assert!(agent.freeze.report().hooks.is_empty());
        Freeze::catch_up(agent);
        assert_eq!(phase(agent), Phase::Thawed);
    });
    assert_eq!(told, ["last thaw", "first thaw"]);
}

#[test]
fn a_thaw_does_not_wait_for_who_is_owed() {
    let folder = tempfile::tempdir().unwrap();
    left_behind(&["first", "waits", "last"], folder.path());
    let told = running(&["first", "waits", "last"], folder.path(), |agent, notes| {
        Freeze::resume(agent).unwrap();
        Freeze::catch_up(agent);
        await_note(notes, "waits begins");
        std::thread::scope(|scope| {
            scope.spawn(|| smol::block_on(Freeze::thaw(agent, By::Failure, "a test".to_owned())));
            // It is past what may be frozen.
            until(|| phase(agent) == Phase::Thawing);
            note(notes, "go");
        });
        assert_eq!((phase(agent), agent.freeze.lock().cancelled), (Phase::Thawed, None));
        assert!(agent.freeze.marker.owed().is_empty());
    });
    let last = ["waits thaw", "first thaw"];
    assert!(
        told.starts_with(&["last thaw".into(), "waits begins".into()])
            && told.ends_with(&last.map(str::to_owned)),
        "{told:?}"
    );
    assert_eq!(told.iter().filter(|note| *note == "waits thaw").count(), 1, "{told:?}");
}
