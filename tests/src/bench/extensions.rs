//! Rows of extensions: what a command in a Rust component costs beside one of the agent's own, and what it costs to have some.

use anyhow::{Context, Result, ensure};

use super::agent::{Candidate, PING};
use super::components::{Kind, Set};
use super::memory::{Grown, SETTLED, grow};
use super::table::{Added, Target, Unit};
use super::trips::{Pinned, TRIPS, WARM_UP, time};
use super::{Setup, compiling, layers, median, reloads};

/// What a row measures; the number in it is what the target allows.
pub(super) enum Cost {
    /// A call beside guest-ping, and the time it may take more.
    Trip(Set, Option<f64>),
    /// From the start to the reply of a call, beside that of a guest-ping.
    FirstCall(Set),
    /// From the start to the reply of a guest-ping, and the time it may take more.
    Start(Set, f64),
    /// Resident memory once each was called.
    Called(Set, Target),
    /// Resident memory if none was called.
    Declared(Set),
    Growth(Set),
    /// A cheap command of the agent's that all of them wrap, beside the command alone.
    Wrapped(Set),
    /// A command that calls one of the agent's by its types, beside one of the same component that does not.
    Asking(Set),
    /// What the compiler takes for a component, and for that of [`ONE`].
    Compile(Set),
    /// From SIGHUP until the new set serves, beside an agent without extensions; whether a module has changed each time.
    Reload(Set, bool),
}

use Cost::{Asking, Called, Compile, Declared, FirstCall, Growth, Reload, Start, Trip, Wrapped};

const fn set(name: &'static str, kind: Kind, runtime: &'static str, count: usize) -> Set {
    Set { name, kind, runtime, count }
}

const fn checksums(name: &'static str, runtime: &'static str, count: usize) -> Set {
    set(name, Kind::Checksums, runtime, count)
}

const ONE: Set = checksums("waga, 1 extension", "native", 1);
const THREE: Set = checksums("waga, 3 extensions", "native", 3);
const TEN: Set = checksums("waga, 10 extensions", "native", 10);
const THIRTY: Set = checksums("waga, 30 extensions", "native", 30);
const ONE_INTERPRETED: Set = checksums("waga, 1 extension, Pulley", "pulley", 1);
const THREE_INTERPRETED: Set = checksums("waga, 3 extensions, Pulley", "pulley", 3);
const TEN_INTERPRETED: Set = checksums("waga, 10 extensions, Pulley", "pulley", 10);
const WRAP: Set = set("waga, 1 wrap", Kind::Wraps, "native", 1);
const WRAPS: Set = set("waga, 5 wraps", Kind::Wraps, "native", 5);
const WRAP_INTERPRETED: Set = set("waga, 1 wrap, Pulley", Kind::Wraps, "pulley", 1);
const WRAPS_INTERPRETED: Set = set("waga, 5 wraps, Pulley", Kind::Wraps, "pulley", 5);
const ASK: Set = set("waga, 1 that asks", Kind::Ask, "native", 1);
const ASK_INTERPRETED: Set = set("waga, 1 that asks, Pulley", Kind::Ask, "pulley", 1);

const SCRIPT: Set = set("waga, scripts", Kind::Script, "native", 1);
const SCRIPT_INTERPRETED: Set = set("waga, scripts, Pulley", Kind::Script, "pulley", 1);
const JAVASCRIPT: Set = set("waga, JavaScript", Kind::JavaScript, "native", 1);
const JAVASCRIPT_INTERPRETED: Set = set("waga, JavaScript, Pulley", Kind::JavaScript, "pulley", 1);
const PYTHON: Set = set("waga, Python", Kind::Python, "native", 1);
const PYTHON_INTERPRETED: Set = set("waga, Python, Pulley", Kind::Python, "pulley", 1);

