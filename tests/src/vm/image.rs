//! What is in a guest: the agent under test with its libraries, busybox, kernel modules, disks and files of the test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::Archive;
use super::tools::{Kernel, output, program};
use super::{AGENT_PORT, SHELL_PORT};

/// The first process of every guest.
const INIT: &[u8] = include_bytes!("init.sh");

/// What serves the tests' shell in every guest.
pub(super) const SHELL: &[u8] = include_bytes!("shell.sh");

/// Identity of the guest's system. No single quotes: qemu-ga misreads them, and these cases are for it too.
const OS_RELEASE: &str = "\
NAME=\"Waga Guest\"
ID=waga-guest
PRETTY_NAME=\"Waga Guest 1.0 (Test & \\\"Trial\\\")\"
VERSION=\"1.0 (Test)\"
VERSION_ID=1.0
VARIANT=\"Server\"
VARIANT_ID=server
";

/// A disk of a guest. The first one is `/dev/vda` there, the second `/dev/vdb`.
#[derive(Debug, Clone)]
pub struct Disk {
    bytes: u64,
    filesystem: Option<Filesystem>,
    mapped: bool,
    discard: bool,
    format: &'static str,
}

/// What is on a disk, and where the guest mounts it before the agent starts.
#[derive(Debug, Clone)]
struct Filesystem {
    kind: &'static str,
    mounted_at: String,
}

impl Disk {
    /// An empty disk.
    pub fn blank(mebibytes: u64) -> Self {
        Self { bytes: mebibytes << 20, filesystem: None, mapped: false, discard: true, format: "raw" }
    }

    /// A disk that holds ext4, mounted at a folder of the guest before the agent starts.
    pub fn ext4(mebibytes: u64, mounted_at: &str) -> Self {
        Self::with("ext4", mebibytes, mounted_at)
    }

    /// The same with XFS, which wants 300 MiB. They take no room until something is written.
    pub fn xfs(mebibytes: u64, mounted_at: &str) -> Self {
        Self::with("xfs", mebibytes, mounted_at)
    }

    /// The same with btrfs, which wants 128 MiB.
    pub fn btrfs(mebibytes: u64, mounted_at: &str) -> Self {
        Self::with("btrfs", mebibytes, mounted_at)
    }

    fn with(kind: &'static str, mebibytes: u64, mounted_at: &str) -> Self {
        let filesystem = Some(Filesystem { kind, mounted_at: mounted_at.to_owned() });
        Self { filesystem, ..Self::blank(mebibytes) }
    }

    /// Puts a volume of the device mapper between the disk and its filesystem: `/dev/mapper/volume-b` on `/dev/vdb`.
    #[must_use]
    pub fn mapped(mut self) -> Self {
        self.mapped = true;
        self
    }

    /// Takes from the disk that the guest can give back what it does not use. Under libvirt it can all the same.
    #[must_use]
    pub fn without_discard(mut self) -> Self {
        self.discard = false;
        self
    }

    /// Lets the host keep it in a file that QEMU can take snapshots of.
    #[must_use]
    pub fn qcow2(mut self) -> Self {
        self.format = "qcow2";
        self
    }

    /// Makes it in a file of the host.
    fn make(&self, path: &Path) -> Result<()> {
        std::fs::File::create(path)?.set_len(self.bytes)?;
        if let Some(Filesystem { kind, .. }) = &self.filesystem {
            let force = if *kind == "ext4" { "-F" } else { "-f" };
            output(Command::new(program(&format!("mkfs.{kind}"))?).args(["-q", force]).arg(path))?;
        }
        if self.format != "raw" {
            let raw = path.with_extension("raw");
            std::fs::rename(path, &raw)?;
            let convert = ["convert", "-f", "raw", "-O", self.format];
            output(Command::new(program("qemu-img")?).args(convert).arg(&raw).arg(path))?;
            std::fs::remove_file(raw)?;
        }
        Ok(())
    }

