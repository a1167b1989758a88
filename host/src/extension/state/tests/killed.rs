//! A writer that is killed a thousand times.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use super::{QUOTA, in_own_process, names, store};
use crate::extension::state::store::Stage;

/// A writer that is killed at any moment leaves what it kept last, or the next, whole.
#[test]
fn a_writer_may_be_killed_a_thousand_times() {
    // In memory if there is such a folder: a process that ends loses nothing that a disk would keep, and a disk takes its time.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = folder.path().join("state");
    let (mut last, mut commits) = (0, 0);
    for round in 0..1000_u64 {
        let mut tests = in_own_process("killed::keeps_on");
        tests.env("WAGA_STATE", &path).env("WAGA_FROM", last.to_string());
        let mut child = tests.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let kept = |line: String| line.split_once(TOLD).and_then(|(_, number)| number.parse::<u32>().ok());
        // The first that is kept tells that it is under way; then it is killed somewhere in the next ones.
        let mut told = said.find_map(kept).unwrap();
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        std::thread::sleep(Duration::from_micros(round * 7919 % 2000));
        child.kill().unwrap();
        child.wait().unwrap();
        for number in said.filter_map(kept) {
            (told, commits) = (number, commits + 1);
        }
        let entries = store(&path).load().unwrap();
        let number = |key: &str| u32::from_le_bytes(entries.get(key).unwrap()[..].try_into().unwrap());
        last = number("first");
        assert!(last == told || last == told + 1, "{last} after {told}");
        assert_eq!((number("second"), entries.get("blob").unwrap()), (last, &blob(last)));
        assert!(names(&path).len() <= 2);
    }
    assert!(commits > 0, "each was killed before its second commit");
}

/// More than a page, of another length each time.
fn blob(number: u32) -> Arc<[u8]> {
    vec![number.to_le_bytes()[0]; 4000 + number as usize % 5000].into()
}

/// Stands before the number of what was kept.
const TOLD: &str = "kept: ";

#[test]
#[ignore = "it is the writer of the test above, and never ends"]
fn keeps_on() {
    // Started by somebody else it has nothing to do.
    let Some(path) = std::env::var_os("WAGA_STATE").map(PathBuf::from) else { return };
    let from: u32 = std::env::var("WAGA_FROM").unwrap().parse().unwrap();
    let store = store(&path);
    for number in from + 1.. {
        let bytes: Arc<[u8]> = number.to_le_bytes().as_slice().into();
        let changes = ["first", "second"].map(|key| (Arc::from(key), Some(bytes.clone())));
        let changes = changes.into_iter().chain([(Arc::from("blob"), Some(blob(number)))]).collect();
        store.commit(&changes, QUOTA, &Stage::default()).unwrap();
        std::io::stdout().write_all(format!("{TOLD}{number}\n").as_bytes()).unwrap();
    }
}