/// All rows, by the name that `--only` looks into.
pub(super) const CASES: &[(&str, Cost)] = &[
    ("extensions: round trip of a call", Trip(ONE, Some(60e-6))),
    ("extensions: round trip of a call, Pulley", Trip(ONE_INTERPRETED, Some(60e-6))),
    ("extensions: 1 wrap around guest-get-host-name", Wrapped(WRAP)),
    ("extensions: 1 wrap around guest-get-host-name, Pulley", Wrapped(WRAP_INTERPRETED)),
    ("extensions: 5 wraps around guest-get-host-name", Wrapped(WRAPS)),
    ("extensions: 5 wraps around guest-get-host-name, Pulley", Wrapped(WRAPS_INTERPRETED)),
    ("extensions: guest-get-host-name called by its types", Asking(ASK)),
    ("extensions: guest-get-host-name called by its types, Pulley", Asking(ASK_INTERPRETED)),
    ("extensions: start to the first call's reply", FirstCall(ONE)),
    ("extensions: start to the first call's reply, Pulley", FirstCall(ONE_INTERPRETED)),
    ("extensions: start to first reply, 10 declared", Start(TEN, 2e-3)),
    ("extensions: reload, 10 unchanged", Reload(TEN, false)),
    ("extensions: reload, 10 unchanged, Pulley", Reload(TEN_INTERPRETED, false)),
    ("extensions: reload, 10 of which 1 changed, compiled before", Reload(TEN, true)),
    ("extensions: reload, 10 of which 1 changed, compiled before, Pulley", Reload(TEN_INTERPRETED, true)),
    ("extensions: memory, 10 declared and none called", Declared(TEN)),
    ("extensions: memory, 1 called", Called(ONE, Target::None)),
    ("extensions: memory, 3 called", Called(THREE, Target::AtMost(12e6))),
    ("extensions: memory, 3 called, Pulley", Called(THREE_INTERPRETED, Target::AtMost(12e6))),
    ("extensions: memory, 30 called", Called(THIRTY, Target::None)),
    ("extensions: growth", Growth(THREE)),
    ("scripts: round trip of a call", Trip(SCRIPT, Some(600e-6))),
    ("scripts: round trip of a call, Pulley", Trip(SCRIPT_INTERPRETED, Some(5e-3))),
    ("scripts: start to the first call's reply", FirstCall(SCRIPT)),
    ("scripts: start to the first call's reply, Pulley", FirstCall(SCRIPT_INTERPRETED)),
    ("scripts: memory, 1 called", Called(SCRIPT, Target::None)),
    ("scripts: compiling the engine", Compile(SCRIPT)),
    ("scripts: compiling the engine, Pulley", Compile(SCRIPT_INTERPRETED)),
    ("JavaScript component: round trip of a call", Trip(JAVASCRIPT, None)),
    ("JavaScript component: round trip of a call, Pulley", Trip(JAVASCRIPT_INTERPRETED, None)),
    ("JavaScript component: memory, 1 called", Called(JAVASCRIPT, Target::None)),
    ("JavaScript component: compiling", Compile(JAVASCRIPT)),
    ("JavaScript component: compiling, Pulley", Compile(JAVASCRIPT_INTERPRETED)),
    ("Python component: round trip of a call", Trip(PYTHON, None)),
    ("Python component: round trip of a call, Pulley", Trip(PYTHON_INTERPRETED, None)),
    ("Python component: memory, 1 called", Called(PYTHON, Target::None)),
    ("Python component: compiling", Compile(PYTHON)),
    ("Python component: compiling, Pulley", Compile(PYTHON_INTERPRETED)),
];

impl Cost {
    pub(super) fn measure(&self, setup: &Setup, name: &str) -> Result<Vec<Added>> {
        match *self {
            Trip(set, most) => trip(setup, name, set, most),
            FirstCall(set) => first_call(setup, name, set),
            Compile(set) => compiling::measure(setup, name, set, ONE),
            Start(set, most) => start(setup, name, &setup.components()?.agent(set)?, most),
            Called(set, target) => memory(setup, name, set, set.count, target),
            Declared(set) => memory(setup, name, set, 0, Target::None),
            Growth(set) => growth(setup, name, set),
            Wrapped(set) => layers::wrapped(setup, name, set),
            Asking(set) => layers::asking(setup, name, set),
            Reload(set, changes) => reloads::reload(setup, name, set, changes),
        }
    }
}

