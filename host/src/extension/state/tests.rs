//! What is kept, against a model; files that are damaged, cut or not ours.

mod frozen;
mod killed;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;

use super::format::{decode, encode};
use super::store::{Refused, Stage, Store};
use super::view::{Changes, Entries, View};

const QUOTA: u64 = 1 << 20;

fn store(folder: &Path) -> Store {
    Store::new(folder, &"acme".into(), Path::new("/lib/acme.wasm"))
}

fn changes(list: &[(&str, Option<&[u8]>)]) -> Changes {
    list.iter().map(|(key, value)| (Arc::from(*key), value.map(Arc::from))).collect()
}

fn commit(store: &Store, list: &[(&str, Option<&[u8]>)]) -> Result<(), Refused> {
    store.commit(&changes(list), QUOTA, &Stage::default())
}

fn told(entries: &Entries) -> Vec<(String, Vec<u8>)> {
    entries.iter().map(|(key, value)| (key.to_string(), value.to_vec())).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn file(folder: &Path) -> PathBuf {
    let name = names(folder).into_iter().find(|name| name.ends_with(".state"));
    folder.join(name.expect("there is a state"))
}

#[derive(Debug, Clone)]
enum Step {
    Set(String, Vec<u8>),
    Delete(String),
    /// The call succeeds, or fails, and another one begins.
    End(bool),
    /// The agent starts anew.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![4 => "[a-d]", 1 => "\\PC{0,3}", 1 => "a{127,130}"];
    let value = prop::collection::vec(any::<u8>(), 0..120);
    prop_oneof![
        6 => (key.clone(), value).prop_map(|(key, value)| Step::Set(key, value)),
        2 => key.prop_map(Step::Delete),
        2 => any::<bool>().prop_map(Step::End),
        1 => Just(Step::Restart),
    ]
}

fn cost(map: &BTreeMap<String, Vec<u8>>) -> u64 {
    map.iter().map(|(key, value)| (key.len() + value.len() + 32) as u64).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn calls_one_after_the_other_are_as_a_map_that_is_copied(steps in prop::collection::vec(step(), 1..60)) {
        const SMALL: u64 = 600;
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path());
        let mut view = View::new(store.load().unwrap());
        let (mut kept, mut seen) = (BTreeMap::<String, Vec<u8>>::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Set(key, value) => {
                    let before = seen.clone();
                    seen.insert(key.clone(), value.clone());
                    let fits = (1..=128).contains(&key.len()) && cost(&seen) <= SMALL;
                    prop_assert_eq!(view.set(&key, value, SMALL).is_ok(), fits);
                    if !fits {
                        seen = before;
                    }
                }
                Step::Delete(key) => {
                    view.delete(&key);
                    seen.remove(&key);
                }
                Step::End(succeeds) => {
                    let changes = view.take();
                    if succeeds {
                        store.commit(&changes, SMALL, &Stage::default()).unwrap();
                        kept = seen.clone();
                    }
                    seen = kept.clone();
                    view = View::new(store.load().unwrap());
                }
                Step::Restart => {
                    store = self::store(folder.path());
                    seen = kept.clone();
                    view = View::new(store.load().unwrap());
                }
            }
            let keys: Vec<_> = view.keys().iter().map(ToString::to_string).collect();
            prop_assert_eq!(&keys, &seen.keys().cloned().collect::<Vec<_>>());
            for key in &keys {
                prop_assert_eq!(&view.get(key).unwrap()[..], &seen[key][..]);
            }
        }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_cut_or_changed_is_not(
        map in prop::collection::btree_map("\\PC{1,20}", prop::collection::vec(any::<u8>(), 0..50), 0..10),
        cut in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut entries = Entries::default();
        for (key, value) in &map {
            entries.insert(key.as_str().into(), value.as_slice().into());
        }
        let whole = encode(&entries, Path::new("/a\nb"));
        prop_assert_eq!(decode(&whole).unwrap(), entries);
        let at = cut.index(whole.len());
        prop_assert!(decode(&whole[..at]).is_err());
        let mut changed = whole;
        changed[at] ^= 1_u8 << bit;
        prop_assert!(decode(&changed).is_err());
    }

    #[test]
    fn nothing_that_may_stand_in_a_file_is_more_than_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes).is_err());
        // With a digest that is right.
        let mut file = format!("waga state 1 {}\n", {
            let mut hasher = crate::extension::digest::Hasher::default();
            hasher.update(&bytes);
            hasher.finish()
        }).into_bytes();
        file.extend_from_slice(&bytes);
        if let Ok(entries) = decode(&file) {
            prop_assert!(entries.size() < 10_000);
        }
    }
}

