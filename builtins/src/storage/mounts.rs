//! Which filesystems of the guest lie on block devices: the list that `guest-get-fsinfo`, freezing and trimming share.
//!
//! Reads text and asks the kernel for the numbers of device nodes; touches no mounted filesystem, so it cannot hang on one.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{fmt, fs, str};

use super::block::{Block, Tree};
use crate::error::{Error, Result};
use crate::sys::loop_device::backing_device;

/// The number of a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Device {
    /// The driver's part; 0 for filesystems without a device.
    pub(crate) major: u32,
    /// The device's part.
    pub(crate) minor: u32,
}

impl Device {
    /// Reads `MAJOR:MINOR`.
    fn parse(text: &[u8]) -> Option<Self> {
        let (major, minor) = str::from_utf8(text).ok()?.split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// The number of the block device that this node stands for.
    fn of_node(node: &Path) -> Option<Self> {
        let metadata = fs::metadata(node).ok().filter(|metadata| metadata.file_type().is_block_device())?;
        let number = metadata.rdev();
        Some(Self { major: rustix::fs::major(number), minor: rustix::fs::minor(number) })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// One mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted: its first mount point, in the order of mounting.
    pub(crate) mountpoint: PathBuf,
    /// The kernel's name of its type, `ext4`.
    pub(crate) fs_type: OsString,
    /// What it is on; of btrfs the device that was named when it was mounted.
    pub(crate) device: Device,
    /// What was named when it was mounted, usually a device node.
    pub(crate) source: PathBuf,
}

/// The mounted filesystems on block devices of the system below `root`, in the order of mounting.
///
/// # Errors
/// qemu-ga's text for a guest without `/proc`.
pub(crate) fn list(root: &Path) -> Result<Vec<Mount>> {
    Ok(parse(&table(root)?, Device::of_node))
}

/// The kernel's table of mounts.
fn table(root: &Path) -> Result<Vec<u8>> {
    // With room from the start, since the file has no size to go by: one read, not a search for the end.
    let mut table = Vec::with_capacity(8 * 1024);
    match File::open(root.join("proc/self/mountinfo")).and_then(|mut file| file.read_to_end(&mut table)) {
        Ok(_) => Ok(table),
        // The name is that of the file to which qemu-ga goes over last; it is not there either.
        Err(error) => Err(Error {
            source: Some(Box::new(error)),
            ..Error::generic("failed to open mtab file: '/proc/self/mounts'")
        }),
    }
}

/// The mounted filesystems, and which of them lie on files of others.
#[derive(Debug)]
pub(crate) struct Stack {
    table: Vec<u8>,
    mounts: Vec<Mount>,
    tree: Tree,
}

impl Stack {
    /// Reads the table of the system below `root`.
    ///
    /// # Errors
    /// As [`list`].
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let table = table(root)?;
        Ok(Self { mounts: parse(&table, Device::of_node), table, tree: Tree::new(root) })
    }

    /// As [`list`] has them.
    pub(crate) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// The devices of the filesystems that hold the files which a device is made of, at any depth: those of loop devices below it.
    pub(crate) fn holders(&self, device: Device) -> Vec<Device> {
        let (mut holders, mut seen, mut rest) = (Vec::new(), HashSet::new(), vec![device]);
        while let Some(device) = rest.pop() {
            let Some(path) = self.tree.link(&format!("/sys/dev/block/{device}")) else { continue };
            let mut folders = vec![path];
            while let Some(folder) = folders.pop() {
                if !seen.insert(folder.clone()) {
                    continue;
                }
                folders.extend(self.tree.links(&format!("{folder}/slaves")).unwrap_or_default());
                // A partition of one lies within its folder.
                let parent = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
                let holder = [folder.as_str(), parent].iter().find_map(|folder| self.loop_holder(folder));
                if let Some(holder) = holder.filter(|holder| !holders.contains(holder)) {
                    holders.push(holder);
                    rest.push(holder);
                }
            }
        }
        holders
    }

    /// The device of the filesystem that the file of a loop device lies on, if the device in this folder is one.
    fn loop_holder(&self, folder: &str) -> Option<Device> {
        let file = self.tree.attribute(&format!("{folder}/loop/backing_file"))?;
        let node = Block::at(&self.tree, folder.to_owned()).node?;
        let told = backing_device(&self.tree.place(&node)).ok();
        let known = told.and_then(|(major, minor)| {
            let device = Device { major, minor };
            self.lines().find(|line| line.device == device)?.mount(Device::of_node)
        });
        known.map(|mount| mount.device).or_else(|| self.holder(Path::new(file.trim_end_matches('\n'))))
    }

    /// The device of the filesystem that a path leads to, by its text alone: to look it up might wait.
    fn holder(&self, path: &Path) -> Option<Device> {
        // Of mounts over each other the last counts.
        let (_, line) = self
            .lines()
            .map(|line| (PathBuf::from(unescape(line.mountpoint)), line))
            .filter(|(point, _)| path.starts_with(point))
            .max_by_key(|(point, _)| point.components().count())?;
        Some(line.mount(Device::of_node)?.device)
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.table.split(|&byte| byte == b'\n').filter_map(Line::parse)
    }
}

/// Reads a mountinfo table, keeping what qemu-ga keeps: one mount of each block device, the first.
///
/// btrfs makes up device numbers with major 0; `node` then tells the number of the node it was mounted from. Everything else with
/// major 0 (tmpfs, overlay, nfs, virtiofs, zfs) is on no block device and is left out.
pub(crate) fn parse(table: &[u8], node: impl Fn(&Path) -> Option<Device>) -> Vec<Mount> {
    let mut seen = HashSet::new();
    let lines = table.split(|&byte| byte == b'\n');
    lines
        .filter_map(Line::parse)
        .filter_map(|line| line.mount(&node))
        .filter(|mount| seen.insert(mount.device))
        .collect()
}

/// The fields of a line of the table that matter, still escaped.
struct Line<'a> {
    device: Device,
    mountpoint: &'a [u8],
    fs_type: &'a [u8],
    source: &'a [u8],
}

