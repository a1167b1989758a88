//! A guest that QEMU runs, from power-on to the pulled plug.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::debian::Debian;
use super::image::{Image, Medium};
use super::qmp::Qmp;
use super::shell::Shell;
use super::tools::program;
use super::{AGENT_PORT, BOOT_PATIENCE, SHELL_PORT, await_until};
use crate::client::{Client, PATIENCE};

/// A running machine; dropping it pulls the plug.
#[derive(Debug)]
pub struct Guest {
    qemu: Child,
    shell: Mutex<Shell>,
    qmp: Mutex<Qmp>,
    folder: TempDir,
}

impl Guest {
    /// Powers the machine on. Commands to its shell and its agent wait until it has booted.
    pub fn boot(image: &Image) -> Result<Self> {
        Self::with(|folder| image.make(folder))
    }

    /// The same with a whole system in the guest.
    pub fn boot_debian(debian: &Debian) -> Result<Self> {
        Self::with(|folder| debian.make(folder))
    }

    fn with(make: impl FnOnce(&Path) -> Result<Medium>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("waga-vm").tempdir()?;
        let medium = make(folder.path())?;
        let mut qemu = start(folder.path(), &medium)?;
        let connected = Shell::connect(&folder.path().join("shell"))
            .and_then(|shell| Ok((shell, Qmp::connect(&folder.path().join("qmp"))?)));
        match connected {
            Ok((shell, qmp)) => Ok(Self { qemu, shell: Mutex::new(shell), qmp: Mutex::new(qmp), folder }),
            Err(error) => {
                end(&mut qemu);
                Err(error.context(tail(&folder.path().join("qemu.log"))))
            }
        }
    }

    /// Connects to the agent as a host does, and brings the stream into step.
    ///
    /// What is sent waits in the socket until the guest has opened its port, so this works from power-on.
    pub fn connect(&self) -> Result<Client> {
        let mut client = self.bare()?;
        client.patience(BOOT_PATIENCE)?;
        client.sync(1)?;
        client.patience(PATIENCE)?;
        Ok(client)
    }

    /// Connects to the agent's port and sends nothing.
    ///
    /// QEMU serves one host program at a time: a connection made before the last one is closed is served later.
    pub fn bare(&self) -> Result<Client> {
        Client::connect(self.socket())
    }

    /// The host's end of the agent's port: the socket of QEMU's character device.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    /// The file in which the host keeps a disk of the guest; the first one is 0.
    pub fn disk(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("disk{index}"))
    }

    /// Connects to the serial line of [`Image::serial`] and sends nothing.
    pub fn line(&self) -> Result<Client> {
        Client::connect(self.folder.path().join("line"))
    }

    /// Takes the agent's port out of the running machine.
    pub fn unplug_port(&self) -> Result<()> {
        self.qmp("device_del", &json!({"id": "agent-port"}))?;
        await_until("the port's end", PATIENCE, || {
            let (status, _) = self.shell_status(&format!("test -c /dev/virtio-ports/{AGENT_PORT}"))?;
            Ok((status != 0).then_some(()))
        })
    }

    /// Puts it in again, where it was.
    pub fn plug_port(&self) -> Result<()> {
        let port =
            json!({"driver": "virtserialport", "id": "agent-port", "chardev": "agent", "name": AGENT_PORT});
        // QEMU takes its time to let go of the last one.
        await_until("the port's return", PATIENCE, || match self.qmp("device_add", &port) {
            Err(error) if error.to_string().contains("in use") => Ok(None),
            added => added.map(|_| Some(())),
        })
    }

    /// Runs a command in the guest that must succeed, and returns what it wrote.
    pub fn shell(&self, command: &str) -> Result<String> {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner).run(command)
    }

    /// Runs a command in the guest and returns its exit status and all it wrote.
    pub fn shell_status(&self, command: &str) -> Result<(i32, Vec<u8>)> {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner).status(command)
    }

    /// Runs a command of QEMU itself.
    pub fn qmp(&self, command: &str, arguments: &Value) -> Result<Value> {
        self.qmp.lock().unwrap_or_else(PoisonError::into_inner).run(command, arguments)
    }

    /// Waits for an event of QEMU's, or takes the first of this name that has come since the last one, and returns its data.
    pub fn await_event(&self, name: &str) -> Result<Value> {
        self.qmp.lock().unwrap_or_else(PoisonError::into_inner).await_event(name)
    }

    /// The names of the events of QEMU's that had come when its last command ended, but for those that were waited for.
    pub fn events(&self) -> Vec<String> {
        self.qmp.lock().unwrap_or_else(PoisonError::into_inner).events()
    }

    /// Waits until the guest's kernel knows whether a host program has the agent's port open.
    pub fn await_host(&self, connected: bool) -> Result<()> {
        // The loop is in the guest and starts no program: each one takes an emulated machine milliseconds.
        let wanted = u8::from(connected);
        let look = format!(
            "tries=0; while [ $tries -lt 20000 ]; do tries=$((tries + 1)); \
             while read -r line; do [ \"$line\" != 'host_connected: {wanted}' ] || exit 0; done \
             </run/port-state/{AGENT_PORT}; done; exit 1"
        );
        self.shell(&look).map(drop)
    }

    /// Waits until the agent has done what there was to do: all its threads sleep, and no longer get woken.
    pub fn await_idle_agent(&self) -> Result<()> {
        // A thread may end between being listed and being read.
        let look =
            "cd /proc/$(cat /run/agent.pid)/task && grep -s -h -E '^(Name|State|voluntary)' */status || true";
        let mut before = String::new();
        let mut alike = 0;
        await_until("the agent's rest", PATIENCE, || {
            let now = self.shell(look)?;
            let sleeps =
                now.lines().filter_map(|line| line.strip_prefix("State:")).all(|state| state.contains('S'));
            // A thread that did a request's work ends some time after it.
            let working = now.lines().any(|line| line.contains("blocking-"));
            alike = if sleeps && !working && now == before { alike + 1 } else { 0 };
            before = now;
            Ok((alike == 3).then_some(()))
        })
    }

    /// All that the kernel, the init and the agent wrote to the console so far.
    pub fn console(&self) -> String {
        std::fs::read(self.folder.path().join("console"))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// Adds what the guest last said to a failure.
    pub fn explain(&self, error: Error) -> Error {
        error.context(tail(&self.folder.path().join("console")))
    }

    /// Waits until the machine has powered off by itself.
    pub fn await_off(&mut self) -> Result<()> {
        await_until("the end of QEMU", Duration::from_secs(60), || Ok(self.qemu.try_wait()?.map(|_| ())))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        end(&mut self.qemu);
    }
}

