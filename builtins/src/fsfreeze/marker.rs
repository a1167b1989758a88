//! What outlives the agent: that filesystems are frozen, and that they were thawed without being asked.
//!
//! Three files in the state folder. `qga.state.isfrozen` is qemu-ga's own, there from before the first filesystem is frozen until after the
//! last one is thawed: an agent that starts and finds it goes on being frozen, whichever of the two left it. `waga.thawed` holds the error
//! that the next thaw is answered with. `waga.owed` has the extensions that were told of a freeze and not of a thaw yet: one that is broken
//! keeps nothing from being thawed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Most bytes of a notice that are read.
const LONGEST: u64 = 4 << 10;

/// Most bytes of what extensions are owed that are read.
const MOST_OWED: u64 = 1 << 20;

/// What an agent that is gone left.
#[derive(Debug)]
pub(super) struct Left {
    /// Since when, as far as the file tells.
    pub(super) since: Option<SystemTime>,
    /// The file, locked by now.
    pub(super) marker: Option<File>,
}

#[derive(Debug)]
pub(super) struct Marker {
    frozen: PathBuf,
    thawed: PathBuf,
    owed: PathBuf,
    /// What becomes that.
    owed_new: PathBuf,
}

impl Marker {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            frozen: state_dir.join("qga.state.isfrozen"),
            thawed: state_dir.join("waga.thawed"),
            owed: state_dir.join("waga.owed"),
            owed_new: state_dir.join("waga.owed.new"),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.frozen
    }

    /// Whether an agent left filesystems frozen, and is gone: while it lives the file is locked. One of another boot says nothing any more,
    /// as in a guest that was made from a snapshot, and is removed. (One that is empty is qemu-ga's, which says neither.)
    pub(super) fn found(&self) -> Option<Left> {
        let mut options = OpenOptions::new();
        let opened = options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(&self.frozen);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(_) => return Some(Left { since: None, marker: None }),
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return None;
        }
        let mut boot = String::new();
        let read = (&mut file).take(LONGEST).read_to_string(&mut boot);
        if read.is_ok() && !boot.is_empty() && boot_id().is_some_and(|now| now != boot) {
            if let Err(error) = self.unset() {
                tracing::warn!(%error, "the marker of a freeze before this boot stays");
            }
            return None;
        }
        let since = file.metadata().and_then(|metadata| metadata.modified()).ok();
        Some(Left { since, marker: Some(file) })
    }

    /// Before the first filesystem is frozen; the file, locked, to be kept until the last one is thawed. One that is there already is made
    /// new: its time is that of the freeze.
    ///
    /// # Errors
    /// It cannot be written; or another agent that lives has filesystems frozen, and its state here.
    pub(super) fn set(&self) -> io::Result<File> {
        if let Ok(another) = File::open(&self.frozen)
            && flock(&another, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
        {
            return Err(io::Error::other("another agent has filesystems frozen"));
        }
        self.unset()?;
        let mut file = create(&self.frozen)?;
        file.write_all(boot_id().unwrap_or_default().as_bytes())?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    /// After the last one is thawed.
    pub(super) fn unset(&self) -> io::Result<()> {
        remove(&self.frozen)
    }

    /// What the next thaw is to be answered with.
    pub(super) fn notice(&self) -> Option<String> {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(&self.thawed).ok()?;
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Keeps that for the agent's successor, or forgets it.
    pub(super) fn keep(&self, notice: Option<&str>) -> io::Result<()> {
        remove(&self.thawed)?;
        match notice {
            Some(text) => create(&self.thawed)?.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }

    pub(super) fn owed_path(&self) -> &Path {
        &self.owed
    }

    /// Keeps for the agent's successor which extensions are to be told of a thaw, a line each. What was kept before is there until then,
    /// whenever the agent is killed.
    pub(super) fn owe(&self, lines: impl IntoIterator<Item = String>) -> io::Result<()> {
        let lines: String = lines.into_iter().map(|line| line + "\n").collect();
        if lines.is_empty() {
            return remove(&self.owed);
        }
        remove(&self.owed_new)?;
        let boot = boot_id().unwrap_or_default();
        create(&self.owed_new)?.write_all(format!("{}\n{lines}", boot.trim_end()).as_bytes())?;
        fs::rename(&self.owed_new, &self.owed)
    }

    /// Those lines, as an agent of this boot left them; none of what cannot be read.
    pub(super) fn owed(&self) -> Vec<String> {
        let mut options = OpenOptions::new();
        let opened = options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(&self.owed);
        let Ok(file) = opened else { return Vec::new() };
        let mut text = String::new();
        if file.take(MOST_OWED).read_to_string(&mut text).is_err() {
            return Vec::new();
        }
        let mut lines =
            text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned);
        let boot = lines.next();
        if boot.as_deref() != boot_id().as_deref().map(str::trim_end) {
            return Vec::new();
        }
        lines.collect()
    }
}

/// The owner's alone; what lies there, a link perhaps, is not written through.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// The kernel's name of this boot.
fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_marker_is_qemu_gas_and_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let marker = Marker::new(folder.path());
        let path = folder.path().join("qga.state.isfrozen");
        assert!(marker.found().is_none());
        fs::write(folder.path().join("other"), "x").unwrap();
        symlink("other", &path).unwrap();
        let held = marker.set().unwrap();
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode(), 0o100_600);
        assert_eq!(fs::read(folder.path().join("other")).unwrap(), b"x");
        assert!(marker.found().is_none(), "its agent lives");
        assert_eq!(marker.set().unwrap_err().to_string(), "another agent has filesystems frozen");
        drop(held);
        assert!(marker.found().is_some_and(|left| left.since.is_some() && left.marker.is_some()));
        marker.unset().unwrap();
        marker.unset().unwrap();
        assert!(!path.exists() && marker.found().is_none());
        assert!(Marker::new(Path::new("/nonexistent")).set().is_err());
    }

    #[test]
    fn one_of_another_boot_is_removed_and_an_empty_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let marker = Marker::new(folder.path());
        fs::write(marker.path(), "").unwrap();
        assert!(marker.found().is_some());
        fs::write(marker.path(), "00000000-0000-0000-0000-000000000000\n").unwrap();
        assert!(marker.found().is_none());
        assert!(!marker.path().exists());
    }

    #[test]
    fn what_is_owed_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (marker, new) = (Marker::new(folder.path()), folder.path().join("waga.owed.new"));
        let owe = |names: &[&str]| marker.owe(names.iter().map(ToString::to_string));
        owe(&["a", "b"]).unwrap();
        assert_eq!(marker.owed(), ["a", "b"]);
        // What an agent left that was killed while it wrote.
        fs::write(folder.path().join("other"), "x").unwrap();
        symlink("other", &new).unwrap();
        owe(&["a"]).unwrap();
        assert_eq!(marker.owed(), ["a"]);
        assert_eq!(fs::read(folder.path().join("other")).unwrap(), b"x");
        fs::create_dir(&new).unwrap();
        assert!(owe(&["c"]).is_err());
        assert_eq!(marker.owed(), ["a"]);
        fs::remove_dir(&new).unwrap();
        owe(&[]).unwrap();
        owe(&[]).unwrap();
        assert!(marker.owed().is_empty() && !marker.owed_path().exists());
    }

    #[test]
    fn a_notice_is_kept_until_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let marker = Marker::new(folder.path());
        assert_eq!(marker.notice(), None);
        marker.keep(Some("first")).unwrap();
        marker.keep(Some("second")).unwrap();
        assert_eq!(marker.notice().as_deref(), Some("second"));
        marker.keep(None).unwrap();
        assert_eq!(marker.notice(), None);
    }
}
