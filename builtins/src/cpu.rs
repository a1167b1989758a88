//! Processors: which are on, how busy they are, the load.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::command::{Builtin, Command, Empty};
use crate::context::{Context, Work};
use crate::error::{Error, Result};
use crate::sys::sysfs::Folder;

pub(crate) const COMMANDS: &[Builtin] = &[
    Builtin::of::<GuestGetVcpus>(),
    Builtin::of::<GuestSetVcpus>(),
    Builtin::of::<GuestGetCpustats>(),
    Builtin::of::<GuestGetLoad>(),
];

/// Where the kernel lists its processors.
const ROOT: &str = "/sys/devices/system/cpu";

/// Lists the guest's logical processors.
struct GuestGetVcpus;

/// One entry of [`GuestGetVcpus`].
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct LogicalProcessor {
    /// N of `cpuN`.
    logical_id: u64,
    online: bool,
    /// Whether the kernel lets it be switched.
    can_offline: bool,
}

impl Command for GuestGetVcpus {
    const NAME: &'static str = "guest-get-vcpus";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Vec<LogicalProcessor>;

    async fn run(cx: &Context, _: Empty) -> Result<Vec<LogicalProcessor>> {
        cx.blocking(Work::Inspect, || processors(Path::new(ROOT))).await?
    }
}

/// The processors below a folder, by number; one whose state cannot be told is left out.
///
/// Differs from qemu-ga, which lists them in the order of the folder.
fn processors(root: &Path) -> Result<Vec<LogicalProcessor>> {
    let failed = |error| Error::io(format_args!("failed to list entries: {}", root.display()), error);
    let folder = Folder::open(root).map_err(failed)?;
    let numbers = folder.numbered("cpu").map_err(failed)?;
    let processor = |logical_id| {
        let (online, can_offline) = match folder.attribute(&format!("cpu{logical_id}/online")) {
            Ok(state) => (flag(&state)?, true),
            // A processor that cannot be switched off has no such file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (true, false),
            Err(_) => return None,
        };
        Some(LogicalProcessor { logical_id, online, can_offline })
    };
    Ok(numbers.into_iter().filter_map(processor).collect())
}

fn flag(state: &str) -> Option<bool> {
    match state {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// Switches logical processors on and off.
struct GuestSetVcpus;

/// The arguments of [`GuestSetVcpus`].
#[derive(Debug, Deserialize)]
pub(crate) struct SetVcpus {
    vcpus: Vec<Wanted>,
}

/// What one processor is to be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wanted {
    /// N of `cpuN`.
    logical_id: i64,
    online: bool,
    /// What `guest-get-vcpus` told; nothing is made of it.
    #[serde(rename = "can-offline")]
    _can_offline: Option<bool>,
}

impl Command for GuestSetVcpus {
    const NAME: &'static str = "guest-set-vcpus";
    type Args = SetVcpus;
    /// How many are as they should be, from the first on; less than were given when one could not be switched.
    type Return = usize;

    async fn run(cx: &Context, args: SetVcpus) -> Result<usize> {
        cx.blocking(Work::Change, move || switch_all(Path::new(ROOT), &args.vcpus)).await?
    }
}

/// Switches one after another, to the first that fails: an error if that is the very first, else how many were done.
fn switch_all(root: &Path, wanted: &[Wanted]) -> Result<usize> {
    for (done, processor) in wanted.iter().enumerate() {
        match switch(root, processor) {
            Ok(()) => {}
            Err(error) if done == 0 => return Err(error),
            Err(error) => {
                tracing::warn!(%error, done, "guest-set-vcpus ended early");
                return Ok(done);
            }
        }
    }
    Ok(wanted.len())
}

/// Switches one processor, unless it is so already.
fn switch(root: &Path, &Wanted { logical_id, online, .. }: &Wanted) -> Result<()> {
    let path = format!("{}/cpu{logical_id}/", root.display());
    let folder = Folder::open(Path::new(&path))
        .map_err(|error| Error::io(format_args!("Could not open '{path}'"), error))?;
    match folder.attribute("online") {
        Ok(state) if flag(&state) == Some(online) => return Ok(()),
        Ok(_) => {}
        // It cannot be switched off, so it is on.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let refused = || Error::generic(format!("logical processor #{logical_id} can't be offlined"));
            return online.then_some(()).ok_or_else(refused);
        }
        Err(error) => return Err(Error::io(format_args!("could not open {path}/online"), error)),
    }
    let set = folder.set("online", if online { "1" } else { "0" });
    set.map_err(|error| Error::io(format_args!("pwrite(\"{path}/online\")"), error))?;
    tracing::info!(processor = logical_id, online, "switched");
    Ok(())
}

