//! Rows of reloads: from SIGHUP until the new set serves, which the log says.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::agent::{Agent, Candidate};
use super::components::{self, Components, Set};
use super::table::{Added, Unit};
use super::{Setup, median};
use crate::client::PATIENCE;

pub(super) fn reload(setup: &Setup, name: &str, set: Set, changes: bool) -> Result<Vec<Added>> {
    let components = setup.components()?;
    let candidate = components.agent(set)?;
    let (without, mut with) = (setup.waga.start()?, candidate.start()?);
    if changes {
        // Each version is compiled by its first reload, and in the cache from then on.
        for round in 0..2 {
            changed(components, &candidate, &mut with, round)?;
        }
    }
    let (mut plain, mut extended) = (Vec::new(), Vec::new());
    for round in 0..setup.options.starts {
        plain.push(timed(&setup.waga, &without)?);
        extended.push(match changes {
            true => changed(components, &candidate, &mut with, round)?,
            false => timed(&candidate, &with)?,
        });
    }
    Ok(vec![Added::new(name, Unit::Millis, median(&mut plain), median(&mut extended))])
}

/// A reload once one module has changed, in seconds.
fn changed(components: &Components, candidate: &Candidate, agent: &mut Agent, round: usize) -> Result<f64> {
    components.change(round)?;
    let before = digest(agent)?;
    let seconds = timed(candidate, agent)?;
    // At the first change there is the first version, which was there before.
    ensure!(round == 0 || digest(agent)? != before, "the module that changed was not seen");
    Ok(seconds)
}

fn digest(agent: &mut Agent) -> Result<String> {
    let all = components::told(agent)?;
    let first = all.first().context("no extension")?;
    ensure!(first["state"] == "ready", "{}: {}", first["name"], first["reason"]);
    Ok(first["digest"].as_str().context("no digest")?.to_owned())
}

/// A reload, in seconds. Looks without a pause, as a start is looked at.
fn timed(candidate: &Candidate, agent: &Agent) -> Result<f64> {
    let before = candidate.reloads()?;
    let begun = Instant::now();
    agent.hang_up()?;
    while candidate.reloads()? == before {
        ensure!(begun.elapsed() < PATIENCE, "{} does not reload", agent.name);
    }
    Ok(begun.elapsed().as_secs_f64())
}
