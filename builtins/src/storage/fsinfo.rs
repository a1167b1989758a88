//! `guest-get-fsinfo`: the mounted filesystems, how full they are, and which disks they are on.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::address::{self, DiskAddress};
use super::block::Tree;
use super::mounts::{self, Device, Mount};
use super::probes::{self, Probes, Questions, Survey};
use crate::command::{Command, Empty};
use crate::context::Context;
use crate::error::Result;

/// Lists the mounted filesystems with their usage and disks, the last mounted first.
///
/// Differs from qemu-ga: a filesystem about which something cannot be found out is listed with the rest of what is known, where
/// qemu-ga fails the whole command; and one that does not answer is listed without its sizes, where qemu-ga hangs.
pub(super) struct GuestGetFsinfo;

impl Command for GuestGetFsinfo {
    const NAME: &'static str = "guest-get-fsinfo";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Vec<FilesystemInfo>;

    async fn run(cx: &Context, _: Empty) -> Result<Vec<FilesystemInfo>> {
        let (filesystems, usages) = probes::conduct(cx, Filesystems(Tree::new(Path::new("/")))).await?;
        Ok(filesystems.into_iter().zip(usages).map(|(filesystem, usage)| filesystem.with(usage)).collect())
    }
}

/// The schema's `GuestFilesystemInfo`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct FilesystemInfo {
    /// The device's name, `vda1`, or its number, `8:1`, when it has none.
    name: String,
    mountpoint: String,
    #[serde(rename = "type")]
    fs_type: String,
    /// Bytes in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes: Option<u64>,
    /// Bytes that users have in use or may still use.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    /// All bytes, with those that are kept for root.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes_privileged: Option<u64>,
    /// Always there: libvirt takes no reply without it.
    disk: Vec<DiskAddress>,
}

/// How full a filesystem is, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    used: u64,
    total: u64,
    total_privileged: u64,
}

impl Usage {
    /// Asks the filesystem that is mounted here; may never return.
    fn of(mountpoint: &Path) -> Option<Self> {
        let told = rustix::fs::statvfs(mountpoint).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
        let used = told.f_blocks.saturating_sub(told.f_bfree);
        Some(Self {
            used: bytes(used),
            total: bytes(used.saturating_add(told.f_bavail)),
            total_privileged: bytes(told.f_blocks),
        })
    }
}

/// The mounted filesystems below a root.
struct Filesystems(Tree);

/// One that is to be asked how full it is.
#[derive(Debug, Clone)]
struct Filesystem {
    /// What can be told without asking.
    info: FilesystemInfo,
    device: Device,
    mountpoint: PathBuf,
}

impl Filesystem {
    fn new(tree: &Tree, mount: Mount) -> Self {
        let Mount { mountpoint, fs_type, device, .. } = mount;
        let folder = tree.link(&format!("/sys/dev/block/{device}"));
        let name = folder.as_deref().and_then(|folder| folder.rsplit('/').next());
        let info = FilesystemInfo {
            name: name.map_or_else(|| device.to_string(), str::to_owned),
            mountpoint: mountpoint.to_string_lossy().into_owned(),
            fs_type: fs_type.to_string_lossy().into_owned(),
            used_bytes: None,
            total_bytes: None,
            total_bytes_privileged: None,
            disk: folder.map(|folder| address::of_disks_below(tree, &folder)).unwrap_or_default(),
        };
        Self { info, device, mountpoint }
    }

    fn with(self, usage: Option<Usage>) -> FilesystemInfo {
        FilesystemInfo {
            used_bytes: usage.map(|usage| usage.used),
            total_bytes: usage.map(|usage| usage.total),
            total_bytes_privileged: usage.map(|usage| usage.total_privileged),
            ..self.info
        }
    }
}

impl Survey for Filesystems {
    type Item = Filesystem;
    type Answer = Usage;

    fn questions(probes: &Probes) -> &Questions<Usage> {
        &probes.usage
    }

    fn items(&self) -> Result<Vec<Filesystem>> {
        let mounts = mounts::list(self.0.root())?;
        Ok(mounts.into_iter().rev().map(|mount| Filesystem::new(&self.0, mount)).collect())
    }

    fn device(filesystem: &Filesystem) -> Option<Device> {
        Some(filesystem.device)
    }

    fn ask(&self, filesystem: &Filesystem) -> Option<Usage> {
        Usage::of(&filesystem.mountpoint)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::made_up::MadeUp;
    use super::*;

    fn listed(system: &MadeUp) -> Value {
        let items = Filesystems(system.tree()).items().unwrap();
        serde_json::to_value(items.into_iter().map(|item| item.with(None)).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_last_mounted_comes_first_and_a_bad_one_spoils_nothing() {
        let system = MadeUp::new();
        let path = "/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda";
        system.driver("/sys/devices/pci0000:00/0000:00:03.0", "virtio-pci").block(path, "254:0");
        system.block(&format!("{path}/vda1"), "254:1").block("/sys/devices/virtual/block/loop0", "7:0");
        system.file(
            "/proc/self/mountinfo",
            b"1 0 254:1 / / rw - ext4 /dev/vda1 rw\n\
              2 1 7:0 / /a\\040\xff rw - squashfs /dev/loop0 ro\n\
              3 1 8:99 / /gone rw - xfs /dev/sdg3 rw\n",
        );
        let address = json!({
            "pci-controller": {"domain": 0, "bus": 0, "slot": 3, "function": 0}, "bus-type": "virtio",
            "bus": 0, "target": 0, "unit": 0, "dev": "/dev/vda1",
        });
        assert_eq!(
            listed(&system),
            json!([
                {"name": "8:99", "mountpoint": "/gone", "type": "xfs", "disk": []},
                {"name": "loop0", "mountpoint": "/a \u{fffd}", "type": "squashfs", "disk": []},
                {"name": "vda1", "mountpoint": "/", "type": "ext4", "disk": [address]},
            ])
        );
    }

    #[test]
    fn sizes_are_those_of_df() {
        let usage = Usage::of(Path::new("/")).unwrap();
        assert!(usage.used <= usage.total && usage.total <= usage.total_privileged, "{usage:?}");
        assert_eq!(Usage::of(Path::new("/nonexistent")), None);
        let info = FilesystemInfo {
            name: "vda".into(),
            mountpoint: "/".into(),
            fs_type: "ext4".into(),
            used_bytes: None,
            total_bytes: None,
            total_bytes_privileged: None,
            disk: Vec::new(),
        };
        let filesystem = Filesystem { info, device: Device { major: 8, minor: 1 }, mountpoint: "/".into() };
        let told =
            serde_json::to_value(filesystem.with(Some(Usage { used: 1, total: 2, total_privileged: 3 })));
        assert_eq!(
            told.unwrap(),
            json!({
                "name": "vda", "mountpoint": "/", "type": "ext4",
                "used-bytes": 1, "total-bytes": 2, "total-bytes-privileged": 3, "disk": [],
            })
        );
    }
}