#[test]
fn of_two_calls_that_end_at_once_the_later_ones_word_counts_key_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    commit(&store, &[("both", Some(b"0")), ("gone", Some(b"0"))]).unwrap();
    let [mut first, mut second] = [(); 2].map(|()| View::new(store.load().unwrap()));
    first.set("both", b"1".to_vec(), QUOTA).unwrap();
    first.set("first", b"1".to_vec(), QUOTA).unwrap();
    first.delete("gone");
    second.set("both", b"2".to_vec(), QUOTA).unwrap();
    second.set("second", b"2".to_vec(), QUOTA).unwrap();
    assert_eq!(second.get("first"), None);
    store.commit(&first.take(), QUOTA, &Stage::default()).unwrap();
    store.commit(&second.take(), QUOTA, &Stage::default()).unwrap();
    let expected = [("both", "2"), ("first", "1"), ("second", "2")];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
    assert_eq!(told(&self::store(folder.path()).load().unwrap()), expected);
}

/// Each alone had room.
#[test]
fn together_they_may_keep_no_more_than_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let [mut first, mut second] = [(); 2].map(|()| View::new(store.load().unwrap()));
    first.set("a", vec![0; 600], 1000).unwrap();
    second.set("b", vec![0; 600], 1000).unwrap();
    store.commit(&first.take(), 1000, &Stage::default()).unwrap();
    let refused = store.commit(&second.take(), 1000, &Stage::default());
    let Err(Refused::Quota(text)) = refused else { panic!("{refused:?}") };
    assert_eq!(text, "the state would come to 1266 bytes, and may have 1000 (limits.state = \"1000\")");
    // Under a quota that was lowered it may become less, and no more.
    let mut less = View::new(store.load().unwrap());
    assert!(less.set("a", vec![0; 700], 100).is_err());
    less.set("a", vec![0; 500], 100).unwrap();
    store.commit(&less.take(), 100, &Stage::default()).unwrap();
    assert_eq!(store.load().unwrap().size(), 533);
}

#[test]
fn what_changes_nothing_writes_nothing_and_what_is_given_up_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/state");
    let store = store(&path);
    commit(&store, &[]).unwrap();
    commit(&store, &[("a", None)]).unwrap();
    assert!(!path.exists());
    commit(&store, &[("a", Some(b"1"))]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&path), mode(&file(&path))), (0o700, 0o600));
    let before = fs::metadata(file(&path)).unwrap().ino();
    commit(&store, &[("a", Some(b"1")), ("b", None)]).unwrap();
    assert_eq!(fs::metadata(file(&path)).unwrap().ino(), before);
    let stage = Stage::default();
    assert!(stage.give_up());
    let refused = store.commit(&changes(&[("a", Some(b"2"))]), QUOTA, &stage);
    assert!(matches!(refused, Err(Refused::GivenUp)));
    assert_eq!(told(&self::store(&path).load().unwrap()), [("a".to_owned(), b"1".to_vec())]);
    assert_eq!(names(&path).len(), 1);
    // Once it has taken its place it cannot be given up.
    let stage = Stage::default();
    store.commit(&changes(&[("a", Some(b"3"))]), QUOTA, &stage).unwrap();
    assert!(!stage.give_up());
}

/// Whether the old file or the new one is there after a disk failed, only the disk knows: it is asked again.
#[test]
fn after_a_failure_the_file_counts_and_not_what_was_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let store = store(&path);
    commit(&store, &[("a", Some(b"1"))]).unwrap();
    let written = fs::read(file(&path)).unwrap();
    commit(&store, &[("a", Some(b"2"))]).unwrap();
    // Nothing can be written there.
    let unfinished = file(&path).with_extension("new");
    fs::create_dir(&unfinished).unwrap();
    assert!(matches!(commit(&store, &[("a", Some(b"3"))]), Err(Refused::Failed(_))));
    fs::write(file(&path), written).unwrap();
    assert_eq!(told(&store.load().unwrap()), [("a".to_owned(), b"1".to_vec())]);
    fs::remove_dir(&unfinished).unwrap();
    commit(&store, &[("b", Some(b"3"))]).unwrap();
    assert_eq!(told(&self::store(&path).load().unwrap()).len(), 2);
}

