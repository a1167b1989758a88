//! Reads our own configuration files, and only such as nobody but root, or the user who runs the agent, could have written. What else
//! is to be trusted so (modules, programs, what was compiled) asks here.
//!
//! Whoever may write to a folder on the way to a file, up to `/`, may put another in the file's place; so may who owns a link on that way.
//! All of them are looked at, as sshd looks at those above a user's keys.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use super::ConfigError;

/// A configuration larger than this is a mistake.
const LARGEST: u64 = 1 << 20;

/// Permission bits of group and others to write.
const WRITABLE: u32 = 0o022;
/// The bit that keeps users of a shared folder from replacing each other's files.
const STICKY: u32 = 0o1000;

/// What the kernel says for an owner who has no number in our user namespace.
const OUTSIDE: u32 = 65_534;

/// Links that are followed on the way to a file, as the kernel follows them.
const LINKS: usize = 40;

/// Whose files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Ours: only those that nobody else could have written.
    Trusted,
    /// qemu-ga's: whoever owns them, as with qemu-ga.
    Anyone,
}

/// The text of a file; `None` if it is not there.
pub(super) fn read(path: &Path, from: From) -> Result<Option<String>, ConfigError> {
    let failed = |text: &dyn std::fmt::Display| ConfigError::new(format!("{}: {text}", path.display()));
    // Non-blocking: a FIFO of that name must not hang the start.
    let flags = (OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && from == From::Anyone => {
            return Ok(None);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // What is not there limits nothing: nobody else may have brought that about.
            if path.is_symlink() {
                return Err(failed(&"is a link that leads nowhere"));
            }
            return way(path).map(|()| None);
        }
        Err(error) => return Err(failed(&error)),
    };
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        return Err(failed(&"is not a regular file"));
    }
    if from == From::Trusted {
        opened(path, &metadata)?;
    }
    text(&mut file, &metadata).map(Some).map_err(|reason| failed(&reason))
}

/// Whether a file that was opened at `path` can be relied on: nobody else could have written it, or put another in its place.
pub(crate) fn opened(path: &Path, metadata: &Metadata) -> Result<(), ConfigError> {
    let failed = |text: &dyn std::fmt::Display| ConfigError::new(format!("{}: {text}", path.display()));
    distrust(metadata, WRITABLE).map_or(Ok(()), |reason| Err(failed(&reason)))?;
    way(path)
}

/// Whether others than the trusted could have a say in what is found at a path: each folder in which a name of it is looked up, and each
/// link that is followed, the last one included. What stands at the end is not looked at itself. From a name on that is not there nothing is.
///
/// # Errors
/// The first folder or link at fault, whose it is or its mode, and the way out.
pub(crate) fn way(path: &Path) -> Result<(), ConfigError> {
    let failed = |at: &Path, text: &dyn Display| ConfigError::new(format!("{}: {text}", at.display()));
    let absolute = std::path::absolute(path).map_err(|error| failed(path, &error))?;
    let mut here = PathBuf::from("/");
    let mut left: Vec<OsString> = words(&absolute).collect();
    let mut links = 0;
    while let Some(name) = left.pop() {
        let metadata = here.metadata().map_err(|error| failed(&here, &error))?;
        in_folder(&metadata).map_or(Ok(()), |reason| Err(failed(&here, &reason)))?;
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(name);
        let found = match next.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&next, &error)),
        };
        if !found.is_symlink() {
            here = next;
            continue;
        }
        // A link has no mode of its own.
        above(&found, 0).map_or(Ok(()), |reason| Err(failed(&next, &format!("is a link; it {reason}"))))?;
        links += 1;
        if links > LINKS {
            return Err(failed(path, &"leads through too many links"));
        }
        let target = next.read_link().map_err(|error| failed(&next, &error))?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        left.extend(words(&target));
    }
    Ok(())
}

/// The names of a path that are to be looked up, the last one first.
fn words(path: &Path) -> impl Iterator<Item = OsString> {
    let words =
        path.components().rev().filter(|word| matches!(word, Component::Normal(_) | Component::ParentDir));
    words.map(|word| word.as_os_str().to_owned())
}

