//! A made-up system for tests: devices below a temporary folder, linked as sysfs links them; and an agent without commands.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use tempfile::TempDir;

use super::block::Tree;
use crate::context::{Caller, Context, test_agent};

/// What a command is given.
pub(super) fn context() -> Context {
    Context { agent: test_agent().0, caller: Caller::Channel("test".into()), limits: Arc::default() }
}

/// The folder, gone when dropped.
pub(super) struct MadeUp(TempDir);

impl MadeUp {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn tree(&self) -> Tree {
        Tree::new(self.0.path())
    }

    /// Writes a file.
    pub(super) fn file(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let place = self.tree().place(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
        self
    }

    /// Makes a folder.
    pub(super) fn folder(&self, path: &str) -> &Self {
        fs::create_dir_all(self.tree().place(path)).unwrap();
        self
    }

    /// Makes a relative link.
    pub(super) fn link(&self, path: &str, target: &str) -> &Self {
        let place = self.tree().place(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink("../".repeat(path.split('/').count() - 2) + &target[1..], place).unwrap();
        self
    }

    /// Binds a PCI function to a driver.
    pub(super) fn driver(&self, function: &str, driver: &str) -> &Self {
        self.link(&format!("{function}/driver"), &format!("/sys/bus/pci/drivers/{driver}"))
    }

    /// Adds a block device with a size; a disk if it is not in the folder of one.
    pub(super) fn block(&self, path: &str, device: &str) -> &Self {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let (major, minor) = device.split_once(':').unwrap();
        let is_part = self.tree().place(parent).join("size").exists();
        let kind = if is_part { "partition" } else { "disk" };
        self.file(
            &format!("{path}/uevent"),
            format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE={kind}\n"),
        );
        self.file(&format!("{path}/size"), "2048\n");
        if !is_part {
            self.folder(&format!("{path}/slaves")).link(&format!("/sys/block/{name}"), path);
        }
        self.link(&format!("/sys/dev/block/{device}"), path)
    }

    /// Makes `below` one of the devices that the device at `path` is made of.
    pub(super) fn made_of(&self, path: &str, below: &str) -> &Self {
        let name = below.rsplit('/').next().unwrap();
        self.link(&format!("{path}/slaves/{name}"), below)
    }

    /// Writes udev's record of a device.
    pub(super) fn udev(&self, device: &str, properties: &[&str]) -> &Self {
        let lines: String = properties.iter().map(|property| format!("E:{property}\n")).collect();
        self.file(&format!("/run/udev/data/b{device}"), format!("S:disk/by-id/x\nI:1\n{lines}G:systemd\n"))
    }
}
