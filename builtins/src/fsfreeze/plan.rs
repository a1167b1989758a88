//! Which filesystems are frozen, in which order, and through which descriptors.
//!
//! Everything that a path must be looked up for is done before the first one is frozen: each filesystem's own folder is opened, and what
//! is to be thawed is thawed through that descriptor, whatever else may hang by then.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use wildmatch::WildMatch;

use crate::error::{Error, Result};
use crate::storage::mounts::{self, Mount};

/// How long the folder of a filesystem may take to open.
const PATIENCE: Duration = Duration::from_secs(5);

/// The filesystems on block devices, in the order in which they are to be frozen.
///
/// As with qemu-ga the last mounted comes first, so that what lies within another is frozen before it; and, which the order of mounting
/// does not always tell, what lies on a file of another (a loop device, whatever was made of one) too: frozen after it, it could never
/// write out what is dirty.
///
/// # Errors
/// There is no `/proc`.
pub(super) fn in_order(root: &Path) -> Result<Vec<Mount>> {
    let stack = mounts::Stack::read(root)?;
    let mounts = stack.mounts();
    let below: Vec<Vec<usize>> = mounts
        .iter()
        .map(|mount| {
            let holders = stack.holders(mount.device);
            (0..mounts.len()).filter(|&other| holders.contains(&mounts[other].device)).collect()
        })
        .collect();
    Ok(order(&below).into_iter().map(|place| mounts[place].clone()).collect())
}

/// The last first, and each before all that it lies on; `below` says of each what that is.
fn order(below: &[Vec<usize>]) -> Vec<usize> {
    fn put(place: usize, below: &[Vec<usize>], seen: &mut [bool], order: &mut Vec<usize>) {
        if std::mem::replace(&mut seen[place], true) {
            return;
        }
        for above in (0..below.len()).rev().filter(|&above| below[above].contains(&place)) {
            put(above, below, seen, order);
        }
        order.push(place);
    }
    let (mut seen, mut places) = (vec![false; below.len()], Vec::new());
    for place in (0..below.len()).rev() {
        put(place, below, &mut seen, &mut places);
    }
    places
}

/// Mount points that are never frozen: patterns with `*` and `?`, as `[freeze] exclude` has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exclude(Vec<WildMatch>);

impl Exclude {
    /// Each has to be an absolute path, with wildcards or without.
    ///
    /// # Errors
    /// What is wrong with the first that is not, for whoever wrote it.
    pub fn new(patterns: &[String]) -> std::result::Result<Self, String> {
        for pattern in patterns {
            let trailing = pattern.len() > 1 && pattern.ends_with('/');
            if !pattern.starts_with('/') || trailing || pattern.split('/').any(|part| part == "..") {
                return Err(format!(
                    "'{pattern}' is no mount point: write it as mount(8) prints it, /srv/scratch"
                ));
            }
        }
        Ok(Self(patterns.iter().map(|pattern| WildMatch::new(pattern)).collect()))
    }

    fn has(&self, mount_point: &Path) -> bool {
        let name = String::from_utf8_lossy(mount_point.as_os_str().as_bytes());
        self.0.iter().any(|pattern| pattern.matches(&name))
    }
}

/// Whether it cannot be frozen, as the kernel would say too; but to open its folder is to ask its server, which may be dead.
pub(super) fn is_fuse(mount: &Mount) -> bool {
    mount.fs_type.as_bytes().starts_with(b"fuse")
}

/// Why one is not frozen, if that is known beforehand. `only`: the mount points that were asked for, if not all.
pub(super) fn passed_over(mount: &Mount, only: Option<&[String]>, exclude: &Exclude) -> Option<&'static str> {
    let is_named = |list: &[String]| list.iter().any(|name| Path::new(name) == mount.mountpoint);
    if only.is_some_and(|list| !is_named(list)) {
        Some("not asked for")
    } else if exclude.has(&mount.mountpoint) {
        Some("excluded by the configuration")
    } else if is_fuse(mount) {
        Some("it cannot be frozen")
    } else {
        None
    }
}

