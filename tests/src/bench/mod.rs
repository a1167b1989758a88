//! The numbers waga holds itself to, measured beside qemu-ga in one run and printed as a table.
//!
//! Both agents answer the same lean client on a unix socket, in short alternating rounds, so that whatever the
//! machine does meanwhile hits both; each row starts fresh processes, so that no row inherits another's memory.
//! Nothing here asserts: a missed target is printed, and only what could not be run makes the exit code differ.

mod agent;
mod compiling;
mod components;
mod configured;
mod extensions;
mod files;
mod layers;
mod limit;
mod memory;
mod options;
mod reloads;
mod table;
mod trips;
mod wire;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use agent::Candidate;
use components::Components;
use extensions::Cost;
use options::Options;
use table::{Added, Line, Target};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const LEGEND: &str = "\
Ratio: waga's figure over qemu-ga's. Limit here: this client's figure when a thread answers without doing the work.
Round trips: client and agent on one processor. Files: data transferred, megabytes (1,000,000 bytes) a second.";

const LEGEND_OF_EXTENSIONS: &str = "\
What extensions cost waga. With: examples/checksum (Rust), its command called with 5 bytes; several are copies of it under
other names, compiled one by one. Without: an agent that has none, and guest-ping in the place of the call.
Wraps (C) call what is below and return that; without: guest-get-host-name as the agent answers it. Called by its types: the call
of a command (C) that asks the agent once; without: that of one in the same component that does not. Reload: from SIGHUP until the new
set serves. Scripts: a file of one line. JavaScript and Python: tests/components, asked for the time and random numbers. Compiling: without,
examples/checksum.";

/// What a row measures; the number in it is what the target allows or asks for.
enum Measure {
    Idle(Setting),
    Start(Setting),
    /// A command without arguments, and the part of qemu-ga's time it may take.
    Trip(&'static str, Setting, f64),
    /// Piece, bytes of a round, and how many times qemu-ga's rate is wanted.
    Read(usize, usize, f64),
    Write(usize, usize, f64),
    Peak,
    Growth,
}

/// How waga is set up.
#[derive(Clone, Copy)]
enum Setting {
    /// Without a configuration.
    Plain,
    /// With a full `agent.toml`.
    Full,
    /// With that, and the audit on: no target, for qemu-ga has nothing like it.
    Audited,
}

use Setting::{Audited, Full, Plain};

impl Setting {
    /// What is asked of a figure with this setting.
    fn target(self, times: f64) -> Target {
        match self {
            Plain | Full => Target::AtMostTimes(times),
            Audited => Target::None,
        }
    }
}

/// All rows, by the name that `--only` looks into.
const CASES: &[(&str, Measure)] = &[
    ("idle memory", Measure::Idle(Plain)),
    ("start to first reply", Measure::Start(Plain)),
    ("guest-ping", Measure::Trip("guest-ping", Plain, 0.5)),
    ("guest-info", Measure::Trip("guest-info", Plain, 0.8)),
    ("guest-get-osinfo", Measure::Trip("guest-get-osinfo", Plain, 0.8)),
    ("guest-get-fsinfo", Measure::Trip("guest-get-fsinfo", Plain, 0.8)),
    ("guest-network-get-interfaces", Measure::Trip("guest-network-get-interfaces", Plain, 0.8)),
    ("guest-file-read, 64 KiB", Measure::Read(64 * KIB, 8 * MIB, 4.0)),
    ("guest-file-read, 1 MiB", Measure::Read(MIB, 16 * MIB, 5.0)),
    ("guest-file-read, 48 MiB", Measure::Read(48 * MIB, 48 * MIB, 3.5)),
    ("guest-file-write, 64 KiB", Measure::Write(64 * KIB, 4 * MIB, 15.0)),
    ("guest-file-write, 1 MiB", Measure::Write(MIB, 4 * MIB, 25.0)),
    ("peak memory over a 48 MiB read", Measure::Peak),
    ("growth", Measure::Growth),
    ("idle memory, full agent.toml", Measure::Idle(Full)),
    ("start to first reply, full agent.toml", Measure::Start(Full)),
    ("guest-ping, full agent.toml", Measure::Trip("guest-ping", Full, 0.5)),
    ("idle memory, full agent.toml and audit", Measure::Idle(Audited)),
    ("start to first reply, full agent.toml and audit", Measure::Start(Audited)),
    ("guest-ping, full agent.toml and audit", Measure::Trip("guest-ping", Audited, 0.5)),
];

/// What every row works with: the two agents, a folder, and how much to do.
struct Setup {
    options: Options,
    reference: Candidate,
    waga: Candidate,
    full: Candidate,
    audited: Candidate,
    /// A file of [`files::SOURCE`] bytes for the reading rows, in `dir`.
    source: PathBuf,
    /// Built when the first row needs them.
    components: OnceCell<Components>,
    dir: TempDir,
}

impl Setup {
    fn new(options: Options) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("waga-bench-")
            .tempdir_in(&options.dir)
            .with_context(|| format!("create a folder in {}", options.dir.display()))?;
        let reference = Candidate::new("qemu-ga", &options.reference, dir.path())?;
        let waga = Candidate::new("waga", &options.waga, dir.path())?;
        let configured = |name, text: &str| Candidate::configured(name, &options.waga, dir.path(), text);
        let full = configured("waga, full agent.toml", configured::FULL)?;
        let audited = configured("waga, audited", &[configured::FULL, configured::AUDIT].concat())?;
        let source = dir.path().join("source");
        std::fs::write(&source, files::noise(files::SOURCE)).context("write the file to be read")?;
        Ok(Self { options, reference, waga, full, audited, source, components: OnceCell::new(), dir })
    }

