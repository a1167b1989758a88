//! The extensions of the bench: a Rust component and copies of it, a wrap, and one that calls the agent; compiled beforehand and declared
//! to agents in various numbers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::agent::{Agent, Candidate};
use super::options::Options;
use super::wire::request;
use crate::client::PATIENCE;
use crate::example;

/// The most that are declared.
const MOST: usize = 30;

/// The copies differ in these bytes, in all the names that are in them: `checksum` becomes `checks01` and so on.
const NAME: &str = "checksum";

/// What lies in the folder of the first copy's module, to be renamed to it: the same component in two files that differ.
const VERSIONS: [&str; 2] = ["version-1", "version-2"];

/// A custom section of no meaning, at the end of a component: another file to whoever hashes it.
const REMARK: &[u8] = b"\x00\x07\x06remark";

/// A command that is wrapped, and called by its types: one that costs the agent next to nothing.
pub(super) const CHEAP: &[u8] = b"{\"execute\": \"guest-get-host-name\"}\n";

/// What a set is made of.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// `examples/checksum` and copies of it, each with a command of its own.
    Checksums,
    /// `tests/components/pass`, one laid over the other around [`CHEAP`].
    Wraps,
    /// `tests/components/ask`, which may call [`CHEAP`].
    Ask,
    /// One file of JavaScript, which the engine of scripts runs.
    Script,
    /// `tests/components/javascript`.
    JavaScript,
    /// `tests/components/python`.
    Python,
}

impl Kind {
    /// A call of the command of one of them; of those that run around another, of that.
    pub(super) fn call(self, number: usize) -> Vec<u8> {
        match self {
            Self::Checksums => {
                let arguments = json!({"data": "aGVsbG8=", "algorithm": "crc32"});
                request(&format!("guest-acme-{}", name(number)), &arguments)
            }
            Self::Wraps | Self::Ask => CHEAP.to_vec(),
            Self::Script => request("guest-acme-hello", &json!({"name": "you"})),
            Self::JavaScript => request("guest-test-script", &json!({"words": ["a", "b"]})),
            Self::Python => request("guest-test-library", &json!({})),
        }
    }

    /// Whether it is what such a call has to return.
    pub(super) fn is_answer(self, value: &Value) -> bool {
        match self {
            Self::Checksums => *value == json!({"algorithm": "crc32", "length": 5, "hex": "3610a686"}),
            Self::Wraps | Self::Ask => value["host-name"].is_string(),
            Self::Script => *value == "Hello, you!",
            Self::JavaScript => value["reversed"] == json!(["b", "a"]),
            Self::Python => value["now"].is_number(),
        }
    }

    /// The file of its component, as it is built.
    fn module(self) -> &'static str {
        match self {
            Self::Checksums => "checksum",
            Self::Wraps => "pass",
            Self::Ask => "ask",
            Self::Script => "script",
            Self::JavaScript => "javascript",
            Self::Python => "python",
        }
    }
}

/// All components but the copies.
const PROJECTS: [&str; 5] = [
    "extensions/script",
    "tests/components/pass",
    "tests/components/ask",
    "tests/components/javascript",
    "tests/components/python",
];

/// What the file of scripts says.
const SCRIPT: &str = "exports[\"guest-acme-hello\"] = ({ name }) => `Hello, ${name}!`;\n";

/// So many extensions, and what runs them.
#[derive(Clone, Copy)]
pub(super) struct Set {
    /// Also the name of the folder of an agent that has them.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) runtime: &'static str,
    pub(super) count: usize,
}

impl Set {
    /// The table of one of them, whose modules are in `place`.
    fn table(self, number: usize, place: &Path) -> String {
        let place = place.display();
        match self.kind {
            Kind::Checksums => {
                let name = name(number);
                format!(
                    "[extension.{name}]\nmodule = \"{place}/{name}.wasm\"\nadd = [\"guest-acme-{name}\"]\n"
                )
            }
            Kind::Wraps => format!(
                "[extension.pass{number}]\nmodule = \"{place}/pass.wasm\"\nwrap = [\"guest-get-host-name\"]\n"
            ),
            Kind::Script => format!("[extension.scripts]\nscripts = \"{place}/scripts\"\n"),
            Kind::JavaScript | Kind::Python => {
                let name = self.kind.module();
                format!("[extension.{name}]\nmodule = \"{place}/{name}.wasm\"\n")
            }
            Kind::Ask => format!(
                "[extension.ask{number}]\nmodule = \"{place}/ask.wasm\"\ncommands = [\"guest-get-host-name\"]\n"
            ),
        }
    }
}