/// Whether others could change what is in a folder, or on the way to it. One that is not there is fine.
pub(super) fn folder(path: &Path) -> Result<(), ConfigError> {
    let failed = |text: &dyn Display| ConfigError::new(format!("{}: {text}", path.display()));
    way(path)?;
    match std::fs::metadata(path) {
        Ok(metadata) => in_folder(&metadata).map_or(Ok(()), |reason| Err(failed(&reason))),
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}

/// Why what stands in a folder cannot be relied on.
fn in_folder(metadata: &Metadata) -> Option<String> {
    // In a sticky one others cannot touch what is not theirs; but its owner can.
    above(metadata, if metadata.mode() & STICKY != 0 { 0 } else { WRITABLE })
}

/// As [`distrust`], of what is on the way to a file. Root of a user namespace, as in a container, finds folders of the system's there whose
/// owner has no number in it: those are taken for what they most often are. A file is not.
fn above(metadata: &Metadata, writable: u32) -> Option<String> {
    let is_outside = metadata.uid() == OUTSIDE
        && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !knows(&map, OUTSIDE));
    match is_outside {
        true => too_open(metadata, writable),
        false => distrust(metadata, writable),
    }
}

/// Whether a user has a number in a user namespace, by its `uid_map`: lines of the first number here, the first outside, and how many.
fn knows(map: &str, user: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if user.checked_sub(first).is_some_and(|it| it < count))
    })
}

