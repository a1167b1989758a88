//! `guest-get-diskstats`: the kernel's counters of every block device.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::command::{Command, Empty};
use crate::context::{Context, Work};
use crate::error::{Error, Result};

/// Tells what each block device has read, written, discarded and flushed since the guest started.
pub(super) struct GuestGetDiskstats;

impl Command for GuestGetDiskstats {
    const NAME: &'static str = "guest-get-diskstats";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Vec<DiskStatsInfo>;

    async fn run(cx: &Context, _: Empty) -> Result<Vec<DiskStatsInfo>> {
        cx.blocking(Work::Inspect, || read(Path::new("/"))).await?
    }
}

/// The schema's `GuestDiskStatsInfo`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DiskStatsInfo {
    name: String,
    major: u32,
    minor: u32,
    stats: DiskStats,
}

/// The schema's `GuestDiskStats`: numbers of requests, sectors of 512 bytes, ticks of a millisecond.
///
/// Those that the kernel does not count are not there.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DiskStats {
    #[serde(skip_serializing_if = "Option::is_none")]
    read_sectors: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_ios: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_merges: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_sectors: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_ios: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_merges: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discard_sectors: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discard_ios: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discard_merges: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flush_ios: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_ticks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_ticks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discard_ticks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flush_ticks: Option<u64>,
    /// Requests under way now.
    #[serde(skip_serializing_if = "Option::is_none")]
    ios_pgr: Option<u64>,
    /// Time with at least one request under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_ticks: Option<u64>,
    /// The same, times the number of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_ticks: Option<u64>,
}

fn read(root: &Path) -> Result<Vec<DiskStatsInfo>> {
    let table = fs::read(root.join("proc/diskstats"));
    let table = table.map_err(|error| Error::io("open(\"/proc/diskstats\")", error))?;
    Ok(String::from_utf8_lossy(&table).lines().filter_map(parse).collect())
}

/// Reads a line: major, minor, name, then 4 counters (partitions before Linux 2.6.25), or 11, 15 (from 4.18) or 17 (from 5.5).
fn parse(line: &str) -> Option<DiskStatsInfo> {
    let mut fields = line.split_ascii_whitespace();
    let (major, minor) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let name = fields.next()?.to_owned();
    let counters: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    let all = |count: usize, place: usize| (counters.len() >= count).then(|| counters[place]);
    let stats = if let [read_ios, read_sectors, write_ios, write_sectors] = counters[..] {
        DiskStats {
            read_ios: Some(read_ios),
            read_sectors: Some(read_sectors),
            write_ios: Some(write_ios),
            write_sectors: Some(write_sectors),
            ..DiskStats::default()
        }
    } else {
        counters.get(3)?;
        DiskStats {
            read_ios: all(11, 0),
            read_merges: all(11, 1),
            read_sectors: all(11, 2),
            read_ticks: all(11, 3),
            write_ios: all(11, 4),
            write_merges: all(11, 5),
            write_sectors: all(11, 6),
            write_ticks: all(11, 7),
            ios_pgr: all(11, 8),
            total_ticks: all(11, 9),
            weight_ticks: all(11, 10),
            discard_ios: all(15, 11),
            discard_merges: all(15, 12),
            discard_sectors: all(15, 13),
            discard_ticks: all(15, 14),
            flush_ios: all(17, 15),
            flush_ticks: all(17, 16),
        }
    };
    Some(DiskStatsInfo { name, major, minor, stats })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(line: &str) -> Option<String> {
        parse(line).map(|info| serde_json::to_string(&info).unwrap())
    }

    #[test]
    fn counters_are_told_as_far_as_the_kernel_has_them() {
        let line = " 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17";
        assert_eq!(
            spelt(line).unwrap(),
            r#"{"name":"vda","major":254,"minor":0,"stats":{"read-sectors":3,"read-ios":1,"read-merges":2,"#
                .to_owned()
                + r#""write-sectors":7,"write-ios":5,"write-merges":6,"discard-sectors":14,"discard-ios":12,"#
                + r#""discard-merges":13,"flush-ios":16,"read-ticks":4,"write-ticks":8,"discard-ticks":15,"#
                + r#""flush-ticks":17,"ios-pgr":9,"total-ticks":10,"weight-ticks":11}}"#
        );
        let stats = |line| parse(line).unwrap().stats;
        let old = stats("8 0 sda 1 2 3 4 5 6 7 8 9 10 11");
        assert_eq!((old.weight_ticks, old.discard_ios, old.flush_ios), (Some(11), None, None));
        let newer = stats("8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15");
        assert_eq!((newer.discard_ticks, newer.flush_ios), (Some(15), None));
    }

    #[test]
    fn old_partitions_have_four_counters() {
        let expected = r#"{"name":"sda1","major":8,"minor":1,"stats":{"read-sectors":20,"read-ios":10,"write-sectors":40,"write-ios":30}}"#;
        assert_eq!(spelt("8 1 sda1 10 20 30 40").as_deref(), Some(expected));
    }

    #[test]
    fn short_lines_are_passed_over() {
        for line in ["", "8 0", "8 0 sda", "8 0 sda 1 2 3", "x 0 sda 1 2 3 4", "8 0 sda 1 2 x 4"] {
            assert_eq!(spelt(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_guest_without_proc_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(
            read(root.path()).unwrap_err().desc,
            "open(\"/proc/diskstats\"): No such file or directory"
        );
    }
}
