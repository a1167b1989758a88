//! What the compiler made: taken in as it comes, never held whole but in a file of memory that nobody can change any more.
//!
//! Its answer is one line of JSON, `{"artifact": BYTES, "description": BYTES}`, then that many bytes of each and no more. The artifact
//! stays off every disk here: a write that a freeze caught would keep a thread of the agent.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use serde::Deserialize;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::artifact;
use super::compile::LARGEST_ARTIFACT;
use super::description::{Description, FORMAT};
use super::digest::{Digest, Hasher};

/// Most bytes of a description, here and in the cache.
pub const LARGEST_DESCRIPTION: u64 = 8 << 20;

/// Most bytes of the line that announces the rest.
const LONGEST_LINE: usize = 256;

/// What a compilation results in.
#[derive(Debug)]
pub struct Compiled {
    /// What the engine runs.
    pub artifact: Artifact,
    /// What the daemon knows before it runs it.
    pub description: Description,
}

impl Compiled {
    /// Reads the whole answer of a compiler, with at most so many bytes of an artifact.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(answer: &[u8], most: u64) -> Result<Self, String> {
        let mut intake = Intake::new(most.min(LARGEST_ARTIFACT))
            .map_err(|error| format!("cannot make a file in memory for what is compiled: {error}"))?;
        intake.write_all(answer).map_err(|error| error.to_string())?;
        intake.finish()
    }

    /// Maps it, for an engine that is set up as the compiler's: to be asked only of what our own compiler made, for it is run.
    ///
    /// # Errors
    /// It was made for another engine, or pages cannot be made executable here.
    pub fn load(&self, engine: &Engine) -> Result<Component, String> {
        artifact::load(engine, &self.artifact.file)
    }
}

/// An artifact in memory, sealed.
#[derive(Debug)]
pub struct Artifact {
    /// To be mapped; nobody can write to it.
    pub file: File,
    /// Of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
}

/// Takes in the answer of a compiler.
#[derive(Debug)]
pub(super) struct Intake {
    /// Most bytes of an artifact.
    most: u64,
    state: State,
    file: File,
    hasher: Hasher,
    size: u64,
    description: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Line(Vec<u8>),
    /// So many bytes of each are still to come.
    Parts(Parts),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    artifact: u64,
    description: u64,
}

impl Intake {
    pub(super) fn new(most: u64) -> io::Result<Self> {
        Ok(Self {
            most,
            state: State::Line(Vec::new()),
            file: memory_file()?,
            hasher: Hasher::default(),
            size: 0,
            description: Vec::new(),
        })
    }

    /// All of it, once there is no more to come.
    pub(super) fn finish(mut self) -> Result<Compiled, String> {
        match self.state {
            State::Parts(Parts { artifact: 0, description: 0 }) => {}
            _ => return Err("the compiler's answer ends early".into()),
        }
        let description: Description = serde_json::from_slice(&self.description)
            .map_err(|error| format!("the compiler's description cannot be read: {error}"))?;
        if description.format != FORMAT {
            return Err(format!(
                "the compiler's description is of format {}, not {FORMAT}: is waga-ext of another version?",
                description.format
            ));
        }
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&self.file, seals)
            .map_err(|error| format!("cannot seal what was compiled: {error}"))?;
        let digest = self.hasher.finish();
        Ok(Compiled { artifact: Artifact { file: self.file, digest, size: self.size }, description })
    }

    fn begin(&mut self, line: &[u8]) -> io::Result<()> {
        let parts: Parts = serde_json::from_slice(line)
            .map_err(|_| io::Error::other("the compiler's answer does not begin with its sizes"))?;
        for (what, bytes, most) in [
            ("an artifact", parts.artifact, self.most),
            ("a description", parts.description, LARGEST_DESCRIPTION),
        ] {
            if bytes > most {
                return Err(io::Error::other(format!(
                    "the compiler made {what} of {bytes} bytes: {most} are the most"
                )));
            }
        }
        self.state = State::Parts(parts);
        Ok(())
    }
}

/// A prefix of `rest` with at most `left` bytes is taken off both.
fn part<'a>(rest: &mut &'a [u8], left: &mut u64) -> &'a [u8] {
    let (part, others) =
        rest.split_at(usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len())));
    *left -= part.len() as u64;
    *rest = others;
    part
}

impl Write for Intake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        if let State::Line(line) = &mut self.state {
            let end = rest.iter().position(|&byte| byte == b'\n');
            let (more, others) = rest.split_at(end.unwrap_or(rest.len()));
            if line.len() + more.len() > LONGEST_LINE {
                return Err(io::Error::other("the compiler's answer does not begin with its sizes"));
            }
            line.extend_from_slice(more);
            rest = others;
            if end.is_some() {
                let line = std::mem::take(line);
                self.begin(&line)?;
                rest = &rest[1..];
            }
        }
        if let State::Parts(parts) = &mut self.state {
            let artifact = part(&mut rest, &mut parts.artifact);
            self.file.write_all(artifact)?;
            self.hasher.update(artifact);
            self.size += artifact.len() as u64;
            self.description.extend_from_slice(part(&mut rest, &mut parts.description));
            if !rest.is_empty() {
                return Err(io::Error::other("the compiler said more than it announced"));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is nowhere, and that can be sealed.
fn memory_file() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create("waga-artifact", flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 knows no such flag. Pages of it may be mapped as code with it, too; it is no program.
        Err(Errno::INVAL) => memfd_create("waga-artifact", flags)?,
        other => other?,
    };
    Ok(file.into())
}

#[cfg(test)]
mod tests;