/// Tells how long each processor has done what since the guest's start.
struct GuestGetCpustats;

/// One entry of [`GuestGetCpustats`]: milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct CpuStats {
    r#type: &'static str,
    /// N of `cpuN`.
    cpu: u64,
    user: u64,
    nice: u64,
    system: u64,
    idle: u64,
    /// From here on what a kernel need not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    iowait: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    irq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    softirq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steal: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guestnice: Option<u64>,
}

impl Command for GuestGetCpustats {
    const NAME: &'static str = "guest-get-cpustats";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Vec<CpuStats>;

    async fn run(cx: &Context, _: Empty) -> Result<Vec<CpuStats>> {
        cx.blocking(Work::Inspect, || {
            let file = "/proc/stat";
            let text =
                fs::read(file).map_err(|error| Error::io(format_args!("Could not open '{file}'"), error))?;
            Ok(stats(&String::from_utf8_lossy(&text), ticks_per_second()))
        })
        .await?
    }
}

/// The unit of `/proc/stat`.
fn ticks_per_second() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    ticks.and_then(|ticks| u64::try_from(ticks).ok()).filter(|&ticks| ticks > 0).unwrap_or(100)
}

/// The rows of single processors; those that are off have none.
fn stats(text: &str, ticks_per_second: u64) -> Vec<CpuStats> {
    text.lines().filter_map(|line| row(line, ticks_per_second)).collect()
}

/// One row, `cpuN` and up to ten numbers of ticks; a row that says less than four is none.
fn row(line: &str, ticks_per_second: u64) -> Option<CpuStats> {
    let mut columns = line.strip_prefix("cpu")?.split_ascii_whitespace();
    let cpu = columns.next().filter(|_| !line.starts_with("cpu "))?.parse().ok()?;
    let milliseconds =
        |ticks: u64| u64::try_from(u128::from(ticks) * 1000 / u128::from(ticks_per_second)).ok();
    let mut next = || columns.next()?.parse().ok().and_then(milliseconds);
    Some(CpuStats {
        r#type: "linux",
        cpu,
        user: next()?,
        nice: next()?,
        system: next()?,
        idle: next()?,
        iowait: next(),
        irq: next(),
        softirq: next(),
        steal: next(),
        guest: next(),
        guestnice: next(),
    })
}

/// Tells how many tasks ran or waited to run, on average over 1, 5 and 15 minutes.
struct GuestGetLoad;

/// The result of [`GuestGetLoad`].
#[derive(Debug, PartialEq, Serialize)]
struct Load {
    load1m: f64,
    load5m: f64,
    load15m: f64,
}

impl Command for GuestGetLoad {
    const NAME: &'static str = "guest-get-load";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Load;

