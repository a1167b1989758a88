//! Rows of time: from spawn to first reply, and the round trips of commands without arguments.
//!
//! Round trips are made with client and agent on one processor. Left to the scheduler, the same agent's ping takes
//! 26 or 90 µs by where the two happen to be, for seconds on end; on one processor they repeat to the percent.

use std::time::Instant;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::table::{Line, Unit};
use super::wire::Wire;
use super::{Setting, Setup, limit, median};

/// Trips of one round: long enough to leave the start-up of a round behind, short against the machine's moods.
pub(super) const TRIPS: usize = 200;

/// Trips before the first round: caches fill, and what an agent makes on first use is made.
pub(super) const WARM_UP: usize = 100;

pub(super) fn start(setup: &Setup, name: &str, setting: Setting) -> Result<Vec<Line>> {
    let (mut reference, mut waga) = (Vec::new(), Vec::new());
    for _ in 0..setup.options.starts {
        reference.push(setup.reference.start_timed()?.1.as_secs_f64());
        waga.push(setup.waga(setting).start_timed()?.1.as_secs_f64());
    }
    let line = Line::new(name, Unit::Millis, median(&mut reference), median(&mut waga));
    Ok(vec![line.target(setting.target(1.0))])
}

pub(super) fn trip(
    setup: &Setup,
    name: &str,
    command: &str,
    setting: Setting,
    most: f64,
) -> Result<Vec<Line>> {
    let request = format!("{{\"execute\": \"{command}\"}}\n").into_bytes();
    let _pinned = Pinned::new()?;
    let mut reference = setup.reference.start()?;
    let mut waga = setup.waga(setting).start()?;
    reference.wire.value(&request).with_context(|| reference.name)?;
    waga.wire.value(&request).with_context(|| waga.name)?;
    let mut limit = limit::serve(waga.wire.round_trip(&request)?)?;

    let mut samples = [const { Vec::new() }; 3];
    let mut wires = [&mut reference.wire, &mut waga.wire, &mut limit];
    for wire in &mut wires {
        time(wire, &request, WARM_UP, &mut Vec::new())?;
    }
    for _ in 0..setup.options.rounds {
        for (wire, samples) in wires.iter_mut().zip(&mut samples) {
            time(wire, &request, TRIPS, samples)?;
        }
    }
    let [reference, waga, limit] = samples.each_mut().map(|samples| median(samples));
    let line = Line::new(name, Unit::Micros, reference, waga).limit(limit);
    Ok(vec![line.target(setting.target(most))])
}

pub(super) fn time(wire: &mut Wire, request: &[u8], trips: usize, samples: &mut Vec<f64>) -> Result<()> {
    for _ in 0..trips {
        let begun = Instant::now();
        wire.round_trip(request)?;
        samples.push(begun.elapsed().as_secs_f64());
    }
    Ok(())
}

/// This thread, and whatever it starts meanwhile, on one processor until dropped.
pub(super) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    pub(super) fn new() -> Result<Self> {
        let this = Pid::from_raw(0);
        let before = sched_getaffinity(this).context("read the processors allowed")?;
        // The last one: the first is where most interrupts go.
        let last = (0..CpuSet::count()).rev().find(|&cpu| before.is_set(cpu) == Ok(true));
        let mut only = CpuSet::new();
        only.set(last.context("no processor allowed")?)?;
        sched_setaffinity(this, &only).context("stay on one processor")?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
    }
}
