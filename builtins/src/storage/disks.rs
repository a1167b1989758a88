//! `guest-get-disks`: every disk and partition of the guest, mounted or not.

use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::address::{BusType, DiskAddress};
use super::block::{Block, Tree};
use super::mounts::Device;
use super::probes::{self, Probes, Questions, Survey};
use crate::command::{Command, Empty};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::sys::nvme;

/// Lists the disks and their partitions, each partition before its disk.
///
/// The order is as qemu-ga has it: that of `/sys/block`, backwards. Differs from qemu-ga: an NVMe disk that does not answer is listed
/// without its `smart`, where qemu-ga waits for it.
pub(super) struct GuestGetDisks;

impl Command for GuestGetDisks {
    const NAME: &'static str = "guest-get-disks";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Vec<DiskInfo>;

    async fn run(cx: &Context, _: Empty) -> Result<Vec<DiskInfo>> {
        let (disks, told) = probes::conduct(cx, Disks(Tree::new(Path::new("/")))).await?;
        Ok(disks.into_iter().zip(told).map(|(disk, smart)| DiskInfo { smart, ..disk.info }).collect())
    }
}

/// The schema's `GuestDiskInfo`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DiskInfo {
    /// The node, `/dev/vda`.
    name: String,
    partition: bool,
    /// The nodes of what it is made of; of a partition, its disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    dependencies: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<DiskAddress>,
    /// What the device mapper calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    smart: Option<Smart>,
}

/// How well a disk is: the schema's `GuestDiskSmart`, whose only branch is NVMe's.
///
/// Counters of 128 bits come as two halves; the temperature is in kelvins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Smart {
    #[serde(rename = "type")]
    bus_type: BusType,
    critical_warning: u8,
    temperature: u16,
    available_spare: u8,
    available_spare_threshold: u8,
    percentage_used: u8,
    data_units_read_lo: u64,
    data_units_read_hi: u64,
    data_units_written_lo: u64,
    data_units_written_hi: u64,
    host_read_commands_lo: u64,
    host_read_commands_hi: u64,
    host_write_commands_lo: u64,
    host_write_commands_hi: u64,
    controller_busy_time_lo: u64,
    controller_busy_time_hi: u64,
    power_cycles_lo: u64,
    power_cycles_hi: u64,
    power_on_hours_lo: u64,
    power_on_hours_hi: u64,
    unsafe_shutdowns_lo: u64,
    unsafe_shutdowns_hi: u64,
    media_errors_lo: u64,
    media_errors_hi: u64,
    number_of_error_log_entries_lo: u64,
    number_of_error_log_entries_hi: u64,
}

impl Smart {
    /// Asks the disk behind this node; may take as long as the driver's own bound, 60 s and more.
    fn of(node: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let disk = rustix::fs::open(node, flags, Mode::empty()).ok()?;
        Some(Self::parse(&nvme::smart_log(&disk).ok()?))
    }

    /// Reads the log page "SMART / Health Information" of the NVMe specification; all of it little-endian.
    fn parse(page: &[u8; nvme::SMART_LOG]) -> Self {
        // The ten counters stand in a row, 16 bytes each.
        let half = |place: usize| {
            let (halves, _) = page[32..].as_chunks::<8>();
            u64::from_le_bytes(halves[place])
        };
        Self {
            bus_type: BusType::Nvme,
            critical_warning: page[0],
            temperature: u16::from_le_bytes([page[1], page[2]]),
            available_spare: page[3],
            available_spare_threshold: page[4],
            percentage_used: page[5],
            data_units_read_lo: half(0),
            data_units_read_hi: half(1),
            data_units_written_lo: half(2),
            data_units_written_hi: half(3),
            host_read_commands_lo: half(4),
            host_read_commands_hi: half(5),
            host_write_commands_lo: half(6),
            host_write_commands_hi: half(7),
            controller_busy_time_lo: half(8),
            controller_busy_time_hi: half(9),
            power_cycles_lo: half(10),
            power_cycles_hi: half(11),
            power_on_hours_lo: half(12),
            power_on_hours_hi: half(13),
            unsafe_shutdowns_lo: half(14),
            unsafe_shutdowns_hi: half(15),
            media_errors_lo: half(16),
            media_errors_hi: half(17),
            number_of_error_log_entries_lo: half(18),
            number_of_error_log_entries_hi: half(19),
        }
    }
}

