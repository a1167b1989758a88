//! The counter of handles, kept between runs so that a client with an old handle never meets another file behind it.
//!
//! The file is qemu-ga's `qga.state`. Numbers are reserved some at a time and the file is replaced by rename, not synced: it must
//! survive the agent, and after a crash of the whole guest no client holds a handle. (qemu-ga syncs twice on every open, some 8 ms.)

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The first handle of all; as qemu-ga.
const FIRST: i64 = 1000;
/// Numbers that are reserved at once.
const RESERVED: i64 = 64;

#[derive(Debug)]
pub(super) struct Counter {
    path: PathBuf,
    /// The next handle; unknown until the first is asked for.
    next: Option<i64>,
    /// What the file says: handles below it may be given out.
    limit: i64,
    /// Whether the file is ours to write.
    kept: bool,
}

impl Counter {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("qga.state"), next: None, limit: 0, kept: true }
    }

    /// A number that was never given out before.
    ///
    /// Where the state cannot be kept, numbers come from the clock, which does not repeat either: reading a file must not need a
    /// writable folder. (qemu-ga refuses.)
    pub(super) fn take(&mut self) -> i64 {
        let handle = match self.next {
            Some(next) => next,
            None => self.load(),
        };
        if self.kept && handle >= self.limit {
            match self.store(handle + RESERVED) {
                Ok(()) => self.limit = handle + RESERVED,
                Err(error) => {
                    tracing::warn!(%error, path = %self.path.display(), "cannot keep the counter of file handles");
                    return self.take_from_clock();
                }
            }
        }
        self.next = Some(handle + 1);
        handle
    }

    fn load(&mut self) -> i64 {
        let kept = match fs::read_to_string(&self.path) {
            Ok(text) => counter(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(FIRST),
            Err(_) => None,
        };
        kept.unwrap_or_else(|| {
            tracing::warn!(path = %self.path.display(), "the counter of file handles cannot be read");
            self.take_from_clock() - 1
        })
    }

    fn take_from_clock(&mut self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let handle = i64::try_from(now.as_millis()).unwrap_or(FIRST);
        self.kept = false;
        self.next = Some(handle + 1);
        handle
    }

    fn store(&self, value: i64) -> io::Result<()> {
        let staged = self.path.with_extension("state.new");
        // Made anew each time: what lies there, a link perhaps, is not written through.
        let _ = fs::remove_file(&staged);
        let stored = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&staged)
            .and_then(|mut file| file.write_all(format!("[global]\nfd_counter={value}\n").as_bytes()))
            .and_then(|()| fs::rename(&staged, &self.path));
        if stored.is_err() {
            let _ = fs::remove_file(&staged);
        }
        stored
    }

    /// Gives back what was reserved and not used.
    pub(super) fn close(&mut self) {
        if let Some(next) = self.next.filter(|&next| self.kept && next < self.limit)
            && let Err(error) = self.store(next)
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot keep the counter of file handles");
        }
    }
}

/// The counter in a key file: the value of `fd_counter` in the group `global`.
fn counter(text: &str) -> Option<i64> {
    let mut lines = text.lines().skip_while(|line| line.trim() != "[global]").skip(1);
    let value =
        lines.find_map(|line| line.trim().strip_prefix("fd_counter")?.trim_start().strip_prefix('='))?;
    value.trim().parse().ok().filter(|counter| (FIRST..i64::MAX / 2).contains(counter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_after_a_restart_and_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Counter::new(dir.path());
        assert_eq!([first.take(), first.take()], [1000, 1001]);
        first.close();
        let mut second = Counter::new(dir.path());
        assert_eq!(second.take(), 1002, "a clean end wastes no number");
        let mut third = Counter::new(dir.path());
        let number = third.take();
        assert!(number > 1002, "a crash repeats no number: {number}");
        let many: Vec<i64> = (0..200).map(|_| third.take()).collect();
        assert_eq!(many, (number + 1..=number + 200).collect::<Vec<_>>());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_that_was_laid_in_the_way_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("qga.state.new")).unwrap();
        assert_eq!(Counter::new(dir.path()).take(), 1000);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(fs::read_to_string(dir.path().join("qga.state")).unwrap().contains("fd_counter=1064"));
    }

    #[test]
    fn without_a_place_for_the_state_numbers_still_do_not_repeat() {
        let mut counter = Counter::new(Path::new("/nonexistent/folder"));
        let number = counter.take();
        assert!(number > 1_000_000_000_000);
        assert_eq!(counter.take(), number + 1);
        counter.close();
    }

    #[test]
    fn a_file_of_qemu_gas_is_read() {
        assert_eq!(counter("[global]\nfd_counter=1234\n"), Some(1234));
        assert_eq!(counter("# x\n[other]\nfd_counter=1\n[global]\n fd_counter = 1001\n"), Some(1001));
        for bad in ["", "[global]\n", "fd_counter=1000", "[global]\nfd_counter=-1", "[global]\nfd_counter=x"]
        {
            assert_eq!(counter(bad), None, "{bad:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("qga.state"), "garbage").unwrap();
        assert!(Counter::new(dir.path()).take() > 1_000_000_000_000);
    }
}
