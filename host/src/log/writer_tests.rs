//! Files that hang, are full, held or rotated.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Instant;

use super::*;

fn writer() -> &'static Writer {
    Box::leak(Box::new(Writer::new()))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Waits for what the thread does on its own time.
fn until(what: &str, wanted: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !wanted() {
        assert!(Instant::now() < end, "{what}: never came");
        std::thread::yield_now();
    }
}

fn piped(files: &Writer, pipe: impl Into<OwnedFd>) -> usize {
    files.add(File::from(pipe.into()), None, Kind::Log)
}

#[test]
fn a_file_that_hangs_holds_up_nobody_and_keeps_the_oldest() {
    let files = writer();
    let (mut reader, pipe) = std::io::pipe().unwrap();
    // It waits, as a file of a hung filesystem does.
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let place = piped(files, pipe);
    files.put(place, format!("{}\n", "x".repeat(8000)).as_bytes());
    until("it hangs", || files.lock().writing);
    let sent = 100_000;
    for number in 0..sent {
        files.put(place, format!("{number}\n").as_bytes());
    }
    files.flush(Duration::from_millis(10));
    let mut found = String::new();
    while !found.contains("of the log were lost\n") {
        let mut chunk = [0; 4096];
        let count = reader.read(&mut chunk).unwrap();
        found.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
    }
    let lines: Vec<_> = found.lines().collect();
    let (loss, kept) = lines.split_last().unwrap();
    let (_, kept) = kept.split_first().unwrap();
    assert!(kept.iter().enumerate().all(|(number, line)| *line == number.to_string()));
    assert!(loss.ends_with(&format!(": error: {} lines of the log were lost", sent - kept.len())), "{loss}");
    assert_eq!(kept.len(), LINES);
    files.put(place, b"after\n");
    let mut after = [0; 6];
    reader.read_exact(&mut after).unwrap();
    assert_eq!(&after, b"after\n");
}

#[test]
fn bytes_are_bounded_too() {
    let files = writer();
    assert!(files.hold(true, LAST));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let place = files.add(open(&path).unwrap(), Some(path.clone()), Kind::Audit);
    let line = format!("{}\n", "x".repeat(4000));
    let before = crate::log::lost(Kind::Audit);
    for _ in 0..1000 {
        files.put(place, line.as_bytes());
    }
    assert!(files.lock().queues[place].waiting.len() <= BYTES);
    files.hold(false, LAST);
    files.flush(LAST);
    let kept = BYTES / line.len();
    let found = text(&path);
    assert_eq!(found.lines().filter(|found| found.len() == 4000).count(), kept);
    assert!(found.ends_with(&format!("\"lost\": {}}}\n", 1000 - kept)));
    // Other tests of this program lose some too.
    assert!(crate::log::lost(Kind::Audit) - before >= 1000 - kept as u64);
}

#[test]
fn what_is_held_waits_and_goes_in_order() {
    let files = writer();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let place = files.add(open(&path).unwrap(), Some(path.clone()), Kind::Log);
    files.put(place, b"before\n");
    files.flush(LAST);
    assert!(files.hold(true, LAST));
    files.put(place, b"1\n");
    files.reopen();
    files.put(place, b"2\n");
    // There is nothing to wait for.
    let start = Instant::now();
    files.flush(Duration::from_secs(100));
    assert!(start.elapsed() < Duration::from_secs(50));
    until("it rests", || files.lock().idle);
    assert_eq!(text(&path), "before\n");
    files.hold(false, LAST);
    files.flush(LAST);
    assert_eq!(text(&path), "before\n1\n2\n");
    // Twice is once.
    files.hold(false, LAST);
    files.put(place, b"3\n");
    files.flush(LAST);
    assert_eq!(text(&path), "before\n1\n2\n3\n");
}

#[test]
fn a_write_that_has_begun_is_waited_for() {
    let files = writer();
    let (mut reader, pipe) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let place = piped(files, pipe);
    files.put(place, format!("{}\n", "x".repeat(8000)).as_bytes());
    until("it hangs", || files.lock().writing);
    assert!(!files.hold(true, Duration::from_millis(20)));
    std::thread::scope(|scope| {
        let held = scope.spawn(|| files.hold(true, Duration::from_secs(20)));
        reader.read_exact(&mut vec![0; 8001]).unwrap();
        assert!(held.join().unwrap());
    });
    assert!(!files.lock().writing);
}

#[test]
fn a_rotated_file_is_opened_anew_and_one_that_cannot_be_stays() {
    let files = writer();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let (path, old) = (folder.join("log"), dir.path().join("old"));
    let place = files.add(open(&path).unwrap(), Some(path.clone()), Kind::Log);
    files.put(place, b"1\n");
    files.flush(LAST);
    std::fs::rename(&path, &old).unwrap();
    files.put(place, b"2\n");
    files.flush(LAST);
    files.reopen();
    files.put(place, b"3\n");
    files.flush(LAST);
    assert_eq!((text(&old), text(&path)), ("1\n2\n".into(), "3\n".into()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::rename(&folder, dir.path().join("gone")).unwrap();
    files.reopen();
    files.put(place, b"4\n");
    files.flush(LAST);
    assert_eq!(text(&dir.path().join("gone/log")), "3\n4\n");
}

#[test]
fn a_full_disk_is_told_when_there_is_room() {
    let files = writer();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    symlink("/dev/full", &path).unwrap();
    let place = files.add(open(&path).unwrap(), Some(path.clone()), Kind::Log);
    for _ in 0..5 {
        files.put(place, b"lost\n");
        files.flush(LAST);
    }
    std::fs::remove_file(&path).unwrap();
    files.reopen();
    files.put(place, b"there\n");
    files.flush(LAST);
    let found = text(&path);
    assert!(found.ends_with(": error: 5 lines of the log were lost\nthere\n"), "{found}");
    assert_eq!(found.lines().count(), 2);
}

#[test]
fn a_line_half_of_which_was_written_ends_there() {
    let files = writer();
    let (reader, pipe) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    let place = piped(files, pipe);
    assert!(files.hold(true, LAST));
    let line = format!("{}\n", "x".repeat(999));
    for _ in 0..10 {
        files.put(place, line.as_bytes());
    }
    files.hold(false, LAST);
    files.flush(Duration::from_secs(20));
    let mut reader = reader;
    let mut first = vec![0; 4096];
    reader.read_exact(&mut first).unwrap();
    assert_eq!(first, line.repeat(5).as_bytes()[..4096]);
    files.put(place, b"after\n");
    files.flush(Duration::from_secs(20));
    let mut rest = vec![0; 4096];
    let count = reader.read(&mut rest).unwrap();
    let rest = std::str::from_utf8(&rest[..count]).unwrap();
    assert!(
        rest.starts_with('\n') && rest.ends_with(": error: 6 lines of the log were lost\nafter\n"),
        "{rest}"
    );
}

#[test]
fn one_file_does_not_wait_for_anothers_turn() {
    let files = writer();
    let dir = tempfile::tempdir().unwrap();
    let places: Vec<_> =
        ["a", "b"].map(|name| files.add(open(&dir.path().join(name)).unwrap(), None, Kind::Log)).to_vec();
    for number in 0..1000 {
        for place in &places {
            files.put(*place, format!("{number}\n").as_bytes());
        }
    }
    files.flush(LAST);
    assert_eq!(text(&dir.path().join("a")), text(&dir.path().join("b")));
    assert_eq!(text(&dir.path().join("a")).lines().count(), 1000);
}

#[test]
fn a_fifo_needs_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(open(&path).is_err());
}