/// The components, with what was compiled of them so far.
pub(super) struct Components {
    /// Not where the other agents' files are: machine code is run from here, which a folder for memory may forbid.
    dir: TempDir,
    /// A copy of the agent, which has a compiler beside it.
    waga: PathBuf,
}

impl Components {
    pub(super) fn build(options: &Options) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("waga-bench-").tempdir().context("create a folder")?;
        let waga_ext = options.waga_ext.canonicalize().with_context(|| {
            format!("no waga-ext at {} (see the Makefile, or --help)", options.waga_ext.display())
        })?;
        let waga = dir.path().join("waga");
        fs::copy(&options.waga, &waga).context("copy waga")?;
        symlink(&waga_ext, dir.path().join("waga-ext")).context("link waga-ext")?;

        for project in PROJECTS {
            example::build(&waga_ext, project, dir.path())?;
        }
        fs::create_dir(dir.path().join("scripts"))?;
        fs::write(dir.path().join("scripts/hello.js"), SCRIPT)?;
        let built = fs::read(example::build(&waga_ext, &format!("examples/{NAME}"), dir.path())?)?;
        for number in 1..=MOST {
            let copy = replaced(&built, NAME.as_bytes(), name(number).as_bytes());
            fs::write(dir.path().join(format!("{}.wasm", name(number))), &copy)?;
            if number == 1 {
                fs::write(dir.path().join(VERSIONS[0]), &copy)?;
                fs::write(dir.path().join(VERSIONS[1]), [&copy, REMARK].concat())?;
            }
        }
        Ok(Self { dir, waga })
    }

    /// The file of a component.
    pub(super) fn module(&self, kind: Kind) -> PathBuf {
        self.dir.path().join(kind.module()).with_extension("wasm")
    }

    /// Puts the one or the other version of the first copy where its module is, by rename as a package manager does.
    pub(super) fn change(&self, round: usize) -> Result<()> {
        let new = self.dir.path().join("new");
        fs::copy(self.dir.path().join(VERSIONS[round % VERSIONS.len()]), &new)?;
        fs::rename(new, self.dir.path().join(format!("{}.wasm", name(1)))).context("change a module")
    }

    /// An agent that has these, with all of them compiled.
    pub(super) fn agent(&self, set: Set) -> Result<Candidate> {
        let place = self.dir.path().display();
        let mut text = format!("[extensions]\nruntime = \"{}\"\ncache = \"{place}/cache\"\n", set.runtime);
        for number in 1..=set.count {
            text += &set.table(number, self.dir.path());
        }
        let folder = self.dir.path().join(set.name);
        if folder.exists() {
            // Of another row: nothing in it is worth keeping.
            fs::remove_dir_all(&folder)?;
        }
        let candidate = Candidate::configured(set.name, &self.waga, self.dir.path(), &text)?;
        compile(&candidate)?;
        Ok(candidate)
    }
}

/// Waits until an agent has compiled its extensions, which stay in the cache for the next.
fn compile(candidate: &Candidate) -> Result<()> {
    let mut agent = candidate.start()?;
    let begun = Instant::now();
    loop {
        let all = told(&mut agent)?;
        if let Some(bad) = all.iter().find(|it| it["state"] != "ready" && it["state"] != "starting") {
            bail!("{}: {}", bad["name"], bad["reason"]);
        }
        if all.iter().all(|it| it["state"] == "ready") {
            return Ok(());
        }
        // Each takes a moment, one after the other.
        ensure!(begun.elapsed() < 10 * PATIENCE, "they are not compiled: {all:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// What an agent tells of its extensions.
pub(super) fn told(agent: &mut Agent) -> Result<Vec<Value>> {
    match agent.wire.value(&request("waga-get-extensions", &json!({})))? {
        Value::Array(all) => Ok(all),
        other => bail!("waga-get-extensions returned no list: {other}"),
    }
}

fn name(number: usize) -> String {
    format!("{}{number:02}", &NAME[..NAME.len() - 2])
}

/// The bytes with each occurrence of some of them replaced by as many others.
fn replaced(bytes: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    for at in 0..bytes.len().saturating_sub(what.len() - 1) {
        if bytes[at..].starts_with(what) {
            copy[at..at + by.len()].copy_from_slice(by);
        }
    }
    copy
}
