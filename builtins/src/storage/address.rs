//! Where a disk is plugged in, as the host sees it: read off the path of its folder in sysfs.
//!
//! Host tools find their own disk by these numbers, so they are those of the device that QEMU presents, not of the guest's names.

use serde::Serialize;

use super::block::{self, Block, Tree};

/// How deep mapped devices may lie upon one another; the kernel's own bounds are tighter.
const MOST_LAYERS: usize = 32;

/// Where a disk is plugged in: the schema's `GuestDiskAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DiskAddress {
    pci_controller: PciAddress,
    bus_type: BusType,
    bus: u32,
    target: u32,
    unit: u32,
    /// What udev calls `ID_SERIAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    /// The node, `/dev/sda`.
    #[serde(skip_serializing_if = "Option::is_none")]
    dev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ccw_address: Option<CcwAddress>,
}

/// A PCI function; all -1 when unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct PciAddress {
    domain: i64,
    bus: i64,
    slot: i64,
    function: i64,
}

/// A device of an s390 channel subsystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct CcwAddress {
    cssid: u32,
    ssid: u32,
    subchno: u32,
    devno: u32,
}

/// The buses that can be told on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BusType {
    Ide,
    Scsi,
    Virtio,
    Usb,
    Sata,
    Unknown,
    Nvme,
}

impl DiskAddress {
    const UNKNOWN: Self = Self {
        pci_controller: PciAddress { domain: -1, bus: -1, slot: -1, function: -1 },
        bus_type: BusType::Unknown,
        bus: 0,
        target: 0,
        unit: 0,
        serial: None,
        dev: None,
        ccw_address: None,
    };

    /// The address of a device that is no virtual one; `None` when nothing at all is known of it.
    ///
    /// `serial` is udev's.
    pub(super) fn of(tree: &Tree, block: &Block, serial: Option<String>) -> Option<Self> {
        let mut address = Self { serial, dev: block.node.clone(), ..Self::UNKNOWN };
        let found = if let Some(functions) = pci_functions(&block.path) {
            address.locate_on_pci(tree, &block.path, functions)
        } else if block.path.contains("/devices/css") {
            address.locate_on_ccw(&block.path)
        } else {
            address.locate_on_virtio(&block.path)
        };
        (found.is_some() || address.dev.is_some() || address.serial.is_some()).then_some(address)
    }

    /// The bus it is on.
    pub(super) fn bus_type(&self) -> BusType {
        self.bus_type
    }

    /// Walks down the bridges to the function whose driver tells what kind of controller it is.
    ///
    /// Differs from qemu-ga: the bus and target of a virtio-scsi disk are told too, where qemu-ga leaves them at 0.
    fn locate_on_pci(&mut self, tree: &Tree, path: &str, functions: usize) -> Option<()> {
        let mut end = functions;
        let driver = loop {
            let element = path[end..].strip_prefix('/')?.split('/').next()?;
            let function = PciAddress::parse(element)?;
            end += 1 + element.len();
            let driver = tree.link(&format!("{}/driver", &path[..end]));
            let kind = driver.as_deref().and_then(|driver| Controller::of(driver.rsplit('/').next()?));
            if let Some(kind) = kind {
                self.pci_controller = function;
                break kind;
            }
        };
        let place = ScsiPlace::of(path);
        match driver {
            // One channel a host, with a master and a slave.
            Controller::AtaPiix => {
                (self.bus, self.unit) = (host_index(tree, path)?, place?.id);
                self.bus_type = BusType::Ide;
            }
            // One port a host.
            Controller::Ahci => {
                (self.unit, _) = (host_index(tree, path)?, place?);
                self.bus_type = BusType::Sata;
            }
            // QEMU calls the target of this one a unit.
            Controller::Sym53c8xx => {
                self.unit = place?.id;
                self.bus_type = BusType::Scsi;
            }
            Controller::Virtio => self.set_virtio(place),
            Controller::Nvme => self.bus_type = BusType::Nvme,
            Controller::Usb => self.bus_type = BusType::Usb,
        }
        Some(())
    }

    /// `/devices/cssX/CSSID.SSID.SUBCHNO/CSSID.SSID.DEVNO/…`, in hex.
    fn locate_on_ccw(&mut self, path: &str) -> Option<()> {
        let mut elements = path.split_once("/devices/css")?.1.split('/').skip(1);
        let [cssid, ssid, subchno] = hex_numbers(elements.next()?)?;
        let [_, _, devno] = hex_numbers(elements.next()?)?;
        self.ccw_address = Some(CcwAddress { cssid, ssid, subchno, devno });
        // Other disks of these machines have an address, and no type that the schema knows.
        let _: Option<()> = self.locate_on_virtio(path);
        Some(())
    }

