//! The filesystems that the kernel makes up, which are no place for files of an extension: where they are mounted.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::fstatfs;

/// Their names.
const KERNELS: &[&str] = &[
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "debugfs",
    "tracefs",
    "securityfs",
    "configfs",
    "cgroup",
    "cgroup2",
    "bpf",
    "pstore",
    "efivarfs",
    "fusectl",
    "binfmt_misc",
    "selinuxfs",
];

/// Their numbers, where they have one of their own.
const MAGICS: &[u32] = &[
    0x9fa0,
    0x6265_6572,
    0x1cd1,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6265_6570,
    0x0027_e0eb,
    0x6367_7270,
    0xcafe_4a11,
    0x6165_676c,
    0xde5e_81e4,
    0x6573_5543,
    0x4249_4e4d,
    0xf97c_ff8c,
];

/// Whether a file is of such a filesystem, devtmpfs left aside: to this question that is any tmpfs.
pub(super) fn is_kernels(file: impl std::os::fd::AsFd) -> rustix::io::Result<bool> {
    // The kernel's number has 32 bits, whatever the field has.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number has 32 bits")]
    let magic = fstatfs(file)?.f_type as u32;
    Ok(MAGICS.contains(&magic))
}

/// A filesystem that the kernel makes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it is.
    pub(super) point: PathBuf,
    /// What of it is there; `/` is all of it.
    root: PathBuf,
    /// Its name.
    pub(super) kind: String,
}

/// Those of this process. None where the table cannot be read, for then procfs is not there.
pub(super) fn list() -> Vec<Mount> {
    parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
}

fn parse(table: &[u8]) -> Vec<Mount> {
    let mount = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        let kind = KERNELS.iter().find(|name| name.as_bytes() == kind)?;
        Some(Mount { point: unescaped(point), root: unescaped(root), kind: (*kind).to_owned() })
    };
    table.split(|&byte| byte == b'\n').filter_map(mount).collect()
}

/// A path of the table: blanks and backslashes stand in it as three octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let digits =
            tail.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// The one of these at or below a folder.
pub(super) fn held<'a>(mounts: &'a [Mount], folder: &Path) -> Option<&'a Mount> {
    mounts.iter().find(|mount| mount.point.starts_with(folder))
}

/// Whether a path is in what belongs to one process, or is the kernel's memory or its log.
pub(super) fn is_forbidden(mounts: &[Mount], path: &Path) -> bool {
    let over = mounts.iter().filter(|mount| mount.kind == "proc" && path.starts_with(&mount.point));
    let inside = over.filter_map(|mount| Some(mount.root.join(path.strip_prefix(&mount.point).ok()?)));
    inside.into_iter().any(|inside| {
        let first = inside.components().find_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        first.is_some_and(|name| {
            matches!(name, "self" | "thread-self" | "kcore" | "kmsg")
                || name.bytes().all(|byte| byte.is_ascii_digit())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
        23 22 0:21 / /proc rw,nosuid - proc proc rw\n\
        24 22 0:22 / /sys rw shared:7 master:1 - sysfs sysfs rw\n\
        25 22 0:5 / /srv/a\\040b/dev rw - devtmpfs udev rw\n\
        26 22 0:21 /123 /mnt/one rw - proc proc rw\n\
        27 22 0:30 / /run rw - tmpfs tmpfs rw\n";

    #[test]
    fn the_kernels_filesystems_are_found_in_the_table() {
        let mounts = parse(TABLE);
        let found: Vec<_> = mounts.iter().map(|it| (it.point.to_str().unwrap(), it.kind.as_str())).collect();
        assert_eq!(
            found,
            [("/proc", "proc"), ("/sys", "sysfs"), ("/srv/a b/dev", "devtmpfs"), ("/mnt/one", "proc")]
        );
        let at = |folder: &str| held(&mounts, Path::new(folder)).map(|mount| mount.kind.as_str());
        assert_eq!(at("/srv"), Some("devtmpfs"));
        assert_eq!((at("/proc"), at("/proc/sys"), at("/run"), at("/sr")), (Some("proc"), None, None, None));
        assert_eq!(at("/"), Some("proc"));
    }

    #[test]
    fn what_is_of_a_process_is_known_by_its_place_in_procfs() {
        let mounts = parse(TABLE);
        for (path, forbidden) in [
            ("/proc/meminfo", false),
            ("/proc/sys/kernel/hostname", false),
            ("/proc/self/mem", true),
            ("/proc/thread-self/mem", true),
            ("/proc/1/environ", true),
            ("/proc/kcore", true),
            ("/proc/kmsg", true),
            ("/mnt/one/environ", true),
            ("/srv/self/mem", false),
        ] {
            assert_eq!(is_forbidden(&mounts, Path::new(path)), forbidden, "{path}");
        }
    }

    #[test]
    fn the_kernels_filesystems_are_known_by_their_files() {
        let of = |path: &str| is_kernels(std::fs::File::open(path).unwrap()).unwrap();
        assert!(of("/proc/meminfo") && of("/sys"));
        assert!(!of("/tmp") && !of("/etc"));
    }
}