    async fn run(_: &Context, _: Empty) -> Result<Load> {
        // The C library's getloadavg asks here too: no file, and all of the kernel's digits.
        let [load1m, load5m, load15m] = rustix::system::sysinfo().loads.map(|load| load as f64 / 65_536.0);
        Ok(Load { load1m, load5m, load15m })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_listed_by_number_with_what_can_be_done() {
        let root = tempfile::tempdir().unwrap();
        for (name, online) in
            [("cpu10", "1\n"), ("cpu2", "0\n"), ("cpu0", ""), ("cpu3", "x\n"), ("cpufreq", "1\n")]
        {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            if !online.is_empty() {
                fs::write(folder.join("online"), online).unwrap();
            }
        }
        let processor =
            |logical_id, online, can_offline| LogicalProcessor { logical_id, online, can_offline };
        let expected = [processor(0, true, false), processor(2, false, true), processor(10, true, true)];
        assert_eq!(processors(root.path()).unwrap(), expected);
        let error = processors(Path::new("/nonexistent/cpu")).unwrap_err();
        assert_eq!(error.desc, "failed to list entries: /nonexistent/cpu: No such file or directory");
    }

    #[test]
    fn processors_are_switched_until_one_fails() {
        let root = tempfile::tempdir().unwrap();
        for (name, online) in [("cpu0", None), ("cpu1", Some("1\n")), ("cpu2", Some("0\n"))] {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            if let Some(online) = online {
                fs::write(folder.join("online"), online).unwrap();
            }
        }
        fs::create_dir_all(root.path().join("cpu3/online")).unwrap();
        let switch = |wanted: &[(i64, bool)]| {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|&(logical_id, online)| Wanted { logical_id, online, _can_offline: None })
                .collect();
            switch_all(root.path(), &wanted)
                .map_err(|error| error.desc.replace(&root.path().display().to_string(), "ROOT"))
        };
        let state = |name: &str| fs::read_to_string(root.path().join(name).join("online")).unwrap();
        assert_eq!(switch(&[]), Ok(0));
        // Nothing is written where nothing changes: the line feed stays.
        assert_eq!(switch(&[(0, true), (1, true), (2, false)]), Ok(3));
        assert_eq!((state("cpu1").as_str(), state("cpu2").as_str()), ("1\n", "0\n"));
        assert_eq!(switch(&[(1, false), (2, true), (1, false)]), Ok(3));
        assert_eq!((&state("cpu1")[..1], &state("cpu2")[..1]), ("0", "1"));
        assert_eq!(switch(&[(1, true), (9, true), (2, false)]), Ok(1));
        assert_eq!((&state("cpu1")[..1], &state("cpu2")[..1]), ("1", "1"), "none after the one that fails");
        for (id, expected) in [
            (0, "logical processor #0 can't be offlined"),
            (9, "Could not open 'ROOT/cpu9/': No such file or directory"),
            (-1, "Could not open 'ROOT/cpu-1/': No such file or directory"),
            (i64::MIN, "Could not open 'ROOT/cpu-9223372036854775808/': No such file or directory"),
            (3, "could not open ROOT/cpu3//online: Is a directory"),
        ] {
            assert_eq!(switch(&[(id, false), (1, false)]), Err(expected.to_owned()));
        }
        assert_eq!(state("cpu1").get(..1), Some("1"));
    }

    #[test]
    fn ticks_become_milliseconds() {
        let full = CpuStats {
            r#type: "linux",
            cpu: 1,
            user: 95_430,
            nice: 0,
            system: 24_910,
            idle: 1_118_680,
            iowait: Some(1220),
            irq: Some(0),
            softirq: Some(80),
            steal: Some(180),
            guest: Some(0),
            guestnice: Some(0),
        };
        let short = CpuStats {
            cpu: 12,
            user: 10,
            nice: 20,
            system: 30,
            idle: 40,
            iowait: None,
            irq: None,
            softirq: None,
            steal: None,
            guest: None,
            guestnice: None,
            ..full.clone()
        };
        for (text, expected) in [
            (
                "cpu  1 2 3 4 5 6 7 8 9 10\ncpu1 9543 0 2491 111868 122 0 8 18 0 0\nintr 1 2\nctxt 5\n",
                vec![full],
            ),
            ("cpu12 1 2 3 4\n", vec![short]),
            (
                "cpu1 1 2 3\ncpux 1 2 3 4\ncpu1 1 2 -3 4\ncpu\ncpu3 99999999999999999999 1 1 1\nprocs 1",
                vec![],
            ),
            ("cpu0 18446744073709551615 1 1 1\n", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(stats(text, 100), expected, "{text}");
        }
    }
}