#[test]
fn what_is_damaged_is_put_aside_when_something_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for (number, damage) in [&b""[..], b"waga state 1 ", b"waga state 2 x\n", &[0; 4096], &[b'x'; 100_000]]
        .into_iter()
        .enumerate()
    {
        let path = folder.path().join(number.to_string());
        commit(&store(&path), &[("a", Some(b"1"))]).unwrap();
        fs::write(file(&path), damage).unwrap();
        let store = store(&path);
        assert_eq!(told(&store.load().unwrap()), []);
        // It is only read so far: it is there still.
        assert_eq!(fs::read(file(&path)).unwrap(), damage);
        commit(&store, &[("b", Some(b"2"))]).unwrap();
        let names = names(&path);
        assert!(names.len() == 2 && names[0].ends_with(".damaged"), "{names:?}");
        assert_eq!(fs::read(path.join(&names[0])).unwrap(), damage);
        assert_eq!(told(&self::store(&path).load().unwrap()), [("b".to_owned(), b"2".to_vec())]);
        // What comes next is no damage.
        commit(&store, &[("b", Some(b"3"))]).unwrap();
        assert_eq!(fs::read(path.join(&names[0])).unwrap(), damage);
    }
    // Somebody who read the log has taken it away meanwhile.
    let path = folder.path().join("gone");
    commit(&store(&path), &[("a", Some(b"1"))]).unwrap();
    fs::write(file(&path), "damaged").unwrap();
    let store = store(&path);
    assert_eq!(told(&store.load().unwrap()), []);
    fs::remove_file(file(&path)).unwrap();
    commit(&store, &[("b", Some(b"2"))]).unwrap();
    assert_eq!(told(&self::store(&path).load().unwrap()), [("b".to_owned(), b"2".to_vec())]);
    let path = folder.path().join("large");
    commit(&self::store(&path), &[("a", Some(b"1"))]).unwrap();
    fs::File::options().write(true).open(file(&path)).unwrap().set_len(17 << 20).unwrap();
    assert_eq!(told(&self::store(&path).load().unwrap()), []);
}

#[test]
fn what_others_could_have_put_there_is_not_read_and_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    commit(&store(&path), &[("a", Some(b"1"))]).unwrap();
    let refused = |reason: &str| {
        let told = store(&path).load().unwrap_err();
        assert!(told.contains(reason), "{told}");
        let refused = commit(&store(&path), &[("a", Some(b"2"))]);
        assert!(matches!(&refused, Err(Refused::Failed(told)) if told.contains(reason)), "{refused:?}");
    };
    let (file, elsewhere) = (file(&path), folder.path().join("elsewhere"));
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(&file, 0o666);
    refused("chmod go-w");
    mode(&file, 0o600);
    mode(&path, 0o777);
    refused("chmod go-w");
    mode(&path, 0o700);
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    refused("is a link");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    refused("is not a regular file");
    fs::remove_dir(&file).unwrap();
    // A link in the place of what is being written leads nowhere.
    let new = file.with_extension("new");
    let victim = folder.path().join("victim");
    fs::write(&victim, "x").unwrap();
    symlink(&victim, &new).unwrap();
    commit(&store(&path), &[("a", Some(b"3"))]).unwrap();
    assert_eq!((fs::read(&victim).unwrap(), names(&path).len()), (b"x".to_vec(), 1));
    fs::remove_dir_all(&path).unwrap();
    symlink(folder.path().join("nowhere"), &path).unwrap();
    refused("is a link that leads nowhere");
}

#[test]
fn each_source_has_its_own_and_it_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, source: &str| Store::new(folder.path(), &name.into(), Path::new(source));
    let all = [("acme", "/a.wasm"), ("acme", "/b.wasm"), ("acme-b", "/a.wasm"), ("a", "/a.wasm")];
    for (number, (name, source)) in (0_u8..).zip(all) {
        assert_eq!(told(&of(name, source).load().unwrap()), []);
        commit(&of(name, source), &[("a", Some(&[number]))]).unwrap();
    }
    for (number, (name, source)) in (0_u8..).zip(all) {
        assert_eq!(told(&of(name, source).load().unwrap()), [("a".to_owned(), vec![number])]);
    }
}

/// One of the tests that are left to a process of their own.
#[expect(clippy::disallowed_methods, reason = "it is no agent that starts it")]
fn in_own_process(test: &str) -> Command {
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["--exact", &format!("extension::state::tests::{test}"), "--ignored", "--nocapture"]);
    tests
}
