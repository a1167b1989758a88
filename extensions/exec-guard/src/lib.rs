//! Guards `guest-exec`: which programs may be started, with which arguments, and how often. It wraps the agent's own command; what is allowed
//! goes to it byte by byte as it came, everything else is refused. Whatever is not understood, the configuration first, allows nothing.

mod rate;
mod request;
mod rules;

// The traits and functions of `wit/`.
wit_bindgen::generate!({ world: "exec-guard", generate_all });

use exports::waga::extension::handler::{Error, Guest};
use waga::extension::log::{Level, log};
use waga::extension::{config, next, state};
use wasi::clocks::wall_clock;

use crate::request::Request;
use crate::rules::{ALL, Rules};

struct ExecGuard;
export!(ExecGuard);

impl Guest for ExecGuard {
    fn commands() -> Result<Vec<String>, String> {
        Ok(vec!["guest-exec".into()])
    }

    fn handle(_: String, arguments: String) -> Result<String, Error> {
        admit(&arguments).map_err(|why| {
            // Programs and reasons; arguments may be secrets.
            log(Level::Warning, &format!("refused: {why}"));
            Error { class: "GenericError".into(), desc: format!("exec-guard {why}") }
        })?;
        // Its own error, or that of what is below: then nothing was started, and nothing is counted.
        next::next(&arguments)
    }
}

/// Whether a request may go on, and then it is counted.
fn admit(arguments: &str) -> Result<(), String> {
    let rules = Rules::read(&config::get()).map_err(|why| format!("allows nothing: config: {why}"))?;
    let request = Request::read(arguments)?;
    let rule = rules.admit(&request)?;
    let path = &request.path;
    let limits = [
        (rule.key(), rule.rate, format!("'{path}'")),
        (ALL.to_owned(), rules.rate, "any program".to_owned()),
    ];
    let limits = limits.into_iter().filter_map(|(of, rate, what)| Some((of, rate?, what)));
    let limits: Vec<_> = limits.collect();
    if limits.is_empty() {
        return Ok(());
    }
    let (kept, now) = (state::keys(), now());
    for (of, rate, what) in &limits {
        let times = kept.iter().filter_map(|key| rate::read(key)).filter(|(start, _)| start == of);
        let wait = rate.wait(times.map(|(_, time)| time).collect(), now);
        wait.map_or(Ok(()), |wait| Err(rate.told(what, wait)))?;
    }
    // What does not count any more, and what a rule counted that is gone. First, for the room that it takes.
    for key in &kept {
        let counts = rate::read(key)
            .is_some_and(|(of, time)| rules.rate_of(of).is_some_and(|rate| rate.counts(time, now)));
        if !counts {
            state::delete(key);
        }
    }
    // Kept with the call's success, all together. Before the program is started: what cannot be counted is not started.
    for (of, ..) in &limits {
        state::set(&rate::key(of, now), &[]).map_err(|why| format!("cannot count: {why}"))?;
    }
    Ok(())
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let now = wall_clock::now();
    now.seconds.saturating_mul(1_000_000_000).saturating_add(now.nanoseconds.into())
}