/// The disks below a root.
struct Disks(Tree);

/// One disk or partition.
#[derive(Debug, Clone)]
struct Disk {
    /// What can be told without asking it.
    info: DiskInfo,
    /// Its number, if it is one that can be asked.
    asked: Option<Device>,
}

impl Disks {
    /// Adds a disk and its partitions; one without a size (an empty drive, an unused loop) or a node is passed over.
    fn add(&self, name: &str, disks: &mut Vec<Disk>) -> Option<()> {
        let tree = &self.0;
        let path = tree.link(&format!("/sys/block/{name}"))?;
        let size = tree.attribute(&format!("{path}/size"))?;
        if size.trim_end() == "0" {
            return None;
        }
        let block = Block::at(tree, path);
        let node = block.node.clone()?;
        let properties = block.properties(tree);
        let below = tree
            .links(&format!("{}/slaves", block.path))
            .map(|below| below.into_iter().rev().filter_map(|below| Block::at(tree, below).node).collect());
        let address = if block.is_virtual() {
            None
        } else {
            DiskAddress::of(tree, &block, properties.get("ID_SERIAL"))
        };
        let is_nvme = address.as_ref().is_some_and(|address| address.bus_type() == BusType::Nvme);
        let info = DiskInfo {
            name: node.clone(),
            partition: false,
            dependencies: below,
            address,
            alias: properties.get("DM_NAME"),
            smart: None,
        };
        disks.push(Disk { info, asked: block.device.filter(|_| is_nvme) });

        for (entry, kind) in tree.entries(&block.path).unwrap_or_default() {
            if kind.is_dir() && entry.starts_with(name) {
                let part = Block::at(tree, format!("{}/{entry}", block.path));
                disks.extend(part.node.filter(|_| part.is_partition).map(|name| Disk {
                    info: DiskInfo {
                        name,
                        partition: true,
                        dependencies: Some(vec![node.clone()]),
                        address: None,
                        alias: None,
                        smart: None,
                    },
                    asked: None,
                }));
            }
        }
        Some(())
    }
}

impl Survey for Disks {
    type Item = Disk;
    type Answer = Smart;

    fn questions(probes: &Probes) -> &Questions<Smart> {
        &probes.smart
    }

    fn items(&self) -> Result<Vec<Disk>> {
        let names = self.0.entries("/sys/block");
        let names = names.map_err(|error| Error::io("Can't open directory \"/sys/block\"", error))?;
        let mut disks = Vec::with_capacity(names.len());
        for (name, _) in names.iter().filter(|(_, kind)| kind.is_symlink()) {
            // One that vanishes meanwhile is not there.
            let _: Option<()> = self.add(name, &mut disks);
        }
        disks.reverse();
        Ok(disks)
    }

    fn device(disk: &Disk) -> Option<Device> {
        disk.asked
    }

