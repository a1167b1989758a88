//! Block devices as sysfs and udev's own records tell of them: names, numbers, properties. No libudev, no helper program.
//!
//! A device may vanish between two looks, so everything here is an `Option`: what cannot be read is not known.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mounts::Device;

/// The system's files, below a root that tests make up.
///
/// Paths are absolute and as seen from within, `/sys/devices/…`; symbolic links are followed by their text alone, which is how sysfs
/// makes them, and which costs one system call where resolving a path costs one an element.
#[derive(Debug, Clone)]
pub(super) struct Tree(Arc<Path>);

impl Tree {
    /// The files below `root`, `/` outside tests.
    pub(super) fn new(root: &Path) -> Self {
        Self(root.into())
    }

    /// The root.
    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    /// Where a file of the tree is really.
    pub(super) fn place(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// What a sysfs attribute says; at most a page, as sysfs has it.
    pub(super) fn attribute(&self, path: &str) -> Option<String> {
        let mut page = [0; 4096];
        let length = File::open(self.place(path)).and_then(|mut file| file.read(&mut page)).ok()?;
        Some(String::from_utf8_lossy(&page[..length]).into_owned())
    }

    /// Where a symbolic link leads.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.place(path)).ok()?;
        let mut place = path[..path.rfind('/')?].to_owned();
        for part in target.to_str()?.split('/') {
            match part {
                "" | "." => {}
                ".." => place.truncate(place.rfind('/').unwrap_or(0)),
                name => place.extend(["/", name]),
            }
        }
        Some(place)
    }

    /// The names in a folder with the entries' types, in the folder's own order.
    pub(super) fn entries(&self, path: &str) -> std::io::Result<Vec<(String, fs::FileType)>> {
        let entries = fs::read_dir(self.place(path))?;
        let named = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().into_string().ok()?, entry.file_type().ok()?))
        });
        Ok(named.collect())
    }

    /// Where the symbolic links of a folder lead, in the folder's own order; `None` where there is no such folder.
    pub(super) fn links(&self, path: &str) -> Option<Vec<String>> {
        let entries = self.entries(path).ok()?;
        let links = entries.iter().filter(|(_, kind)| kind.is_symlink());
        Some(links.filter_map(|(name, _)| self.link(&format!("{path}/{name}"))).collect())
    }
}

/// A block device: a disk, a partition, a mapped device.
#[derive(Debug)]
pub(super) struct Block {
    /// Its folder, `/sys/devices/…/vda/vda1`.
    pub(super) path: String,
    /// Its node, `/dev/vda1`.
    pub(super) node: Option<String>,
    /// Its number.
    pub(super) device: Option<Device>,
    /// Whether it is a part of a disk.
    pub(super) is_partition: bool,
}

impl Block {
    /// The device in this folder.
    pub(super) fn at(tree: &Tree, path: String) -> Self {
        let event = tree.attribute(&format!("{path}/uevent")).unwrap_or_default();
        let of = |key: &str| event.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let number = |key| of(key)?.parse().ok();
        let device = number("MAJOR").zip(number("MINOR")).map(|(major, minor)| Device { major, minor });
        let node = of("DEVNAME").map(|name| format!("/dev/{name}"));
        let is_partition = of("DEVTYPE") == Some("partition");
        Self { node, device, is_partition, path }
    }

    /// Whether it is made up by the kernel out of others or of memory: mapped devices, RAID, loops.
    pub(super) fn is_virtual(&self) -> bool {
        is_virtual(&self.path)
    }

    /// What udev has found out about it; empty where no udev runs.
    pub(super) fn properties(&self, tree: &Tree) -> Properties {
        let record =
            self.device.and_then(|number| fs::read(tree.place(&format!("/run/udev/data/b{number}"))).ok());
        Properties(record.map(|record| String::from_utf8_lossy(&record).into_owned()).unwrap_or_default())
    }
}

/// Whether the device in this folder is one that [`Block::is_virtual`].
pub(super) fn is_virtual(path: &str) -> bool {
    path.contains("/devices/virtual/block/")
}

/// udev's record of a device: lines `E:NAME=VALUE` among others.
#[derive(Debug)]
pub(super) struct Properties(String);

impl Properties {
    /// One property, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let of =
            |line: &str| Some(line.strip_prefix("E:")?.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        self.0.lines().find_map(of).filter(|value| !value.is_empty())
    }
}