    /// waga as it is set up.
    fn waga(&self, setting: Setting) -> &Candidate {
        match setting {
            Plain => &self.waga,
            Full => &self.full,
            Audited => &self.audited,
        }
    }

    /// What is declared to the agents of the rows of extensions.
    fn components(&self) -> Result<&Components> {
        if self.components.get().is_none() {
            let _ = self.components.set(Components::build(&self.options)?);
        }
        self.components.get().context("no components")
    }

    fn measure(&self, name: &str, measure: &Measure) -> Result<Vec<Line>> {
        match *measure {
            Measure::Idle(setting) => memory::idle(self, name, setting),
            Measure::Start(setting) => trips::start(self, name, setting),
            Measure::Trip(command, setting, most) => trips::trip(self, name, command, setting, most),
            Measure::Read(piece, round, least) => files::read(self, name, piece, round, least),
            Measure::Write(piece, round, least) => files::write(self, name, piece, round, least),
            Measure::Peak => memory::peak(self, name),
            Measure::Growth => memory::growth(self, name),
        }
    }
}

/// Runs the rows the command line asks for and prints them; fails only if something could not be run.
pub fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("bench: {error:#}\n{}", options::USAGE);
            return ExitCode::FAILURE;
        }
    };
    match run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was asked for could be run.
fn run(options: Options) -> Result<bool> {
    let setup = Setup::new(options)?;
    let mut failures = Vec::new();
    let lines =
        rows(&setup, CASES, Line::failed, &mut failures, |name, measure| setup.measure(name, measure));
    let added = rows(&setup, extensions::CASES, Added::failed, &mut failures, |name, cost: &Cost| {
        cost.measure(&setup, name)
    });
    let nothing = lines.is_empty() && added.is_empty();
    ensure!(!nothing, "no row has any of {:?} in its name", setup.options.only);
    println!("{} beside {}, {}\n", setup.waga.version(), setup.reference.version(), machine());
    if !lines.is_empty() {
        println!("{}\n{LEGEND}\n", table::beside(&lines));
    }
    if !added.is_empty() {
        println!("{}\n{LEGEND_OF_EXTENSIONS}", table::added(&added));
    }
    for failure in &failures {
        eprintln!("bench: could not run {failure}");
    }
    Ok(failures.is_empty())
}

/// Runs those rows of a table that are wanted. One that could not be run is told there, and why.
fn rows<M, L>(
    setup: &Setup,
    cases: &[(&str, M)],
    failed: fn(&str) -> L,
    failures: &mut Vec<String>,
    measure: impl Fn(&str, &M) -> Result<Vec<L>>,
) -> Vec<L> {
    let mut lines = Vec::new();
    for (name, what) in cases.iter().filter(|(name, _)| setup.options.wants(name)) {
        eprintln!("bench: {name} …");
        match measure(name, what) {
            Ok(measured) => lines.extend(measured),
            Err(error) => {
                lines.push(failed(name));
                failures.push(format!("{name}: {error:#}"));
            }
        }
    }
    lines
}

/// What the figures depend on most, for whoever reads the table later.
fn machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!("Linux {}, {cpus} CPUs", kernel.trim())
}

/// The middle of the samples: what is left when a few rounds were disturbed.
fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    match samples.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => samples[odd / 2],
        even => f64::midpoint(samples[even / 2 - 1], samples[even / 2]),
    }
}