fn text(file: &mut File, metadata: &Metadata) -> Result<String, String> {
    if metadata.len() > LARGEST {
        return Err(format!("is larger than {LARGEST} bytes"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        format!("is not UTF-8 at byte {place}")
    })
}

/// Why an opened file or folder cannot be relied on, wherever it stands: others could have written to it.
#[cfg(feature = "extensions")]
pub(crate) fn doubt(metadata: &Metadata) -> Option<String> {
    distrust(metadata, WRITABLE)
}

/// Why what a file says cannot be relied on, if any of these permission bits says so, or its owner.
fn distrust(metadata: &Metadata, writable: u32) -> Option<String> {
    let (owner, us) = (metadata.uid(), geteuid());
    if owner != 0 && owner != us.as_raw() {
        let us = if us.is_root() { "root".to_owned() } else { format!("root or user {us}") };
        return Some(format!("belongs to user {owner}; it has to belong to {us} (chown)"));
    }
    too_open(metadata, writable)
}

/// Why not, by its mode alone.
fn too_open(metadata: &Metadata, writable: u32) -> Option<String> {
    (metadata.mode() & writable != 0).then(|| {
        let mode = metadata.mode() & 0o7777;
        format!("others than its owner may write to it (mode {mode:04o}); take that away with chmod go-w")
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn check(path: &Path) -> Result<Option<String>, String> {
        read(path, From::Trusted).map_err(|error| error.to_string())
    }

    #[test]
    fn only_files_that_nobody_else_could_have_written_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        assert_eq!(check(&path), Ok(None));
        fs::write(&path, "x").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (bits, fine) in [(0o600, true), (0o644, true), (0o400, true), (0o664, false), (0o646, false)] {
            mode(&path, bits);
            assert_eq!(check(&path).is_ok(), fine, "{bits:o}");
        }
        assert!(check(&path).unwrap_err().contains("chmod go-w"));
        mode(&path, 0o600);
        // A link to a good file in a good folder is a good file.
        let link = dir.path().join("link.toml");
        symlink(&path, &link).unwrap();
        assert_eq!(check(&link), Ok(Some("x".into())));
        mode(dir.path(), 0o777);
        assert!(check(&path).unwrap_err().starts_with(&format!("{}: others", dir.path().display())));
        mode(dir.path(), 0o1777);
        assert!(check(&path).is_ok());
        mode(dir.path(), 0o700);
        if geteuid().is_root() {
            chown(&path, Some(65534), None).unwrap();
            assert!(check(&path).unwrap_err().contains("belongs to user 65534"));
        }
        assert!(check(dir.path()).unwrap_err().contains("not a regular file"));
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(check(&fifo).unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn users_of_a_namespace_are_known_by_its_map() {
        let whole = "         0          0 4294967295\n";
        let single = "         0       1000          1\n";
        let container = "0 1000 1\n1 100000 65536\n";
        for (map, known) in [(whole, true), (single, false), (container, true), ("", false), ("0 0\n", false)]
        {
            assert_eq!(knows(map, OUTSIDE), known, "{map}");
        }
    }

    /// One folder far above, one that a link leads through, and a link that is somebody else's.
    #[test]
    fn every_folder_and_link_on_the_way_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for folder in ["a/b/c", "links/deep", "there"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let path = dir.join("a/b/c/agent.toml");
        fs::write(&path, "x").unwrap();
        mode(&path, 0o600);
        // there/here -> ../links/deep/on -> DIR/a/b
        symlink(dir.join("a/b"), dir.join("links/deep/on")).unwrap();
        symlink("../links/deep/on", dir.join("there/here")).unwrap();
        let linked = dir.join("there/./here/c/../c/agent.toml");
        let both = [&path, &linked];
        for path in both {
            assert_eq!(check(path), Ok(Some("x".into())), "{}", path.display());
        }
        let others = |path: &Path, folder: &str| {
            let at = dir.join(folder);
            let kept = fs::metadata(&at).unwrap().permissions();
            // A sticky folder keeps what is in it.
            mode(&at, 0o1777);
            assert_eq!(check(path), Ok(Some("x".into())), "{folder}");
            for bits in [0o777, 0o775] {
                mode(&at, bits);
                let error = check(path).unwrap_err();
                let start =
                    format!("{}: others than its owner may write to it (mode {bits:04o}); ", at.display());
                assert!(error.starts_with(&start) && error.contains("chmod go-w"), "{error}");
            }
            fs::set_permissions(&at, kept).unwrap();
        };
        for folder in ["a", "a/b", "a/b/c"] {
            both.iter().for_each(|path| others(path, folder));
        }
        for folder in ["there", "links", "links/deep"] {
            others(&linked, folder);
        }
        // What is not there is found to be so only where nobody else could make it.
        mode(&dir.join("a"), 0o777);
        assert!(check(&dir.join("a/b/none.toml")).unwrap_err().contains("chmod go-w"));
        assert_eq!(check(&dir.join("there/none/at/all.toml")), Ok(None));
        assert!(folder(&dir.join("a/b")).is_err() && folder(&dir.join("a/none")).is_err());
        assert!(folder(&dir.join("there")).is_ok());
        mode(&dir.join("a"), 0o755);
        symlink("round", dir.join("round")).unwrap();
        assert!(way(&dir.join("round/x")).unwrap_err().to_string().contains("too many links"));
        if geteuid().is_root() {
            chown(dir.join("a"), Some(65534), None).unwrap();
            let start = format!("{}: belongs to user 65534", dir.join("a").display());
            both.iter().for_each(|path| assert!(check(path).unwrap_err().starts_with(&start)));
            chown(dir.join("a"), Some(0), None).unwrap();
            std::os::unix::fs::lchown(dir.join("links/deep/on"), Some(65534), None).unwrap();
            let start =
                format!("{}: is a link; it belongs to user 65534", dir.join("links/deep/on").display());
            assert!(check(&linked).unwrap_err().starts_with(&start));
            assert_eq!(check(&path), Ok(Some("x".into())));
        }
    }

    #[test]
    fn what_cannot_be_a_configuration_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        fs::write(&path, b"a\xff").unwrap();
        assert!(check(&path).unwrap_err().contains("not UTF-8 at byte 1"));
        fs::write(&path, vec![b' '; 2 << 20]).unwrap();
        assert!(check(&path).unwrap_err().contains("larger than"));
    }
}
