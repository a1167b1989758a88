//! A guest that is a whole Debian, with systemd and udev: a copy of the image that `tests/install-packages` made.
//!
//! The initramfs loads the modules that the disk and the ports need, lays the test's files over the system, and
//! hands over to systemd. Nobody has to be root here: what is added goes in through the guest.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::SHELL_PORT;
use super::archive::Archive;
use super::image::{DiskFile, Medium, SHELL};
use super::tools::{Kernel, debian_image, output, program};

/// The first process, until systemd takes its place.
const INIT: &[u8] = include_bytes!("debian.sh");

/// The tests' shell as a service of the guest.
const SHELL_UNIT: &str = "\
[Unit]
Description=The shell of the tests

[Service]
ExecStart=/bin/sh /etc/guest/shell
KillMode=process
Restart=always
";

/// The plan of such a guest.
#[derive(Debug, Clone)]
pub struct Debian {
    files: BTreeMap<String, (u32, Vec<u8>)>,
    links: BTreeMap<String, String>,
}

impl Default for Debian {
    fn default() -> Self {
        Self::new()
    }
}

impl Debian {
    /// The system as it was made, with qemu-ga from Debian's package, and with the tests' shell.
    pub fn new() -> Self {
        let wants = "/etc/systemd/system/multi-user.target.wants/tests-shell.service";
        let debian = Self { files: BTreeMap::new(), links: BTreeMap::new() }
            .file("/etc/guest/shell-port", 0o644, SHELL_PORT)
            .file("/etc/guest/shell", 0o644, SHELL)
            .file("/etc/systemd/system/tests-shell.service", 0o644, SHELL_UNIT)
            // With none, systemd takes the boot for the first one and sets up every unit anew.
            .file("/etc/machine-id", 0o644, "0123456789abcdef0123456789abcdef\n")
            .file("/etc/hostname", 0o644, "waga-debian\n");
        // What no test looks at and an emulated machine takes seconds for.
        let idle = [
            "dev-hugepages.mount",
            "dev-mqueue.mount",
            "e2scrub_reap.service",
            "getty.target",
            "modprobe@.service",
            "sys-kernel-debug.mount",
            "sys-kernel-tracing.mount",
            "systemd-timesyncd.service",
            "systemd-update-utmp-runlevel.service",
            "systemd-update-utmp.service",
            "timers.target",
        ];
        idle.iter()
            .fold(debian, |debian, unit| debian.link(&format!("/etc/systemd/system/{unit}"), "/dev/null"))
            .link(wants, "../tests-shell.service")
    }

    /// Puts a file into the guest, or replaces one.
    #[must_use]
    pub fn file(mut self, path: &str, permissions: u32, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), (permissions, content.into()));
        self
    }

    /// Puts a symbolic link into the guest.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.links.insert(path.to_owned(), target.to_owned());
        self
    }

    /// Makes the files that the machine is started with, in a folder.
    pub(super) fn make(&self, folder: &Path) -> Result<Medium> {
        let kernel = Kernel::find()?;
        let path = folder.join("disk0");
        // Most of the image is a hole.
        let mut copy = Command::new(program("cp")?);
        output(copy.args(["--sparse=always", "--reflink=auto"]).arg(debian_image()?).arg(&path))?;
        let initrd = folder.join("initrd");
        std::fs::write(&initrd, self.initramfs(&kernel)?).context("write the initramfs")?;
        Ok(Medium {
            kernel: kernel.vmlinuz(),
            initrd,
            disks: vec![DiskFile { path, format: "raw", discard: true }],
            serial: false,
            reboots: true,
        })
    }

    fn initramfs(&self, kernel: &Kernel) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in ["/dev", "/proc", "/sys", "/system"] {
            archive.folder(folder);
        }
        archive.file("/init", 0o755, INIT);
        archive.file("/bin/busybox", 0o755, &std::fs::read(program("busybox")?)?);
        let modules = ["virtio_pci", "virtio_blk", "virtio_console", "virtio_net"].map(str::to_owned);
        let mut order = String::new();
        for (name, content) in kernel.modules(&modules)? {
            archive.file(&format!("/modules/{name}"), 0o644, &content);
            order += &format!("/modules/{name}\n");
        }
        archive.file("/module-order", 0o644, order.as_bytes());
        for (path, (permissions, content)) in &self.files {
            archive.file(&format!("/overlay{path}"), *permissions, content);
        }
        for (path, target) in &self.links {
            archive.link(&format!("/overlay{path}"), target);
        }
        Ok(archive.finish())
    }
}
