//! Rows of memory: idle, at the peak of one huge reply, and after so many requests that a leak would show.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::agent::{Agent, Candidate, PING};
use super::table::{Line, Target, Unit};
use super::wire::{Wire, request};
use super::{MIB, Setting, Setup, files, median};

/// What an agent is left alone for before it counts as idle: waga gives back the code that started it after a second.
pub(super) const SETTLED: Duration = Duration::from_millis(1500);

pub(super) fn idle(setup: &Setup, name: &str, setting: Setting) -> Result<Vec<Line>> {
    let mut samples = [const { Vec::new() }; 4];
    // It hardly varies.
    for _ in 0..setup.options.rounds.min(5) {
        // Both have answered one ping when they count as started.
        let (mut reference, mut waga) = (setup.reference.start()?, setup.waga(setting).start()?);
        std::thread::sleep(SETTLED);
        // What a host's heartbeat needs is resident, too.
        reference.wire.round_trip(PING)?;
        waga.wire.round_trip(PING)?;
        let sizes = [reference.resident()?, waga.resident()?, reference.anonymous()?, waga.anonymous()?];
        for (samples, size) in samples.iter_mut().zip(sizes) {
            samples.push(size);
        }
    }
    let [rss, waga_rss, anonymous, waga_anonymous] = samples.each_mut().map(|samples| median(samples));
    Ok(vec![
        Line::new(&format!("{name} (RSS)"), Unit::Megabytes, rss, waga_rss).target(setting.target(0.8)),
        Line::new(&format!("{name}, its own part (anonymous)"), Unit::Megabytes, anonymous, waga_anonymous),
    ])
}

pub(super) fn peak(setup: &Setup, name: &str) -> Result<Vec<Line>> {
    let (mut reference, mut waga) = (Vec::new(), Vec::new());
    // The peak of a process is seen once, so each round has fresh ones; it hardly varies.
    for _ in 0..3 {
        reference.push(rise(setup, &setup.reference)?);
        waga.push(rise(setup, &setup.waga)?);
    }
    let line = Line::new(name, Unit::Growth, median(&mut reference), median(&mut waga));
    Ok(vec![line.target(Target::AtMost(8e6))])
}

/// How far memory rises above what it was, over one read of 48 MiB.
fn rise(setup: &Setup, candidate: &Candidate) -> Result<f64> {
    let mut agent = candidate.start()?;
    let handle = files::open(&mut agent.wire, &setup.source, "r")?;
    let read = |count| request("guest-file-read", &json!({"handle": handle, "count": count}));
    agent.wire.round_trip(&read(4096))?;
    agent
        .wire
        .round_trip(&request("guest-file-seek", &json!({"handle": handle, "offset": 0, "whence": "set"})))?;

    let before = agent.resident()?;
    agent.forget_peak()?;
    let length = agent.wire.round_trip(&read(48 * MIB))?;
    ensure!(length > 64 * MIB, "{} read only {length} bytes at once", agent.name);
    Ok(agent.peak()? - before)
}

/// What one agent was like after its requests.
pub(super) struct Grown {
    pub(super) requests: usize,
    pub(super) since_start: f64,
    pub(super) since_warm_up: f64,
    pub(super) descriptors: f64,
    pub(super) children: f64,
}

pub(super) fn growth(setup: &Setup, name: &str) -> Result<Vec<Line>> {
    let wanted = setup.options.requests;
    let waga = grow(setup, &setup.waga, wanted, Vec::new())?;
    // qemu-ga takes minutes for as many, the more so where opening a file makes it wait for a disk.
    let fewer = (wanted / 10).max(20_000).min(wanted);
    let reference = grow(setup, &setup.reference, fewer, Vec::new())?;
    let name = format!("{name}, {} requests (qemu-ga {})", waga.requests, reference.requests);
    let line = |what: &str, unit, of: fn(&Grown) -> f64| {
        Line::new(&format!("{name}{what}"), unit, of(&reference), of(&waga))
    };
    Ok(vec![
        line(": RSS, once warm", Unit::Growth, |grown| grown.since_warm_up).target(Target::AtMost(0.4e6)),
        line(": RSS, from the start", Unit::Growth, |grown| grown.since_start),
        line(": descriptors", Unit::Count, |grown| grown.descriptors).target(Target::AtMost(0.0)),
        line(": children left", Unit::Count, |grown| grown.children).target(Target::AtMost(0.0)),
    ])
}