/// Opens the folder of each, or the file that is mounted alone, in order; one that takes too long is an error, and whatever waits for it is left behind.
pub(super) fn open(mounts: Vec<Mount>) -> Vec<(Mount, io::Result<File>)> {
    let mut opened = Vec::with_capacity(mounts.len());
    let mut rest = mounts;
    while !rest.is_empty() {
        let (told, answers) = mpsc::channel();
        let points: Vec<_> = rest.iter().map(|mount| mount.mountpoint.clone()).collect();
        let opener = thread::Builder::new().name("open".into()).stack_size(64 << 10);
        let started = opener.spawn(move || {
            for point in points {
                let mut options = OpenOptions::new();
                let file = options.read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(point);
                if told.send(file).is_err() {
                    return;
                }
            }
        });
        while !rest.is_empty() {
            let file = match &started {
                Ok(_) => answers.recv_timeout(PATIENCE),
                Err(error) => Ok(Err(io::Error::from(error.kind()))),
            };
            match file {
                Ok(file) => opened.push((rest.remove(0), file)),
                Err(RecvTimeoutError::Timeout) => {
                    let late = io::Error::from_raw_os_error(nix::libc::ETIMEDOUT);
                    opened.push((rest.remove(0), Err(late)));
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }
    opened
}

/// The error for a folder that cannot be opened, as qemu-ga words it.
pub(super) fn cannot_open(mount: &Mount, error: io::Error) -> Error {
    Error::io(format_args!("failed to open {}", mount.mountpoint.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_another_is_frozen_before_it() {
        for (below, expected) in [
            (vec![], vec![]),
            (vec![vec![], vec![], vec![]], vec![2, 1, 0]),
            // The image's filesystem (0) lies on a file of one that was mounted again later (2).
            (vec![vec![2], vec![], vec![]], vec![0, 2, 1]),
            // A chain: 1 on 2, 2 on 0.
            (vec![vec![], vec![2], vec![0]], vec![1, 2, 0]),
            // Two on one, and one of them the last.
            (vec![vec![1], vec![], vec![1]], vec![2, 0, 1]),
            // What cannot be is no reason to go round for ever.
            (vec![vec![1], vec![0]], vec![0, 1]),
        ] {
            assert_eq!(order(&below), expected, "{below:?}");
        }
    }

    fn mount(point: &str, fs_type: &str) -> Mount {
        mounts::parse(format!("1 0 8:1 / {point} rw - {fs_type} /dev/sda rw\n").as_bytes(), |_| None)
            .remove(0)
    }

    #[test]
    fn some_are_passed_over() {
        let exclude = Exclude::new(&["/srv/scratch".into(), "/mnt/*".into()]).unwrap();
        let why = |point, only: Option<&[&str]>| {
            let only: Option<Vec<String>> =
                only.map(|list| list.iter().map(|&name| name.to_owned()).collect());
            passed_over(&mount(point, "ext4"), only.as_deref(), &exclude)
        };
        assert_eq!(why("/", None), None);
        assert_eq!(why("/srv/scratch", None), Some("excluded by the configuration"));
        assert_eq!(why("/mnt/a/b", None), Some("excluded by the configuration"));
        assert_eq!(why("/srv/scratch2", None), None);
        assert_eq!(why("/a", Some(&["/b", "/a"])), None);
        assert_eq!(why("/a", Some(&[])), Some("not asked for"));
        assert_eq!(why("/mnt/a", Some(&["/mnt/a"])), Some("excluded by the configuration"));
        let fuse = passed_over(&mount("/a", "fuseblk"), None, &Exclude::default());
        assert_eq!(fuse, Some("it cannot be frozen"));
    }

    #[test]
    fn exclusions_are_mount_points() {
        for wrong in ["srv", "", "/srv/", "/srv/../x"] {
            assert!(Exclude::new(&[wrong.to_owned()]).unwrap_err().contains("is no mount point"), "{wrong}");
        }
        assert!(Exclude::new(&["/".into(), "/a b".into()]).is_ok());
    }

    #[test]
    fn what_cannot_be_opened_costs_itself() {
        let folder = tempfile::tempdir().unwrap();
        let alone = folder.path().join("file");
        std::fs::write(&alone, "").unwrap();
        let beyond = alone.join("folder");
        let points = [folder.path(), Path::new("/nonexistent"), &beyond, &alone]
            .map(|point| point.display().to_string());
        let opened = open(points.iter().map(|point| mount(point, "ext4")).collect());
        let errors: Vec<_> =
            opened.iter().map(|(_, file)| file.as_ref().err().and_then(io::Error::raw_os_error)).collect();
        assert_eq!(errors, [None, Some(nix::libc::ENOENT), Some(nix::libc::ENOTDIR), None]);
        let points: Vec<_> = opened.iter().map(|(mount, _)| mount.mountpoint.display().to_string()).collect();
        assert_eq!(points[1], "/nonexistent");
    }
}