    /// The shell lines that mount it, in the guest where it is `/dev/vd` and this letter.
    fn mount(&self, letter: char) -> String {
        let mut lines = String::new();
        let mut device = format!("/dev/vd{letter}");
        if self.mapped {
            let (volume, sectors) = (format!("volume-{letter}"), self.bytes / 512);
            lines += &format!(
                "DM_DISABLE_UDEV=1 dmsetup create {volume} --table '0 {sectors} linear {device} 0'\n"
            );
            device = format!("/dev/mapper/{volume}");
        }
        if let Some(Filesystem { kind, mounted_at }) = &self.filesystem {
            lines += &format!("mkdir -p {mounted_at} && mount -t {kind} {device} {mounted_at}\n");
        }
        lines
    }
}

/// The plan of a guest.
#[derive(Debug, Clone)]
pub struct Image {
    agent: PathBuf,
    arguments: Vec<String>,
    modules: Vec<String>,
    files: BTreeMap<String, (u32, Vec<u8>)>,
    programs: Vec<String>,
    disks: Vec<Disk>,
    setup: String,
    serial: bool,
    reboots: bool,
}

/// An image made real: what a virtual machine is started with.
#[derive(Debug)]
pub(super) struct Medium {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) disks: Vec<DiskFile>,
    pub(super) serial: bool,
    pub(super) reboots: bool,
}

/// A disk made real.
#[derive(Debug)]
pub(super) struct DiskFile {
    pub(super) path: PathBuf,
    pub(super) format: &'static str,
    /// Whether the guest may give back what it does not use.
    pub(super) discard: bool,
}

impl Medium {
    /// What the kernel is told; the second half saves an emulated machine a fifth of its boot.
    pub(super) const COMMAND_LINE: &'static str =
        "console=ttyS0 panic=-1 quiet mitigations=off nokaslr no_timer_check";
}

impl Image {
    /// A guest in which this agent serves the virtio-serial port.
    pub fn new(agent: impl Into<PathBuf>) -> Self {
        let arguments = ["-m", "virtio-serial", "-p", &format!("/dev/virtio-ports/{AGENT_PORT}"), "-t"]
            .map(str::to_owned)
            .into_iter()
            .chain(["/run/agent-state".to_owned(), "-v".to_owned()])
            .collect();
        let modules = ["virtio_pci", "virtio_console", "virtio_blk", "virtio_net"];
        Self {
            agent: agent.into(),
            arguments,
            modules: modules.map(str::to_owned).to_vec(),
            files: BTreeMap::new(),
            programs: Vec::new(),
            disks: Vec::new(),
            setup: String::new(),
            serial: false,
            reboots: false,
        }
    }