    /// virtio without PCI: on a channel subsystem, or memory-mapped.
    fn locate_on_virtio(&mut self, path: &str) -> Option<()> {
        path.contains("/virtio").then(|| self.set_virtio(ScsiPlace::of(path)))
    }

    /// A disk of its own, or one of a SCSI controller's.
    fn set_virtio(&mut self, place: Option<ScsiPlace>) {
        match place {
            Some(place) => {
                (self.bus, self.target, self.unit) = (place.channel, place.id, place.lun);
                self.bus_type = BusType::Scsi;
            }
            None => self.bus_type = BusType::Virtio,
        }
    }
}

/// The addresses of the disks that the device in this folder is on: its own, or those of all the devices that it is made of, the last
/// found first, as qemu-ga has it.
pub(super) fn of_disks_below(tree: &Tree, path: &str) -> Vec<DiskAddress> {
    let mut disks = Vec::new();
    gather(tree, path.to_owned(), MOST_LAYERS, &mut disks);
    disks.reverse();
    disks
}

fn gather(tree: &Tree, path: String, layers: usize, disks: &mut Vec<DiskAddress>) {
    if !block::is_virtual(&path) {
        let block = Block::at(tree, path);
        let serial = block.properties(tree).get("ID_SERIAL");
        disks.extend(DiskAddress::of(tree, &block, serial));
    } else if layers > 0 {
        for below in tree.links(&format!("{path}/slaves")).unwrap_or_default() {
            gather(tree, below, layers - 1, disks);
        }
    }
}

/// The drivers of PCI functions that have disks of a kind that the schema knows.
#[derive(Debug, Clone, Copy)]
enum Controller {
    AtaPiix,
    Sym53c8xx,
    Virtio,
    Ahci,
    Nvme,
    Usb,
}

impl Controller {
    fn of(driver: &str) -> Option<Self> {
        Some(match driver {
            "ata_piix" => Self::AtaPiix,
            "sym53c8xx" => Self::Sym53c8xx,
            "virtio-pci" => Self::Virtio,
            "ahci" => Self::Ahci,
            "nvme" => Self::Nvme,
            "xhci_hcd" | "ehci-pci" => Self::Usb,
            _ => return None,
        })
    }
}

impl PciAddress {
    /// Reads `DOMAIN:BUS:SLOT.FUNCTION`, in hex.
    fn parse(element: &str) -> Option<Self> {
        let [domain, bus, slot, function] = hex_numbers(element)?;
        let [domain, bus, slot, function] = [domain, bus, slot, function].map(i64::from);
        Some(Self { domain, bus, slot, function })
    }
}

/// Where in the path the functions of a PCI bus begin: behind the root, `pci0000:00`.
///
/// Differs from qemu-ga, which looks for it right below `/devices`: with a device tree it stands below a platform device.
fn pci_functions(path: &str) -> Option<usize> {
    let mut end = 0;
    path.split('/').find_map(|element| {
        end += element.len() + 1;
        hex_numbers::<2>(element.strip_prefix("pci")?).map(|_| end - 1)
    })
}

/// The numbers of a SCSI disk.
#[derive(Debug, Clone, Copy)]
struct ScsiPlace {
    channel: u32,
    id: u32,
    lun: u32,
}

impl ScsiPlace {
    /// Reads `…/targetHOST:CHANNEL:ID/HOST:CHANNEL:ID:LUN/…`.
    fn of(path: &str) -> Option<Self> {
        let mut elements = path.split('/').skip_while(|element| !element.starts_with("target"));
        let mut numbers = elements.nth(1)?.split(':').skip(1).map(|number| number.parse().ok());
        Some(Self { channel: numbers.next()??, id: numbers.next()??, lun: numbers.next()?? })
    }
}

/// Which of its controller's hosts a disk is behind, counted from 0 by their numbers: `ataN`, or `hostN` where there are none.
fn host_index(tree: &Tree, path: &str) -> Option<u32> {
    ["ata", "host"].into_iter().find_map(|kind| {
        let number = |name: &str| name.strip_prefix(kind)?.parse::<u32>().ok();
        let mut start = 0;
        let own = path.split('/').find_map(|element| {
            let found = number(element);
            start += if found.is_some() { 0 } else { element.len() + 1 };
            found
        })?;
        let hosts = tree.entries(&path[..start]).ok()?;
        u32::try_from(hosts.iter().filter_map(|(name, _)| number(name)).filter(|&other| other < own).count())
            .ok()
    })
}