fn trip(setup: &Setup, name: &str, set: Set, most: Option<f64>) -> Result<Vec<Added>> {
    let (candidate, call) = (setup.components()?.agent(set)?, set.kind.call(1));
    let _pinned = Pinned::new()?;
    // The same agent, so that it is the call alone that differs.
    let mut agent = candidate.start()?;
    ensure!(set.kind.is_answer(&agent.wire.value(&call)?), "the component answers something else");
    let mut samples = [const { Vec::new() }; 2];
    for request in [PING, &call] {
        time(&mut agent.wire, request, WARM_UP, &mut Vec::new())?;
    }
    for _ in 0..setup.options.rounds {
        for (request, samples) in [PING, &call].into_iter().zip(&mut samples) {
            time(&mut agent.wire, request, TRIPS, samples)?;
        }
    }
    let [ping, call] = samples.each_mut().map(|samples| median(samples));
    let target = most.map_or(Target::None, Target::AtMostMore);
    Ok(vec![Added::new(name, Unit::Micros, ping, call).target(target)])
}

fn first_call(setup: &Setup, name: &str, set: Set) -> Result<Vec<Added>> {
    let candidate = setup.components()?.agent(set)?;
    let (mut pings, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..setup.options.starts {
        pings.push(setup.waga.start_timed()?.1.as_secs_f64());
        calls.push(candidate.start_asking(&set.kind.call(1))?.1.as_secs_f64());
    }
    Ok(vec![Added::new(name, Unit::Millis, median(&mut pings), median(&mut calls))])
}

fn start(setup: &Setup, name: &str, candidate: &Candidate, most: f64) -> Result<Vec<Added>> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..setup.options.starts {
        without.push(setup.waga.start_timed()?.1.as_secs_f64());
        with.push(candidate.start_timed()?.1.as_secs_f64());
    }
    let line = Added::new(name, Unit::Millis, median(&mut without), median(&mut with));
    Ok(vec![line.target(Target::AtMostMore(most))])
}

fn memory(setup: &Setup, name: &str, set: Set, called: usize, target: Target) -> Result<Vec<Added>> {
    let candidate = setup.components()?.agent(set)?;
    let mut samples = [const { Vec::new() }; 4];
    // It hardly varies.
    for _ in 0..setup.options.rounds.min(3) {
        let (mut without, mut with) = (setup.waga.start()?, candidate.start()?);
        std::thread::sleep(SETTLED);
        without.wire.round_trip(PING)?;
        with.wire.round_trip(PING)?;
        for number in 1..=called {
            let value = with.wire.value(&set.kind.call(number))?;
            ensure!(set.kind.is_answer(&value), "extension {number} answers something else: {value}");
        }
        let sizes = [without.resident()?, with.resident()?, without.anonymous()?, with.anonymous()?];
        for (samples, size) in samples.iter_mut().zip(sizes) {
            samples.push(size);
        }
    }
    let [rss, with_rss, anonymous, with_anonymous] = samples.each_mut().map(|samples| median(samples));
    Ok(vec![
        Added::new(&format!("{name} (RSS)"), Unit::Megabytes, rss, with_rss).target(target),
        Added::new(&format!("{name}, its own part (anonymous)"), Unit::Megabytes, anonymous, with_anonymous),
    ])
}

fn growth(setup: &Setup, name: &str, set: Set) -> Result<Vec<Added>> {
    let requests = setup.options.requests;
    let candidate = setup.components()?.agent(set)?;
    let calls: Vec<_> = (1..=set.count).map(|number| set.kind.call(number)).collect();
    let with = grow(setup, &candidate, requests, calls).context("with extensions")?;
    let without = grow(setup, &setup.waga, requests, Vec::new()).context("without")?;
    let name = format!("{name}, {} requests, a tenth of them to 3", with.requests);
    let line = |what: &str, unit, of: fn(&Grown) -> f64| {
        Added::new(&format!("{name}{what}"), unit, of(&without), of(&with))
    };
    Ok(vec![
        line(": RSS, once warm", Unit::Growth, |grown| grown.since_warm_up).target(Target::AtMost(0.4e6)),
        line(": RSS, from the start", Unit::Growth, |grown| grown.since_start),
        line(": descriptors", Unit::Count, |grown| grown.descriptors),
        line(": children left", Unit::Count, |grown| grown.children).target(Target::AtMost(0.0)),
    ])
}