/// Sends one agent so many requests; `calls` are those to extensions that are among them.
pub(super) fn grow(
    setup: &Setup,
    candidate: &Candidate,
    requests: usize,
    calls: Vec<Vec<u8>>,
) -> Result<Grown> {
    let mut agent = candidate.start()?;
    std::thread::sleep(SETTLED);
    let start = agent.resident()?;
    let descriptors = agent.descriptors()?;
    let mut mixture = Mixture { sent: 0, step: 0, open: open_source(setup), calls };
    // A hundredth of them warms up: what an agent makes once and keeps is not growth.
    mixture.send(&mut agent, requests / 100)?;
    let warm = agent.resident()?;
    mixture.send(&mut agent, requests)?;
    let end = agent.resident()?;
    Ok(Grown {
        requests: mixture.sent,
        since_start: end - start,
        since_warm_up: end - warm,
        descriptors: agent.descriptors()? as f64 - descriptors as f64,
        children: agent.children()? as f64,
    })
}

fn open_source(setup: &Setup) -> Vec<u8> {
    request("guest-file-open", &json!({"path": setup.source}))
}

/// Requests as a management tool sends them for years: mostly signs of life, some information, now and then a file
/// or a program.
struct Mixture {
    sent: usize,
    step: usize,
    open: Vec<u8>,
    calls: Vec<Vec<u8>>,
}

impl Mixture {
    /// Goes on until so many were sent in all.
    fn send(&mut self, agent: &mut Agent, until: usize) -> Result<()> {
        while self.sent < until {
            self.sent += self.next(&mut agent.wire)?;
            self.step += 1;
        }
        Ok(())
    }

    /// Sends what is next, and returns how many requests that was.
    fn next(&self, wire: &mut Wire) -> Result<usize> {
        let id = json!({"id": self.step});
        match self.step % 1000 {
            500 => return run_program(wire),
            step if step % 100 == 50 => return read_file(wire, &self.open),
            step if step % 100 == 51 => wire.round_trip(&request("guest-get-osinfo", &json!({})))?,
            step if step % 100 == 52 => {
                wire.round_trip(&request("guest-network-get-interfaces", &json!({})))?
            }
            step if step % 10 == 1 => wire.round_trip(&request("guest-info", &json!({})))?,
            step if step % 10 == 2 => wire.round_trip(&request("guest-sync", &id))?,
            step if step % 10 == 3 => wire.round_trip(&request("guest-sync-delimited", &id))?,
            step if step % 10 == 4 && !self.calls.is_empty() => {
                wire.round_trip(&self.calls[self.step % self.calls.len()])?
            }
            _ => wire.round_trip(PING)?,
        };
        Ok(1)
    }
}

fn read_file(wire: &mut Wire, open: &[u8]) -> Result<usize> {
    let handle = json!({"handle": wire.number(open)?});
    wire.round_trip(&request("guest-file-read", &handle))?;
    wire.round_trip(&request("guest-file-close", &handle))?;
    Ok(3)
}

fn run_program(wire: &mut Wire) -> Result<usize> {
    let started = wire.value(&request("guest-exec", &json!({"path": "true", "capture-output": true})))?;
    let status = request("guest-exec-status", &started);
    for polls in 1.. {
        if wire.value(&status)?["exited"] == Value::Bool(true) {
            return Ok(1 + polls);
        }
    }
    unreachable!("the polls do not run out");
}
