//! The command line of the benchmark: few enough options to be read by hand.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub(super) const USAGE: &str = "\
usage: bench [WAGA] [--reference PATH] [--waga-ext PATH] [--only ROW]... [--quick] [--requests N] [--dir DIR]

  WAGA              the program to measure (default: `waga` beside this program)
  --reference PATH  the agent to measure beside it (default: /usr/sbin/qemu-ga)
  --waga-ext PATH   builds and compiles the extensions of the last rows (default: `waga-ext` beside this program,
                    or beside that of a debug build; either compiles the same)
  --only ROW        only rows with ROW in their name; may be repeated
  --quick           fewer rounds, and a twentieth of the requests of the growth row
  --requests N      how many requests the growth row sends waga (default: 1000000)
  --dir DIR         where sockets, state and files go (default: /dev/shm, else the temporary folder)";

/// How often things are done, beside what they are done to.
pub(super) struct Options {
    pub(super) waga: PathBuf,
    pub(super) reference: PathBuf,
    pub(super) waga_ext: PathBuf,
    pub(super) only: Vec<String>,
    /// Timed starts of each agent.
    pub(super) starts: usize,
    /// Alternating rounds of each timed row.
    pub(super) rounds: usize,
    /// Requests of the growth row to waga.
    pub(super) requests: usize,
    /// Memory-backed by preference: an agent's state stands in `/run` in real life, and the file rows are to
    /// measure agents, not a disk.
    pub(super) dir: PathBuf,
}

impl Options {
    /// `None` if only the usage is wanted.
    pub(super) fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Option<Self>> {
        let beside = std::env::current_exe().context("find this program")?;
        let [first, second] = ["waga-ext", "../debug/waga-ext"].map(|name| beside.with_file_name(name));
        let mut options = Self {
            waga: beside.with_file_name("waga"),
            waga_ext: if first.is_file() { first } else { second },
            reference: "/usr/sbin/qemu-ga".into(),
            only: Vec::new(),
            starts: 40,
            rounds: 20,
            requests: 1_000_000,
            dir: Some("/dev/shm")
                .filter(|dir| Path::new(dir).is_dir())
                .map_or_else(std::env::temp_dir, PathBuf::from),
        };
        let mut requests = None;
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{} needs a value", word.display()));
            match word.to_str() {
                Some("-h" | "--help") => return Ok(None),
                Some("--reference") => options.reference = value()?.into(),
                Some("--waga-ext") => options.waga_ext = value()?.into(),
                Some("--only") => options.only.push(value()?.to_string_lossy().into_owned()),
                Some("--dir") => options.dir = value()?.into(),
                Some("--requests") => {
                    requests = Some(value()?.to_string_lossy().parse().context("--requests needs a number")?);
                }
                Some("--quick") => {
                    (options.starts, options.rounds, options.requests) = (10, 4, 50_000);
                }
                Some(unknown) if unknown.starts_with('-') => bail!("unknown option {unknown}"),
                _ => options.waga = word.into(),
            }
        }
        options.requests = requests.unwrap_or(options.requests);
        Ok(Some(options))
    }

    pub(super) fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| row.contains(part.as_str()))
    }
}
