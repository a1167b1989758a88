//! What the guests are made of and with: programs of this machine, and the kernel folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Why no guest can be booted here, if so.
pub fn missing_for_guest() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the guests of these tests are x86-64 machines".to_owned());
    }
    let programs = ["qemu-system-x86_64", "busybox", "modprobe", "ldd", "setpriv"];
    let of_disks = ["mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "dmsetup"];
    missing(&programs)
        .or_else(|| missing(&of_disks))
        .or_else(|| Kernel::find().err().map(|error| format!("{error:#}")))
}

/// Why no guest can be booted under libvirt here, if so.
pub fn missing_for_libvirt() -> Option<String> {
    missing_for_guest().or_else(|| missing(&["virsh", "libvirtd", "qemu-img"]))
}

/// Why no Debian with systemd can be booted here, if so.
pub fn missing_for_debian() -> Option<String> {
    missing_for_guest()
        .or_else(|| missing(&["e2fsck"]))
        .or_else(|| debian_image().err().map(|error| format!("{error:#}")))
}

/// Finds the image of a Debian system in `WAGA_VM_DEBIAN`, or in `target/vm/debian.ext4` of this checkout.
pub(super) fn debian_image() -> Result<PathBuf> {
    let image = vm_file("WAGA_VM_DEBIAN", "vm/debian.ext4");
    if !image.is_file() {
        bail!("no Debian system in {}; tests/install-packages makes it", image.display());
    }
    Ok(image)
}

/// What a variable of the environment names, or a place below `target` of this checkout.
fn vm_file(variable: &str, place: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join(place),
        PathBuf::from,
    )
}

fn missing(programs: &[&str]) -> Option<String> {
    let absent = programs.iter().find(|name| program(name).is_err())?;
    Some(format!("{absent} is not installed; tests/install-packages installs it"))
}

/// Finds a program, in the folders of administrators too, which are seldom in an ordinary user's `PATH`.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed"))
}

/// Runs a program to its end and returns its standard output; a failure tells what it said.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let result = command.output().with_context(|| format!("start {name}"))?;
    let said = String::from_utf8_lossy(&result.stdout).into_owned();
    if !result.status.success() {
        bail!("{command:?}: {}: {said}{}", result.status, String::from_utf8_lossy(&result.stderr));
    }
    Ok(said)
}

/// A kernel with its modules, in a folder as `tests/install-packages` leaves it.
#[derive(Debug)]
pub(super) struct Kernel {
    root: PathBuf,
    version: String,
}

impl Kernel {
    /// Finds the kernel in `WAGA_VM_KERNEL`, or in `target/vm/kernel` of this checkout.
    pub(super) fn find() -> Result<Self> {
        let root = vm_file("WAGA_VM_KERNEL", "vm/kernel");
        let modules = root.join("lib/modules");
        let version = std::fs::read_dir(&modules)
            .ok()
            .and_then(|mut versions| versions.next())
            .with_context(|| {
                format!("no guest kernel in {}; tests/install-packages fetches it", root.display())
            })?
            .context("list the kernel's modules")?
            .file_name()
            .to_string_lossy()
            .into_owned();
        Ok(Self { root, version })
    }

    /// The kernel that QEMU boots.
    pub(super) fn vmlinuz(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.version))
    }

    /// The modules of these names and all they need, in the order of loading: name and content.
    ///
    /// Modules that this kernel has built in are not among them.
    pub(super) fn modules(&self, names: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
        let plan = output(
            Command::new(program("modprobe")?)
                .arg("--dirname")
                .arg(&self.root)
                .args(["--set-version", &self.version, "--all", "--show-depends"])
                .args(names),
        )?;
        let mut modules: Vec<(String, Vec<u8>)> = Vec::new();
        for path in plan.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let path = Path::new(path.trim());
            let file = path.file_name().context("a module without a name")?.to_string_lossy();
            // `insmod` of the guest may not know the compression, so the module goes in as it is.
            let name = file.trim_end_matches(".xz").to_owned();
            if modules.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let content = if file.ends_with(".xz") {
                let unpacked = Command::new(program("xz")?).args(["-d", "-c"]).arg(path).output()?;
                if !unpacked.status.success() {
                    bail!("xz: {}: {}", path.display(), unpacked.status);
                }
                unpacked.stdout
            } else {
                std::fs::read(path)?
            };
            modules.push((name, content));
        }
        Ok(modules)
    }
}
