//! Commits that meet a freeze, or a disk that does not answer.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use waga_builtins::fsfreeze::Freeze;
use waga_builtins::{Agent, Caller, Catalogue, CommandInfo, Settings};

use super::{QUOTA, commit, file, in_own_process, names, store, told};
use crate::extension::failure::Failure;
use crate::extension::state::{Session, Stores};

fn agent(state_dir: &Path) -> (Arc<Agent>, Arc<smol::Executor<'static>>) {
    struct Nothing;
    impl Catalogue for Nothing {
        fn commands(&self, _: &Caller, _: bool) -> Vec<CommandInfo> {
            Vec::new()
        }
    }
    let executor = Arc::default();
    (Arc::new(Agent::new(&Settings::new(state_dir), Box::new(Nothing), &executor)), executor)
}

#[test]
fn while_filesystems_are_frozen_all_can_be_read_and_nothing_is_kept() {
    let output = in_own_process("frozen::of_a_frozen_agent").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{errors}");
}

/// An agent that finds the mark of one before it is frozen from the start, and thaws when it is asked to, which nobody does here.
#[test]
#[ignore = "a freeze locks the process in memory, and is not for others: the test above starts it"]
fn of_a_frozen_agent() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, _executor) = agent(&folder.path().join("agent"));
    let path = folder.path().join("state");
    let stores = Stores::new(&path);
    let call = || stores.session(&"acme".into(), Path::new("/lib/acme.wasm"), QUOTA, Arc::downgrade(&agent));
    let soon = || Instant::now() + Duration::from_secs(60);
    smol::block_on(async {
        let first = call();
        first.set("a", b"1".to_vec()).await.unwrap().unwrap();
        first.set("b", b"2".to_vec()).await.unwrap().unwrap();
        first.commit(soon()).await.unwrap();
        // One that has begun when the freeze comes.
        let caught = call();
        caught.set("a", b"9".to_vec()).await.unwrap().unwrap();
        fs::create_dir(folder.path().join("agent")).unwrap();
        fs::write(folder.path().join("agent/qga.state.isfrozen"), "").unwrap();
        Freeze::resume(&agent).unwrap();
        assert!(agent.freeze.is_frozen());
        let files = || (names(&path), fs::metadata(file(&path)).unwrap().modified().unwrap());
        let before = files();
        let reason = "filesystems are frozen: nothing can be kept now";
        let unkept = Err(Failure::Unkept(reason.to_owned()));
        assert_eq!(caught.commit(soon()).await, unkept);
        let other = call();
        assert_eq!(other.get("a").await.unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(other.set("a", b"3".to_vec()).await.unwrap(), Err(reason.to_owned()));
        assert_eq!(other.keys().await.unwrap(), [Arc::from("a"), Arc::from("b")]);
        // Nothing to keep is no failure; a deletion is.
        other.delete("c").await.unwrap();
        assert_eq!(other.commit(soon()).await, Ok(()));
        other.delete("a").await.unwrap();
        assert_eq!(other.commit(soon()).await, unkept);
        assert_eq!(files(), before);
    });
}

/// By its deadline a call has its answer, whoever is writing.
#[test]
fn who_waits_for_anothers_disk_is_answered_in_time_and_has_kept_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(store(folder.path()));
    commit(&store, &[("a", Some(b"1"))]).unwrap();
    let (agent, _executor) = agent(folder.path());
    let turn = smol::block_on(store.turn.lock_arc());
    let session = Session::new(store.clone(), QUOTA, Arc::downgrade(&agent));
    smol::block_on(async {
        session.set("a", b"2".to_vec()).await.unwrap().unwrap();
        let kept = session.commit(Instant::now() + Duration::from_millis(50)).await;
        assert_eq!(kept, Err(Failure::Time));
    });
    drop(turn);
    assert_eq!(told(&store.load().unwrap()), [("a".to_owned(), b"1".to_vec())]);
    // What is lost with the agent is told, and no panic.
    drop(agent);
    smol::block_on(async {
        session.set("a", b"2".to_vec()).await.unwrap().unwrap();
        let kept = session.commit(Instant::now() + Duration::from_secs(60)).await;
        assert_eq!(kept, Err(Failure::Unkept("the agent ends".to_owned())));
    });
}