fn start(folder: &Path, medium: &Medium) -> Result<Child> {
    let place = |name: &str| folder.join(name).display().to_string();
    // The plug is pulled even when this process is killed and cannot drop anything.
    let mut command = Command::new(program("setpriv")?);
    command.args(["--pdeathsig", "KILL"]).arg(program("qemu-system-x86_64")?);
    command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]);
    command.args(["-m", "768", "-smp", "2,maxcpus=3", "-nodefaults", "-display", "none"]);
    if !medium.reboots {
        command.arg("-no-reboot");
    }
    command.arg("-kernel").arg(&medium.kernel).arg("-initrd").arg(&medium.initrd);
    command.args(["-append", Medium::COMMAND_LINE]);
    command.args(["-serial", &format!("file:{}", place("console"))]);
    command.args(["-qmp", &format!("unix:{},server=on,wait=off", place("qmp"))]);
    command.args(["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,romfile="]);
    command.args(["-device", "virtio-serial"]);
    for (id, name) in [("agent", AGENT_PORT), ("shell", SHELL_PORT)] {
        command.args(["-chardev", &format!("socket,id={id},path={},server=on,wait=off", place(id))]);
        command.args(["-device", &format!("virtserialport,id={id}-port,chardev={id},name={name}")]);
    }
    if medium.serial {
        command.args(["-chardev", &format!("socket,id=line,path={},server=on,wait=off", place("line"))]);
        command.args(["-device", "isa-serial,chardev=line"]);
    }
    for (index, disk) in medium.disks.iter().enumerate() {
        let (file, format) = (disk.path.display(), disk.format);
        command.args(["-drive", &format!("id=d{index},if=none,file={file},format={format},discard=unmap")]);
        let discard = if disk.discard { "on" } else { "off" };
        let device = format!("virtio-blk-pci,drive=d{index},serial=disk{index},discard={discard}");
        command.args(["-device", &device]);
    }
    let log = std::fs::File::create(folder.join("qemu.log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("start QEMU")
}

fn end(qemu: &mut Child) {
    // Both fail only when it is gone already.
    drop(qemu.kill());
    drop(qemu.wait());
}

/// The last lines of a log, as the words that introduce them in a failure.
pub(super) fn tail(path: &PathBuf) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(30)..].join("\n");
    format!("the end of the {}:\n{last}\n", path.file_name().unwrap_or_default().to_string_lossy())
}
