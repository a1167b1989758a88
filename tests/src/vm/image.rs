//! What is in a guest: the agent under test with its libraries, busybox, kernel modules, disks and files of the test.

use std::collections::BTreeMap;
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
    mounted_at: Option<String>,
}

impl Disk {
    /// An empty disk.
    pub fn blank(mebibytes: u64) -> Self {
        Self { bytes: mebibytes << 20, mounted_at: None }
    }

    /// A disk that holds ext4, mounted at a folder of the guest before the agent starts.
    pub fn ext4(mebibytes: u64, mounted_at: &str) -> Self {
        Self { bytes: mebibytes << 20, mounted_at: Some(mounted_at.to_owned()) }
    }
}

/// The plan of a guest.
#[derive(Debug, Clone)]
pub struct Image {
    agent: PathBuf,
    arguments: Vec<String>,
    modules: Vec<String>,
    files: BTreeMap<String, (u32, Vec<u8>)>,
    disks: Vec<Disk>,
    serial: bool,
}

/// An image made real: what a virtual machine is started with.
#[derive(Debug)]
pub(super) struct Medium {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) disks: Vec<PathBuf>,
    pub(super) serial: bool,
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
            disks: Vec::new(),
            serial: false,
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

    /// Attaches one more disk.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
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
            std::fs::File::create(&path)?.set_len(disk.bytes)?;
            if disk.mounted_at.is_some() {
                output(Command::new(program("mkfs.ext4")?).args(["-q", "-F"]).arg(&path))?;
            }
            disks.push(path);
        }
        Ok(Medium { kernel: kernel.vmlinuz(), initrd, disks, serial: self.serial })
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

        let mounts = self.disks.iter().zip('a'..='z').filter_map(|(disk, letter)| {
            Some(format!("/dev/vd{letter} ext4 {}\n", disk.mounted_at.as_ref()?))
        });
        archive.file("/etc/guest/mounts", 0o644, mounts.collect::<String>().as_bytes());
        let ports = format!("{AGENT_PORT}\n{SHELL_PORT}\n");
        archive.file("/etc/guest/ports", 0o644, ports.as_bytes());
        archive.file("/etc/guest/shell-port", 0o644, SHELL_PORT.as_bytes());
        archive.file("/etc/guest/shell", 0o644, SHELL);
        self.add_agent(&mut archive)?;

        for (path, (permissions, content)) in &self.files {
            archive.file(path, *permissions, content);
        }
        Ok(archive.finish())
    }

    fn add_agent(&self, archive: &mut Archive) -> Result<()> {
        let agent = self.agent.canonicalize().with_context(|| format!("find {}", self.agent.display()))?;
        let name = agent.file_name().context("an agent without a name")?.to_string_lossy();
        archive.file(&format!("/usr/sbin/{name}"), 0o755, &std::fs::read(&agent)?);
        for library in libraries(&agent)? {
            let content = std::fs::read(&library).with_context(|| format!("read {library}"))?;
            archive.file(&library, 0o755, &content);
        }
        let words: Vec<String> =
            self.arguments.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        let start = format!("exec '/usr/sbin/{name}' {}\n", words.join(" "));
        archive.file("/etc/guest/agent", 0o644, start.as_bytes());
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
