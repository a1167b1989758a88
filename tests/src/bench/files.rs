//! Rows of throughput: a file read and written through the agent, in megabytes of file data a second.
//!
//! A file is opened once a row (opening makes qemu-ga sync its state) and gone through again every round. What the
//! agents transfer is compared with the file, outside the timed rounds.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::agent::Agent;
use super::table::{Line, Target, Unit};
use super::wire::{Wire, request};
use super::{MIB, Setup, limit, median};

/// Size of the file that is read: the largest piece there is.
pub(super) const SOURCE: usize = 48 * MIB;

/// Bytes that look random and are the same every time (xorshift64).
pub(super) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_ne_bytes()
    });
    words.take(size.div_ceil(8)).flatten().take(size).collect()
}

pub(super) fn read(setup: &Setup, name: &str, piece: usize, round: usize, least: f64) -> Result<Vec<Line>> {
    let source = fs::read(&setup.source)?;
    let mut agents = [setup.reference.start()?, setup.waga.start()?];
    let mut limit = limit::serve(reply_size(piece))?;
    let [reference, waga] = &mut agents;
    let mut lanes = [
        reading(reference, &setup.source, &source, piece)?,
        reading(waga, &setup.source, &source, piece)?,
        Lane {
            wire: &mut limit,
            before: None,
            piece: b"read\n".into(),
            reply: reply_size(piece),
            after: None,
        },
    ];
    let rates = rates(setup, &mut lanes, piece, round)?;
    Ok(vec![line(name, rates, least)])
}

fn reading<'a>(agent: &'a mut Agent, path: &Path, source: &[u8], piece: usize) -> Result<Lane<'a>> {
    let Agent { name, wire, .. } = agent;
    let handle = open(wire, path, "r")?;
    let before = request("guest-file-seek", &json!({"handle": handle, "offset": 0, "whence": "set"}));
    let request = request("guest-file-read", &json!({"handle": handle, "count": piece}));

    let reply = wire.reply(&request)?;
    let value: Value = serde_json::from_slice(&reply)?;
    let data = value["return"]["buf-b64"].as_str().with_context(|| format!("{name}: no data came back"))?;
    ensure!(STANDARD.decode(data)? == source[..piece], "{name} read something else than the file");
    Ok(Lane { wire, before: Some(before), piece: request, reply: reply.len(), after: None })
}

/// The reply to a read, as qemu-ga spells it.
fn reply_size(piece: usize) -> usize {
    let around = format!("{{\"return\": {{\"count\": {piece}, \"buf-b64\": \"\", \"eof\": false}}}}\n");
    around.len() + piece.div_ceil(3) * 4
}

pub(super) fn write(setup: &Setup, name: &str, piece: usize, round: usize, least: f64) -> Result<Vec<Line>> {
    let data = noise(round.max(2 * piece));
    let targets = [setup.dir.path().join("written-1"), setup.dir.path().join("written-2")];
    let mut agents = [setup.reference.start()?, setup.waga.start()?];
    let [reference, waga] = &mut agents;
    let reference = writing(reference, &targets[0], &data, piece)?;
    let waga = writing(waga, &targets[1], &data, piece)?;
    let mut limit = limit::serve(waga.reply)?;
    let limit =
        Lane { wire: &mut limit, before: None, piece: waga.piece.clone(), reply: waga.reply, after: None };
    let rates = rates(setup, &mut [reference, waga, limit], piece, round)?;

    // Every round wrote the first piece over the whole file.
    let wanted = data[..piece].repeat(round / piece);
    for (path, agent) in targets.iter().zip(&agents) {
        ensure!(fs::read(path)? == wanted, "{} wrote something else than it was sent", agent.name);
        fs::remove_file(path)?;
    }
    Ok(vec![line(name, rates, least)])
}

fn writing<'a>(agent: &'a mut Agent, path: &Path, data: &[u8], piece: usize) -> Result<Lane<'a>> {
    let Agent { name, wire, .. } = agent;
    let handle = open(wire, path, "w+")?;
    let request_of = |data: &[u8]| {
        request("guest-file-write", &json!({"handle": handle, "buf-b64": STANDARD.encode(data)}))
    };
    let before = request("guest-file-seek", &json!({"handle": handle, "offset": 0, "whence": "set"}));
    // What still waits in the agent's buffer belongs to the round that wrote it.
    let after = request("guest-file-flush", &json!({"handle": handle}));

    // The timed pieces are all the same, so pieces that differ are tried here.
    for part in data[..2 * piece].chunks(piece) {
        wire.round_trip(&request_of(part))?;
    }
    wire.round_trip(&after)?;
    ensure!(fs::read(path)? == data[..2 * piece], "{name} wrote something else than it was sent");

    wire.round_trip(&before)?;
    let request = request_of(&data[..piece]);
    let reply = wire.round_trip(&request)?;
    Ok(Lane { wire, before: Some(before), piece: request, reply, after: Some(after) })
}

fn line(name: &str, [reference, waga, limit]: [f64; 3], least: f64) -> Line {
    Line::new(name, Unit::Rate, reference, waga).limit(limit).target(Target::AtLeastTimes(least))
}

pub(super) fn open(wire: &mut Wire, path: &Path, mode: &str) -> Result<i64> {
    wire.number(&request("guest-file-open", &json!({"path": path, "mode": mode})))
}

/// The same request over and over, with what makes each round begin at the file's start and end on the file.
struct Lane<'a> {
    wire: &'a mut Wire,
    before: Option<Vec<u8>>,
    piece: Vec<u8>,
    /// A reply of another length is not the reply to this piece.
    reply: usize,
    after: Option<Vec<u8>>,
}

impl Lane<'_> {
    /// Bytes of file data a second.
    fn round(&mut self, piece: usize, round: usize) -> Result<f64> {
        if let Some(before) = &self.before {
            self.wire.round_trip(before)?;
        }
        let begun = Instant::now();
        for _ in 0..round / piece {
            let length = self.wire.round_trip(&self.piece)?;
            ensure!(length == self.reply, "a reply of {length} bytes instead of {}", self.reply);
        }
        if let Some(after) = &self.after {
            self.wire.round_trip(after)?;
        }
        Ok(round as f64 / begun.elapsed().as_secs_f64())
    }
}

/// Alternates between the lanes and returns the median rate of each.
fn rates(setup: &Setup, lanes: &mut [Lane<'_>; 3], piece: usize, round: usize) -> Result<[f64; 3]> {
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..setup.options.rounds {
        for (lane, rates) in lanes.iter_mut().zip(&mut rates) {
            rates.push(lane.round(piece, round)?);
        }
    }
    Ok(rates.each_mut().map(|rates| median(rates)))
}