impl<'a> Line<'a> {
    /// `ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAG…] - TYPE SOURCE OPTIONS`; tags hold no lone `-`.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let device = Device::parse(fields.nth(2)?)?;
        let mountpoint = fields.nth(1)?;
        fields.find(|&field| field == b"-")?;
        Some(Self { device, mountpoint, fs_type: fields.next()?, source: fields.next()? })
    }

    fn mount(&self, node: impl Fn(&Path) -> Option<Device>) -> Option<Mount> {
        let mut device = self.device;
        if device.major == 0 && self.fs_type != b"btrfs" {
            return None;
        }
        let source = PathBuf::from(unescape(self.source));
        if device.major == 0 {
            device = node(&source)?;
        }
        Some(Mount {
            mountpoint: unescape(self.mountpoint).into(),
            fs_type: unescape(self.fs_type),
            device,
            source,
        })
    }
}

/// Resolves the table's escapes: three octal digits, or a backslash itself.
fn unescape(text: &[u8]) -> OsString {
    if !text.contains(&b'\\') {
        return OsStr::from_bytes(text).to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let byte;
        (byte, rest) = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after)
            }
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            _ => (first, after),
        };
        bytes.push(byte);
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::made_up::MadeUp;
    use super::*;

    fn points(table: &[u8]) -> Vec<(String, String)> {
        let node = |source: &Path| match source.to_str() {
            Some("/dev/vdb") => Some(Device { major: 254, minor: 16 }),
            _ => None,
        };
        let mounts = parse(table, node);
        mounts.iter().map(|m| (m.mountpoint.to_string_lossy().into_owned(), m.device.to_string())).collect()
    }

    fn check(table: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(points(table.as_bytes()), expected, "{table}");
    }

    #[test]
    fn only_what_is_on_a_block_device_is_listed_in_the_order_of_mounting() {
        check(
            "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
             27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n\
             28 27 0:30 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw,lowerdir=/a\n\
             29 27 0:31 / /srv rw - nfs4 server:/srv rw\n\
             30 27 8:1 / /boot/efi rw - vfat /dev/sda1 rw\n\
             31 27 0:32 / /tank rw - zfs tank rw\n",
            &[("/", "254:0"), ("/boot/efi", "8:1")],
        );
    }

    #[test]
    fn each_device_stands_once_with_its_first_mount_point() {
        check(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
             2 1 8:1 /srv /export rw - ext4 /dev/sda1 rw\n\
             3 1 8:2 /sub /first rw - xfs /dev/sda2 rw\n\
             4 1 8:2 / /second rw - xfs /dev/sda2 rw\n",
            &[("/", "8:1"), ("/first", "8:2")],
        );
    }

    #[test]
    fn btrfs_is_known_by_the_node_it_was_mounted_from() {
        check(
            "1 0 0:44 /@ / rw - btrfs /dev/vdb rw,subvol=/@\n\
             2 1 0:44 /@home /home rw - btrfs /dev/vdb rw,subvol=/@home\n\
             3 1 0:45 / /gone rw - btrfs /dev/gone rw\n\
             4 1 0:46 / /folder rw - btrfs /srv/folder rw\n",
            &[("/", "254:16")],
        );
    }

    #[test]
    fn mount_points_are_unescaped() {
        check(
            "1 0 8:1 / /a\\040b\\011c\\012d\\134e\\043 rw - ext4 /dev/sda1 rw\n\
             2 0 8:2 / /x\\\\040\\9\\ rw - ext4 /dev/sda2 rw\n\
             3 0 8:3 / /caf\\303\\251 rw - ext4 /dev/sda3 rw",
            &[("/a b\tc\nd\\e#", "8:1"), ("/x\\040\\9\\", "8:2"), ("/café", "8:3")],
        );
    }

    #[test]
    fn names_need_not_be_utf_8() {
        let table = b"1 0 8:1 / /\xff\x40 rw - ext4 /dev/sda1 rw\n";
        assert_eq!(parse(table, |_| None)[0].mountpoint.as_os_str().as_bytes(), b"/\xff@");
        assert_eq!(points(table)[0].0, "/\u{fffd}@");
    }

    #[test]
    fn what_is_no_line_of_the_table_is_passed_over() {
        check(
            "\n1 2\n1 0 8:x / / rw - ext4 /dev/sda1 rw\n1 0 8:1 / / rw ext4 /dev/sda1 rw\n1 0 8:1 / / rw -\n",
            &[],
        );
    }

    #[test]
    fn what_lies_on_a_file_of_another_is_known() {
        let made_up = MadeUp::new();
        let table = "1 0 8:1 / / rw - ext4 /dev/sda rw\n\
                     2 1 8:2 / /srv rw - ext4 /dev/sdb rw\n\
                     3 1 7:0 / /image rw - ext4 /dev/loop0 rw\n\
                     4 1 254:0 / /mapped rw - ext4 /dev/dm-0 rw\n\
                     5 1 259:1 / /part rw - ext4 /dev/loop1p1 rw\n";
        made_up.file("/proc/self/mountinfo", table);
        let folder = |name: &str| format!("/sys/devices/virtual/block/{name}");
        for (name, device) in
            [("loop0", "7:0"), ("dm-0", "254:0"), ("loop1", "7:1"), ("sda", "8:1"), ("sdb", "8:2")]
        {
            made_up.block(&folder(name), device);
        }
        made_up.block(&folder("loop1/loop1p1"), "259:1");
        made_up.file(&format!("{}/loop/backing_file", folder("loop0")), "/srv/images/a b\n");
        made_up.file(&format!("{}/loop/backing_file", folder("loop1")), "/image/inner\n");
        made_up.made_of(&folder("dm-0"), &folder("loop0"));
        let stack = Stack::read(made_up.tree().root()).unwrap();
        let holders = |device: &str| {
            let device = Device::parse(device.as_bytes()).unwrap();
            stack.holders(device).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(holders("8:1"), [""; 0]);
        assert_eq!(holders("7:0"), ["8:2"]);
        assert_eq!(holders("254:0"), ["8:2"]);
        assert_eq!(holders("259:1"), ["7:0", "8:2"]);
        assert_eq!(holders("9:9"), [""; 0]);
        assert_eq!(stack.mounts().len(), 5);
    }

    #[test]
    fn a_guest_without_proc_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(list(root.path()).unwrap_err().desc, "failed to open mtab file: '/proc/self/mounts'");
        let own = list(Path::new("/")).unwrap();
        assert!(own.iter().all(|mount| mount.device.major != 0), "{own:?}");
    }
}