/// Exactly `N` hexadecimal numbers with `:` or `.` between them.
fn hex_numbers<const N: usize>(text: &str) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split([':', '.']);
    for number in &mut numbers {
        *number = u32::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::made_up::MadeUp;
    use super::*;

    fn addresses(system: &MadeUp, path: &str) -> Value {
        serde_json::to_value(of_disks_below(&system.tree(), path)).unwrap()
    }

    /// The address of a disk at `path`, whose PCI functions have these drivers, as `[bus-type, bus, target, unit, PCI]`.
    fn check(drivers: &[(&str, &str)], others: &[&str], path: &str, expected: Value) {
        let system = MadeUp::new();
        for (function, driver) in drivers {
            system.driver(function, driver);
        }
        for other in others {
            system.folder(other);
        }
        system.block(path, "8:16");
        let told = &addresses(&system, path)[0];
        let pci = &told["pci-controller"];
        let pci = json!([pci["domain"], pci["bus"], pci["slot"], pci["function"]]);
        let brief = json!([told["bus-type"], told["bus"], told["target"], told["unit"], pci]);
        assert_eq!(brief, expected, "{path}");
        assert_eq!(
            told["dev"].as_str(),
            path.rsplit('/').next().map(|name| format!("/dev/{name}")).as_deref()
        );
    }

    const ROOT: &str = "/sys/devices/pci0000:00";

    #[test]
    fn virtio_disks_are_one_a_function() {
        let function = &format!("{ROOT}/0000:00:1e.0/0000:05:0a.1");
        let expected = json!(["virtio", 0, 0, 0, [0, 5, 10, 1]]);
        check(&[(function, "virtio-pci")], &[], &format!("{function}/virtio1/block/vda"), expected);
    }

    #[test]
    fn virtio_scsi_disks_are_told_by_channel_target_and_lun() {
        let function = &format!("{ROOT}/0000:00:02.0");
        let disk = format!("{function}/virtio2/host6/target6:0:3/6:0:3:70/block/sdb");
        check(&[(function, "virtio-pci")], &[], &disk, json!(["scsi", 0, 3, 70, [0, 0, 2, 0]]));
    }

    #[test]
    fn nvme_disks_are_found_behind_bridges() {
        let (port, function) =
            (&format!("{ROOT}/0000:00:1d.4"), &format!("{ROOT}/0000:00:1d.4/0000:3d:00.0"));
        let drivers = [(port.as_str(), "pcieport"), (function.as_str(), "nvme")];
        let disk = format!("{function}/nvme/nvme0/nvme0n1");
        check(&drivers, &[], &disk, json!(["nvme", 0, 0, 0, [0, 0x3d, 0, 0]]));
    }

    #[test]
    fn sata_disks_are_told_by_the_place_of_their_port() {
        let function = &format!("{ROOT}/0000:00:1f.2");
        let ports: Vec<_> = [3, 4, 5, 10, 11].map(|port| format!("{function}/ata{port}")).into();
        let ports: Vec<_> = ports.iter().map(String::as_str).collect();
        let disk = format!("{function}/ata10/host9/target9:0:0/9:0:0:0/block/sda");
        check(&[(function, "ahci")], &ports, &disk, json!(["sata", 0, 0, 3, [0, 0, 31, 2]]));
    }

    #[test]
    fn ide_disks_are_told_by_channel_and_master_or_slave() {
        let function = &format!("{ROOT}/0000:00:01.1");
        let disk = format!("{function}/ata2/host1/target1:0:1/1:0:1:0/block/sda");
        let other = format!("{function}/ata1");
        check(&[(function, "ata_piix")], &[&other], &disk, json!(["ide", 1, 0, 1, [0, 0, 1, 1]]));
        // Older kernels have no ataN.
        let disk = format!("{function}/host1/target1:0:0/1:0:0:0/block/sda");
        let other = format!("{function}/host0");
        check(&[(function, "ata_piix")], &[&other], &disk, json!(["ide", 1, 0, 0, [0, 0, 1, 1]]));
    }

    #[test]
    fn other_controllers() {
        let function = &format!("{ROOT}/0000:00:05.0");
        let scsi = format!("{function}/host2/target2:0:4/2:0:4:0/block/sdc");
        check(&[(function, "sym53c8xx")], &[], &scsi, json!(["scsi", 0, 0, 4, [0, 0, 5, 0]]));
        check(&[(function, "mptspi")], &[], &scsi, json!(["unknown", 0, 0, 0, [-1, -1, -1, -1]]));
        check(&[], &[], &scsi, json!(["unknown", 0, 0, 0, [-1, -1, -1, -1]]));
        let usb = format!("{function}/usb2/2-1/2-1:1.0/host7/target7:0:0/7:0:0:0/block/sdd");
        check(&[(function, "xhci_hcd")], &[], &usb, json!(["usb", 0, 0, 0, [0, 0, 5, 0]]));
    }

    #[test]
    fn a_pci_bus_may_hang_on_a_platform_device() {
        let function = "/sys/devices/platform/4010000000.pcie/pci0000:00/0000:00:01.0";
        let expected = json!(["virtio", 0, 0, 0, [0, 0, 1, 0]]);
        check(&[(function, "virtio-pci")], &[], &format!("{function}/virtio0/block/vda"), expected);
    }

    #[test]
    fn virtio_needs_no_pci() {
        let mapped = "/sys/devices/platform/a003e00.virtio_mmio/virtio0/block/vda";
        check(&[], &[], mapped, json!(["virtio", 0, 0, 0, [-1, -1, -1, -1]]));
        let scsi = "/sys/devices/platform/a003c00.virtio_mmio/virtio1/host0/target0:0:1/0:0:1:2/block/sda";
        check(&[], &[], scsi, json!(["scsi", 0, 1, 2, [-1, -1, -1, -1]]));
    }

    #[test]
    fn disks_of_a_channel_subsystem_have_its_address() {
        let system = MadeUp::new();
        let path = "/sys/devices/css0/0.0.0001/0.0.fe0a/virtio1/block/vda";
        let told = &addresses(system.block(path, "252:0"), path)[0];
        assert_eq!(told["ccw-address"], json!({"cssid": 0, "ssid": 0, "subchno": 1, "devno": 0xfe0a}));
        assert_eq!(told["bus-type"], "virtio");
    }

    #[test]
    fn the_serial_is_udevs() {
        let system = MadeUp::new();
        let path = &format!("{ROOT}/0000:00:03.0/virtio1/block/vda");
        system.block(path, "254:0").driver(&format!("{ROOT}/0000:00:03.0"), "virtio-pci");
        assert_eq!(
            addresses(system.udev("254:0", &["ID_SERIAL_SHORT=no", "ID_SERIAL=disk=1 a"]), path),
            json!([{
                "pci-controller": {"domain": 0, "bus": 0, "slot": 3, "function": 0}, "bus-type": "virtio",
                "bus": 0, "target": 0, "unit": 0, "serial": "disk=1 a", "dev": "/dev/vda",
            }])
        );
        assert_eq!(addresses(system.udev("254:0", &["ID_SERIAL="]), path)[0].get("serial"), None);
    }

    #[test]
    fn mapped_devices_lead_to_all_their_disks() {
        let system = MadeUp::new();
        let disks =
            ["vda/vda2", "vdb"].map(|name| format!("{ROOT}/0000:00:0{}.0/virtio0/block/{name}", name.len()));
        let [raid, top] = ["md0", "dm-0"].map(|name| format!("/sys/devices/virtual/block/{name}"));
        system.block(&top, "253:0").block(&raid, "9:0").block(&disks[0], "254:2").block(&disks[1], "254:16");
        system.made_of(&top, &raid).made_of(&raid, &disks[0]).made_of(&raid, &disks[1]);
        let told = addresses(&system, &top);
        let mut nodes: Vec<_> =
            told.as_array().unwrap().iter().map(|disk| disk["dev"].as_str().unwrap()).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, ["/dev/vda2", "/dev/vdb"]);
    }

    #[test]
    fn made_of_itself_is_no_endless_walk() {
        let system = MadeUp::new();
        let path = "/sys/devices/virtual/block/dm-0";
        assert_eq!(addresses(system.block(path, "253:0").made_of(path, path), path), json!([]));
    }

    #[test]
    fn loops_and_what_has_vanished_are_on_no_disk() {
        let system = MadeUp::new();
        let path = "/sys/devices/virtual/block/loop0";
        assert_eq!(addresses(system.block(path, "7:0"), path), json!([]));
        assert_eq!(addresses(&system, "/sys/devices/virtual/block/loop9"), json!([]));
        assert_eq!(addresses(&system, &format!("{ROOT}/0000:00:09.0/virtio5/block/vdz")), json!([]));
    }
}
