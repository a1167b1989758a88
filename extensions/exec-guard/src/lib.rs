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

use crate::rate::Starts;
use crate::request::Request;
use crate::rules::Rules;

struct ExecGuard;
export!(ExecGuard);

/// Under which the starts of all programs together are kept.
const ALL: &str = "all";

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
    let mut changes = Vec::new();
    for (key, rate, what) in
        [(rule.key(), rule.rate, format!("'{path}'")), (ALL.to_owned(), rules.rate, "any program".to_owned())]
    {
        let Some(rate) = rate else { continue };
        let starts = state::get(&key).map(|bytes| Starts::from_bytes(&bytes)).unwrap_or_default();
        let starts = starts.and_one_more(rate, now()).map_err(|wait| rate.told(&what, wait))?;
        changes.push((key, starts));
    }
    // Kept with the call's success, all together. Before the program is started: what cannot be counted is not started.
    for (key, starts) in &changes {
        state::set(key, &starts.to_bytes()).map_err(|why| format!("cannot count: {why}"))?;
    }
    if !changes.is_empty() {
        // Of rules that are gone.
        let known: Vec<String> = rules.keys().chain([ALL.to_owned()]).collect();
        state::keys().iter().filter(|key| !known.contains(key)).for_each(|key| state::delete(key));
    }
    Ok(())
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let now = wall_clock::now();
    now.seconds.saturating_mul(1000).saturating_add(u64::from(now.nanoseconds / 1_000_000))
}