    fn ask(&self, disk: &Disk) -> Option<Smart> {
        Smart::of(&self.0.place(&disk.info.name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::made_up::MadeUp;
    use super::*;

    /// What is told of the disk with this node.
    fn told(system: &MadeUp, node: &str) -> Value {
        let items = Disks(system.tree()).items().unwrap();
        let item = items.into_iter().find(|item| item.info.name == node);
        serde_json::to_value(item.map(|item| item.info)).unwrap()
    }

    #[test]
    fn a_disk_stands_behind_its_partitions() {
        let system = MadeUp::new();
        let path = "/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda";
        system.driver("/sys/devices/pci0000:00/0000:00:03.0", "virtio-pci").block(path, "254:0");
        system.block(&format!("{path}/vda1"), "254:1").folder(&format!("{path}/queue"));
        let items = Disks(system.tree()).items().unwrap();
        let names: Vec<_> = items.iter().map(|item| item.info.name.as_str()).collect();
        assert_eq!(names, ["/dev/vda1", "/dev/vda"]);
        assert_eq!(
            told(&system, "/dev/vda1"),
            json!({"name": "/dev/vda1", "partition": true, "dependencies": ["/dev/vda"]})
        );
        let disk = told(&system, "/dev/vda");
        assert_eq!(disk["address"]["pci-controller"]["slot"], 3);
        assert_eq!((&disk["partition"], &disk["dependencies"]), (&json!(false), &json!([])));
        assert!(items.iter().all(|item| item.asked.is_none()));
    }

    #[test]
    fn mapped_devices_have_a_name_and_no_address() {
        let system = MadeUp::new();
        let (mapped, disk) = ("/sys/devices/virtual/block/dm-0", "/sys/devices/platform/x/block/sda");
        system.block(mapped, "253:0").block(disk, "8:0").made_of(mapped, disk);
        system.udev("253:0", &["DM_NAME=vg-root"]);
        assert_eq!(
            told(&system, "/dev/dm-0"),
            json!({"name": "/dev/dm-0", "partition": false, "dependencies": ["/dev/sda"], "alias": "vg-root"})
        );
    }

    #[test]
    fn what_is_empty_vanished_or_without_a_node_is_not_listed() {
        let system = MadeUp::new();
        let loops = ["loop0", "loop1", "loop2"].map(|name| format!("/sys/devices/virtual/block/{name}"));
        system.block(&loops[0], "7:0").block(&loops[1], "7:1").block(&loops[2], "7:2");
        system
            .file(&format!("{}/size", loops[0]), "0\n")
            .file(&format!("{}/uevent", loops[1]), "DEVTYPE=disk\n");
        system.link("/sys/block/sdz", "/sys/devices/gone/block/sdz");
        let items = Disks(system.tree()).items().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].info.name, "/dev/loop2");
    }

    #[test]
    fn nvme_disks_are_asked() {
        let system = MadeUp::new();
        let function = "/sys/devices/pci0000:00/0000:00:04.0";
        system.driver(function, "nvme").block(&format!("{function}/nvme/nvme0/nvme0n1"), "259:0");
        let items = Disks(system.tree()).items().unwrap();
        assert_eq!(items[0].asked, Some(Device { major: 259, minor: 0 }));
    }

    #[test]
    fn the_health_log_is_read_as_the_specification_has_it() {
        let mut page = [0; nvme::SMART_LOG];
        page[..6].copy_from_slice(&[1, 0x43, 0x01, 99, 10, 3]);
        for (counter, bytes) in page[32..192].chunks_mut(16).enumerate() {
            (bytes[0], bytes[8]) = (u8::try_from(counter).unwrap(), 0x80);
        }
        let smart = serde_json::to_value(Smart::parse(&page)).unwrap();
        assert_eq!(smart.as_object().unwrap().len(), 26);
        assert_eq!((&smart["type"], &smart["temperature"]), (&json!("nvme"), &json!(323)));
        assert_eq!((&smart["available-spare"], &smart["percentage-used"]), (&json!(99), &json!(3)));
        assert_eq!((&smart["host-write-commands-lo"], &smart["media-errors-hi"]), (&json!(3), &json!(0x80)));
        assert_eq!(smart["number-of-error-log-entries-lo"], 9);
    }

    #[test]
    fn a_guest_without_sysfs_is_an_error() {
        let error = Disks(MadeUp::new().tree()).items().unwrap_err();
        assert_eq!(error.desc, "Can't open directory \"/sys/block\": No such file or directory");
    }
}
