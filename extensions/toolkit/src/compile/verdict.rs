//! How a compilation ended, in one line for the daemon's log and an exit code that says whose fault it was.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use nix::sys::signal::Signal;

use super::Options;

/// The longest line.
const LONGEST: usize = 4 << 10;
/// How Rust ends a program that gets no memory, and one whose stack is used up.
const NO_MEMORY: &str = "memory allocation of";
const NO_STACK: &str = "has overflowed its stack";

/// Why nothing was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    fault: Fault,
    text: String,
}

/// Whose fault it was: the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Here = 1,
    Module = 2,
    Limit = 3,
}

impl Failure {
    /// Something on this machine, which may go well another time.
    pub(super) fn here(text: String) -> Self {
        Self { fault: Fault::Here, text }
    }

    /// The module's, always.
    pub(super) fn module(text: String) -> Self {
        Self { fault: Fault::Module, text }
    }

    /// Too much was needed.
    pub(super) fn limit(text: String) -> Self {
        Self { fault: Fault::Limit, text }
    }

    /// In the child; the parent knows how much it was.
    pub(super) fn memory() -> Self {
        Self::limit(NO_MEMORY.into())
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.fault as u8)
    }

    /// One line, whatever a module managed to have said.
    pub(super) fn line(&self) -> String {
        let mut line: String =
            self.text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if line.len() > LONGEST {
            let end = (0..LONGEST).rev().find(|at| line.is_char_boundary(*at)).unwrap_or_default();
            line.truncate(end);
        }
        line
    }
}

/// What became of the child; `None`: all went well.
pub(super) fn of(status: ExitStatus, words: &[u8], options: &Options) -> Option<Failure> {
    let words = String::from_utf8_lossy(words);
    let words = words.trim();
    if status.success() {
        return None;
    }
    if words.contains(NO_MEMORY) {
        let most = options.memory;
        return Some(Failure::limit(format!(
            "compiling it takes more than {most} bytes of memory: [extensions] compile.memory"
        )));
    }
    let killed = status.signal().and_then(|signal| Signal::try_from(signal).ok());
    Some(match (status.code(), killed) {
        (Some(1), _) => Failure::here(words.into()),
        (Some(2), _) => Failure::module(words.into()),
        (Some(3), _) => Failure::limit(words.into()),
        (_, Some(Signal::SIGXCPU)) => Failure::limit(format!(
            "compiling it takes more than {} s of CPU time: [extensions] compile.time",
            options.time
        )),
        // The operator, or a kernel that is short of memory: another time it may go well.
        (_, Some(Signal::SIGKILL | Signal::SIGTERM)) => Failure::here("the compiler was killed".into()),
        _ if words.contains(NO_STACK) => Failure::module("the compiler's stack is too small for it".into()),
        // A compiler that panics does so again.
        _ => {
            Failure::module(format!("the compiler failed ({status}): {}", words.lines().last().unwrap_or("")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Runtime;

    fn verdict(raw: i32, words: &str) -> Failure {
        let options = Options {
            runtime: Some(Runtime::Native),
            all: false,
            config: std::path::PathBuf::new(),
            stack: 1,
            memory: 4096,
            time: 7,
            module_size: 1,
            inside: false,
            at_hand: false,
        };
        of(ExitStatus::from_raw(raw), words.as_bytes(), &options).unwrap()
    }

    #[test]
    fn every_end_has_its_fault_and_its_words() {
        for (raw, words, fault, text) in [
            (1 << 8, "cannot read\n", Fault::Here, "cannot read"),
            (2 << 8, "it is no component", Fault::Module, "it is no component"),
            (3 << 8, "the module has more", Fault::Limit, "the module has more"),
            (24, "", Fault::Limit, "more than 7 s of CPU time: [extensions] compile.time"),
            (9, "", Fault::Here, "was killed"),
            (6, "memory allocation of 99 bytes failed\n", Fault::Limit, "4096 bytes of memory"),
            (3 << 8, NO_MEMORY, Fault::Limit, "4096 bytes of memory"),
            (6, "\nthread 'main' has overflowed its stack\nfatal", Fault::Module, "stack is too small"),
            (101 << 8, "thread 'main' panicked at x.rs:\noh no", Fault::Module, "oh no"),
            (11, "", Fault::Module, "signal: 11"),
        ] {
            let failure = verdict(raw, words);
            assert_eq!(failure.fault, fault, "{raw} {words}: {failure:?}");
            assert!(failure.line().contains(text), "{raw} {words}: {failure:?}");
        }
    }

    #[test]
    fn what_is_said_is_one_short_line() {
        let line = Failure::module(format!("a\nb\x1b[2J {}", "ü".repeat(LONGEST))).line();
        assert!(line.starts_with("a b [2J ü") && line.len() <= LONGEST, "{}", line.len());
    }
}
