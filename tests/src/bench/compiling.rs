//! Rows of the compiler that the daemon starts as a child: how long it takes for a component, and how much memory.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::components::Set;
use super::table::{Added, Unit};
use super::{Setup, median};

/// How often a compiler is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// How often each is compiled.
const TIMES: usize = 3;

/// A component beside another.
pub(super) fn measure(setup: &Setup, name: &str, set: Set, other: Set) -> Result<Vec<Added>> {
    let mut samples = [const { Vec::new() }; 4];
    for _ in 0..TIMES {
        let (time, memory) = compile(setup, Set { runtime: set.runtime, ..other })?;
        let (with_time, with_memory) = compile(setup, set)?;
        for (samples, figure) in samples.iter_mut().zip([time, with_time, memory, with_memory]) {
            samples.push(figure);
        }
    }
    let [time, with_time, memory, with_memory] = samples.each_mut().map(|samples| median(samples));
    Ok(vec![
        Added::new(&format!("{name}, beside examples/checksum"), Unit::Millis, time, with_time),
        Added::new(&format!("{name}: memory of the compiler"), Unit::Megabytes, memory, with_memory),
    ])
}

/// Seconds, and the most bytes that were resident.
fn compile(setup: &Setup, set: Set) -> Result<(f64, f64)> {
    let module = setup.components()?.module(set.kind);
    let waga_ext = &setup.options.waga_ext;
    let begun = Instant::now();
    let mut child = Command::new(waga_ext)
        .args(["compile", "--runtime", set.runtime])
        .stdin(File::open(&module).with_context(|| module.display().to_string())?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", waga_ext.display()))?;
    let mut peak = 0.0_f64;
    let status = loop {
        peak = peak.max(resident(child.id()));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(LOOK);
    };
    ensure!(status.success(), "{} does not compile {}: {status}", waga_ext.display(), module.display());
    Ok((begun.elapsed().as_secs_f64(), peak))
}

/// The most bytes that were resident of a process or, if it has one, of its child, which does the work. Either is gone with its end, a moment
/// before that is told.
fn resident(process: u32) -> f64 {
    let read = |place: String| fs::read_to_string(place).unwrap_or_default();
    let children = read(format!("/proc/{process}/task/{process}/children"));
    let peak = |process: &str| {
        let text = read(format!("/proc/{process}/status"));
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kilobytes.unwrap_or_default() * 1024.0
    };
    children.split_whitespace().map(peak).fold(peak(&process.to_string()), f64::max)
}
