//! Rows of extensions and the agent's own commands: one that is wrapped, and one that a component calls by its types.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::agent::Agent;
use super::components::{self, CHEAP, Set};
use super::table::{Added, Unit};
use super::trips::{Pinned, TRIPS, WARM_UP, time};
use super::wire::{Wire, request};
use super::{Setup, median};

pub(super) fn wrapped(setup: &Setup, name: &str, set: Set) -> Result<Vec<Added>> {
    let candidate = setup.components()?.agent(set)?;
    let _pinned = Pinned::new()?;
    let (mut without, mut with) = (setup.waga.start()?, candidate.start()?);
    let answer = without.wire.value(CHEAP)?;
    ensure!(with.wire.value(CHEAP)? == answer, "the wraps answer something else");
    let [alone, wrapped] = in_turn(setup, [(&mut without.wire, CHEAP), (&mut with.wire, CHEAP)])?;
    went_through(&mut with, set)?;
    Ok(vec![Added::new(name, Unit::Micros, alone, wrapped)])
}

pub(super) fn asking(setup: &Setup, name: &str, set: Set) -> Result<Vec<Added>> {
    let candidate = setup.components()?.agent(set)?;
    let _pinned = Pinned::new()?;
    // Two agents, so that a round of the one is not the other's rest.
    let (mut own, mut ask) = (candidate.start()?, candidate.start()?);
    let [own_call, ask_call] =
        ["guest-test-own", "guest-test-ask"].map(|command| request(command, &json!({})));
    let made_up = own.wire.value(&own_call)?;
    ensure!(made_up == json!({"host-name": "bench"}), "the component makes up something else: {made_up}");
    ensure!(ask.wire.value(&ask_call)? == ask.wire.value(CHEAP)?, "the component is told something else");
    let [own, ask] = in_turn(setup, [(&mut own.wire, &own_call), (&mut ask.wire, &ask_call)])?;
    Ok(vec![Added::new(name, Unit::Micros, own, ask)])
}

/// Round trips of two requests in short alternating rounds, in seconds.
fn in_turn(setup: &Setup, mut pairs: [(&mut Wire, &[u8]); 2]) -> Result<[f64; 2]> {
    let mut samples = [const { Vec::new() }; 2];
    for (wire, request) in &mut pairs {
        time(wire, request, WARM_UP, &mut Vec::new())?;
    }
    for _ in 0..setup.options.rounds {
        for ((wire, request), samples) in pairs.iter_mut().zip(&mut samples) {
            time(wire, request, TRIPS, samples)?;
        }
    }
    Ok(samples.each_mut().map(|samples| median(samples)))
}

/// A wrap that failed and was passed over would be no wrap.
fn went_through(agent: &mut Agent, set: Set) -> Result<()> {
    let all = components::told(agent)?;
    ensure!(all.len() == set.count, "{} extensions", all.len());
    let counted: Option<Vec<(u64, u64)>> = all.iter().map(calls).collect();
    let counted = counted.context("waga-get-extensions counts no calls")?;
    let all_alike = counted
        .iter()
        .all(|&(calls, failures)| calls > TRIPS as u64 && calls == counted[0].0 && failures == 0);
    ensure!(all_alike, "not every call went through every wrap: {counted:?}");
    Ok(())
}

/// Its calls and failures.
fn calls(told: &Value) -> Option<(u64, u64)> {
    Some((told["calls"].as_u64()?, told["failures"].as_u64()?))
}
