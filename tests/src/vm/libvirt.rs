//! The same guest under libvirt, with a daemon of its own in a folder of its own.
//!
//! It is libvirt's session daemon, which is all that an ordinary user needs. For root, who cannot have one,
//! everything runs as `nobody`: no configuration, socket or domain of the machine is touched.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use tempfile::TempDir;

use super::guest::tail;
use super::image::{Image, Medium};
use super::shell::Shell;
use super::tools::{output, program};
use super::{AGENT_PORT, SHELL_PORT, await_until};

/// The guest's name in libvirt.
pub const DOMAIN: &str = "waga-guest";

/// The user and the group without rights, by Debian's number for both.
const NOBODY: u32 = 65534;

/// A libvirt daemon and the one guest it runs; dropping it ends both.
#[derive(Debug)]
pub struct Libvirt {
    daemon: Child,
    /// The `virsh` that created the guest. The guest is destroyed when this connection ends, however it ends.
    owner: Option<Child>,
    shell: Option<Mutex<Shell>>,
    folder: TempDir,
}

impl Libvirt {
    /// Starts the daemon and the guest.
    pub fn boot(image: &Image) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("waga-lv").tempdir()?;
        let place = folder.path();
        let mut medium = image.make(place)?;
        // `nobody` may not be able to read the checkout.
        let kernel = place.join("kernel");
        std::fs::copy(&medium.kernel, &kernel)?;
        medium.kernel = kernel;
        std::fs::write(place.join("domain.xml"), domain(place, &medium)?)?;
        // No virtlogd: QEMU writes its own logs.
        std::fs::create_dir_all(place.join("config/libvirt"))?;
        std::fs::write(place.join("config/libvirt/qemu.conf"), "stdio_handler = \"file\"\n")?;
        std::fs::create_dir(place.join("run"))?;
        std::fs::set_permissions(place.join("run"), PermissionsExt::from_mode(0o700))?;
        give_away(place)?;

        let log = std::fs::File::create(place.join("libvirtd.log"))?;
        let daemon = unprivileged(place, "libvirtd")?
            // Should this process be killed, the guest ends with its owner, and the daemon some seconds later.
            .args(["--timeout", "10"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start libvirtd")?;
        let mut libvirt = Self { daemon, owner: None, shell: None, folder };
        match libvirt.create_guest() {
            Ok(()) => Ok(libvirt),
            Err(error) => {
                Err(libvirt.explain(error).context(tail(&libvirt.folder.path().join("libvirtd.log"))))
            }
        }
    }

    /// Runs a `virsh` command and returns what it printed.
    pub fn virsh(&self, arguments: &[&str]) -> Result<String> {
        let printed = output(virsh(self.folder.path())?.args(arguments))?;
        Ok(printed.trim().to_owned())
    }

    /// The folder of the host in which libvirt keeps all of it: what it shall read or write has to be here.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a file into that folder, and returns its path.
    pub fn put(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content)?;
        give_away(&path)?;
        Ok(path)
    }