    /// Lets the agent take its channels from this `agent.toml`, and none from the command line.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        let path = "/etc/waga/agent.toml";
        self.arguments = ["-c", path, "-t", "/run/agent-state", "-v"].map(str::to_owned).to_vec();
        self.file(path, 0o644, text)
    }

    /// Adds a serial line, `/dev/ttyS1`, beside the one of the console.
    #[must_use]
    pub fn serial(mut self) -> Self {
        self.serial = true;
        self
    }

    /// Lets the machine start anew when the guest says so, or the host; otherwise that ends it.
    #[must_use]
    pub fn reboots(mut self) -> Self {
        self.reboots = true;
        self
    }

    /// Gives the agent one more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Loads one more kernel module at boot.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// Puts a file into the guest, or replaces one.
    #[must_use]
    pub fn file(mut self, path: &str, permissions: u32, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), (permissions, content.into()));
        self
    }

    /// Puts a program of this machine into the guest, with its libraries, below its own path.
    #[must_use]
    pub fn program(mut self, name: &str) -> Self {
        self.programs.push(name.to_owned());
        self
    }

    /// Attaches one more disk.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        if let Some(filesystem) = disk.filesystem.as_ref().filter(|filesystem| filesystem.kind != "ext4") {
            self = self.module(filesystem.kind);
        }
        if disk.mapped {
            self = self.module("dm-mod").program("dmsetup");
        }
        self.disks.push(disk);
        self
    }

    /// Makes a file on a disk that is mounted, and mounts the ext4 in it.
    #[must_use]
    pub fn loop_image(self, file: &str, mebibytes: u64, mounted_at: &str) -> Self {
        self.module("loop").program("mkfs.ext4").setup(&format!(
            "mkdir -p {mounted_at} && truncate -s {mebibytes}M {file} && mkfs.ext4 -q -F {file} && \
             mount -t ext4 -o loop {file} {mounted_at}"
        ))
    }

    /// Adds shell lines that the guest runs when its disks are mounted, before the agent starts.
    #[must_use]
    pub fn setup(mut self, lines: &str) -> Self {
        self.setup += &format!("{lines}\n");
        self
    }

    /// Makes the files that the machine is started with, in a folder.
    pub(super) fn make(&self, folder: &Path) -> Result<Medium> {
        let kernel = Kernel::find()?;
        let initrd = folder.join("initrd");
        std::fs::write(&initrd, self.initramfs(&kernel)?).context("write the initramfs")?;
        let mut disks = Vec::new();
        for (index, disk) in self.disks.iter().enumerate() {
            let path = folder.join(format!("disk{index}"));
            disk.make(&path)?;
            disks.push(DiskFile { path, format: disk.format, discard: disk.discard });
        }
        Ok(Medium { kernel: kernel.vmlinuz(), initrd, disks, serial: self.serial, reboots: self.reboots })
    }

    fn initramfs(&self, kernel: &Kernel) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in ["bin", "sbin", "usr/bin", "usr/sbin", "dev", "etc", "mnt", "proc", "root", "run"] {
            archive.folder(&format!("/{folder}"));
        }
        for folder in ["sys", "tmp", "var/run", "var/log"] {
            archive.folder(&format!("/{folder}"));
        }
        archive.file("/init", 0o755, INIT);
        archive.file("/bin/busybox", 0o755, &std::fs::read(program("busybox")?)?);
        archive.link("/bin/sh", "busybox");
        archive.file("/etc/os-release", 0o644, OS_RELEASE.as_bytes());
        archive.file("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
        archive.file("/etc/group", 0o644, b"root:x:0:\n");

        let mut order = String::new();
        for (name, content) in kernel.modules(&self.modules)? {
            archive.file(&format!("/etc/guest/modules/{name}"), 0o644, &content);
            order += &format!("/etc/guest/modules/{name}\n");
        }
        archive.file("/etc/guest/module-order", 0o644, order.as_bytes());

        let mounts: String =
            self.disks.iter().zip('a'..='z').map(|(disk, letter)| disk.mount(letter)).collect();
        archive.file("/etc/guest/setup", 0o644, (mounts + &self.setup).as_bytes());
        let ports = format!("{AGENT_PORT}\n{SHELL_PORT}\n");
        archive.file("/etc/guest/ports", 0o644, ports.as_bytes());
        archive.file("/etc/guest/shell-port", 0o644, SHELL_PORT.as_bytes());
        archive.file("/etc/guest/shell", 0o644, SHELL);
        self.add_programs(&mut archive)?;

        for (path, (permissions, content)) in &self.files {
            archive.file(path, *permissions, content);
        }
        Ok(archive.finish())
    }

    /// The agent, how it is started, and the other programs.
    fn add_programs(&self, archive: &mut Archive) -> Result<()> {
        let agent = self.agent.canonicalize().with_context(|| format!("find {}", self.agent.display()))?;
        let name = agent.file_name().context("an agent without a name")?.to_string_lossy();
        let words: Vec<String> =
            self.arguments.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        let start = format!("exec '/usr/sbin/{name}' {}\n", words.join(" "));
        archive.file("/etc/guest/agent", 0o644, start.as_bytes());

        let mut programs = BTreeMap::from([(format!("/usr/sbin/{name}"), agent)]);
        for name in &self.programs {
            let path = program(name)?;
            programs.insert(path.display().to_string(), path);
        }
        let mut shared = BTreeSet::new();
        for (place, path) in &programs {
            archive.file(place, 0o755, &std::fs::read(path)?);
            shared.extend(libraries(path)?);
        }
        for library in shared {
            let content = std::fs::read(&library).with_context(|| format!("read {library}"))?;
            archive.file(&library, 0o755, &content);
        }
        Ok(())
    }
}

/// The shared libraries of a program and its loader, at the paths where the loader will look for them.
fn libraries(program_path: &Path) -> Result<Vec<String>> {
    let ldd = Command::new(program("ldd")?).arg(program_path).output().context("start ldd")?;
    // A static program has no libraries, which ldd reports as a failure.
    Ok(String::from_utf8_lossy(&ldd.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(str::to_owned)
        .collect())
}