    /// The file in which the host keeps a disk of the guest; the first one is 0.
    pub fn disk(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("disk{index}"))
    }

    /// All that the kernel, the init and the agent wrote to the console so far.
    pub fn console(&self) -> String {
        let text = std::fs::read(self.folder.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Runs `waga call` of this program with `--connect` and further words, as the user who runs the guest.
    pub fn call(&self, waga: &Path, words: &[&str]) -> Result<Output> {
        let place = self.folder.path();
        // That user may not be able to read the checkout.
        let copy = place.join("waga");
        if !copy.exists() {
            std::fs::copy(waga, &copy).context("copy waga")?;
        }
        let mut command = unprivileged(place, copy.to_str().context("an ordinary path")?)?;
        command.args(["call", "--connect", &uri(place)]).args(words).stdin(Stdio::null());
        command.output().context("start waga call")
    }

    /// Runs a command in the guest that must succeed, and returns what it wrote.
    pub fn shell(&self, command: &str) -> Result<String> {
        let shell = self.shell.as_ref().context("the guest has no shell yet")?;
        shell.lock().unwrap_or_else(PoisonError::into_inner).run(command)
    }

    /// Runs a command in the guest and returns its exit status and all it wrote.
    pub fn shell_status(&self, command: &str) -> Result<(i32, Vec<u8>)> {
        let shell = self.shell.as_ref().context("the guest has no shell yet")?;
        shell.lock().unwrap_or_else(PoisonError::into_inner).status(command)
    }

    /// Adds what the guest last said to a failure.
    pub fn explain(&self, error: Error) -> Error {
        error.context(tail(&self.folder.path().join("console")))
    }

    fn create_guest(&mut self) -> Result<()> {
        let place = self.folder.path();
        await_until("libvirtd's socket", Duration::from_secs(30), || {
            if let Some(status) = self.daemon.try_wait()? {
                bail!("libvirtd ended: {status}");
            }
            Ok(UnixStream::connect(place.join("run/libvirt/libvirt-sock")).ok())
        })?;
        let mut owner = virsh(place)?.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let commands = format!("create --autodestroy {}\n", place.join("domain.xml").display());
        owner.stdin.as_mut().context("virsh reads")?.write_all(commands.as_bytes())?;
        self.owner = Some(owner);
        self.shell = Some(Mutex::new(Shell::connect(&place.join("shell"))?));
        Ok(())
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        if let Some(mut owner) = self.owner.take() {
            drop(owner.stdin.take());
            drop(owner.wait());
            // The guest goes when the daemon has seen its owner leave.
            drop(await_until("the end of the guest", Duration::from_secs(20), || {
                Ok(self.virsh(&["list", "--name"])?.is_empty().then_some(()))
            }));
        }
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

fn virsh(place: &Path) -> Result<Command> {
    let mut command = unprivileged(place, "virsh")?;
    command.args(["--quiet", "--connect", &uri(place)]);
    Ok(command)
}

/// Where clients find the daemon.
fn uri(place: &Path) -> String {
    format!("qemu:///session?socket={}", place.join("run/libvirt/libvirt-sock").display())
}

/// A program as it is run here: never as root, and with all its files below the folder.
fn unprivileged(place: &Path, name: &str) -> Result<Command> {
    let mut command = if is_root()? {
        let mut command = Command::new(program("setpriv")?);
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        command.arg(program(name)?);
        command
    } else {
        Command::new(program(name)?)
    };
    command
        .current_dir(place)
        .env("HOME", place)
        .env("XDG_RUNTIME_DIR", place.join("run"))
        .env("XDG_CONFIG_HOME", place.join("config"))
        .env("XDG_CACHE_HOME", place.join("cache"))
        .env("XDG_DATA_HOME", place.join("data"))
        .env("LC_ALL", "C");
    Ok(command)
}

/// Whether this process acts as root: what it owns in procfs tells.
fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

/// Makes the folder and all below it the unprivileged user's.
fn give_away(path: &Path) -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give_away(&entry?.path())?;
        }
    }
    Ok(())
}

fn domain(place: &Path, medium: &Medium) -> Result<String> {
    let place = place.display();
    let emulator = program("qemu-system-x86_64")?;
    let disks: String = medium
        .disks
        .iter()
        .zip('a'..='z')
        .map(|(disk, letter)| {
            format!(
                "<disk type='file' device='disk'><driver name='qemu' type='{}' discard='unmap'/>\
                 <source file='{}'/><target dev='vd{letter}' bus='virtio'/></disk>",
                disk.format,
                disk.path.display()
            )
        })
        .collect();
    Ok(format!(
        "<domain type='qemu'>
           <name>{DOMAIN}</name>
           <memory unit='MiB'>768</memory>
           <vcpu current='2'>3</vcpu>
           <os>
             <type arch='x86_64' machine='q35'>hvm</type>
             <kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>{command_line}</cmdline>
           </os>
           <features><acpi/></features>
           <cpu mode='maximum'/>
           <on_reboot>{on_reboot}</on_reboot>
           <pm><suspend-to-mem enabled='yes'/></pm>
           <seclabel type='none'/>
           <devices>
             <emulator>{emulator}</emulator>
             {disks}
             <interface type='user'><model type='virtio'/></interface>
             <serial type='file'><source path='{place}/console'/><target port='0'/></serial>
             <channel type='unix'>
               <source mode='bind' path='{place}/agent'/><target type='virtio' name='{AGENT_PORT}'/>
             </channel>
             <channel type='unix'>
               <source mode='bind' path='{place}/shell'/><target type='virtio' name='{SHELL_PORT}'/>
             </channel>
             <controller type='usb' model='none'/>
             <memballoon model='none'/>
           </devices>
         </domain>",
        kernel = medium.kernel.display(),
        initrd = medium.initrd.display(),
        command_line = Medium::COMMAND_LINE,
        on_reboot = if medium.reboots { "restart" } else { "destroy" },
        emulator = emulator.display(),
    ))
}
