//! Compiles a module in a child of its own, `waga-ext compile`: no compiler is in the daemon.
//!
//! The child gets the module on its standard input and confines itself. What is enforced here is what it must not decide: that it ends,
//! how much it answers, and that what it compiled is what was hashed.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use smol::lock::Mutex;
use waga_builtins::filter::{Failure, Filter, Outcome};

use super::compiled::{Compiled, Intake};
use super::digest::Digest;
use super::engine::Kind;
use super::module::{Module, ModuleError};
use crate::config::{Extensions, size, trust};

/// The program, and where it is looked for after the daemon's own folder.
const NAME: &str = "waga-ext";
const FOLDERS: [&str; 3] = ["/usr/libexec/waga", "/usr/local/bin", "/usr/bin"];

/// An artifact is not much more than ten times its module; and this is the most of any.
const GROWTH: u64 = 16;
pub(super) const LARGEST_ARTIFACT: u64 = 512 << 20;

/// Exit codes of the child that are not simply failures.
const MODULE_AT_FAULT: i32 = 2;
const OVER_A_LIMIT: i32 = 3;

/// Signals by which the kernel ends who is over a limit of CPU time, and a program itself that has no memory left.
const SIGXCPU: i32 = rustix::process::Signal::XCPU.as_raw();
const SIGABRT: i32 = rustix::process::Signal::ABORT.as_raw();

/// Compiles, one module at a time.
#[derive(Debug)]
pub struct Compiler {
    folders: Vec<PathBuf>,
    turn: Mutex<()>,
    /// What this kernel does not keep from it, in its own words, once it said so.
    lacks: OnceLock<String>,
}

/// Why there is nothing compiled.
#[derive(Debug)]
pub enum CompileError {
    /// There is no compiler.
    Missing(String),
    /// The module is at fault, or cannot be read.
    Refused(String),
    /// It takes more than is granted; names the key to change.
    Limit(String),
    /// The compiler failed.
    Failed(String),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Missing(text) | Self::Refused(text) | Self::Limit(text) | Self::Failed(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for CompileError {}

impl Compiler {
    /// The one beside this program, else where packages put it. Whether it is there is seen when it is needed.
    pub fn installed() -> Self {
        let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
        Self::in_folders(beside.into_iter().chain(FOLDERS.map(PathBuf::from)))
    }

    /// The first of these folders that has one counts.
    pub fn in_folders(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { folders: folders.into_iter().collect(), turn: Mutex::new(()), lacks: OnceLock::new() }
    }

    /// Compiles a module whose digest is known, for this kind of engine. Another module waits until it is done. When nobody waits for
    /// it any more, it stops.
    ///
    /// # Errors
    /// It cannot, within the limits.
    pub async fn compile(
        &self,
        settings: &Extensions,
        module: Arc<Module>,
        digest: Digest,
        kind: Kind,
    ) -> Result<Compiled, CompileError> {
        let _turn = self.turn.lock().await;
        let folders = self.folders.clone();
        let program = smol::unblock(move || find(&folders)).await?;
        let Extensions { stack, compile_memory: memory, compile_time: time, module_size, .. } = settings;
        // The child counts whole seconds.
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let args = [
            "compile".to_owned(),
            "--runtime".to_owned(),
            kind.as_str().to_owned(),
            "--stack".to_owned(),
            stack.to_string(),
            "--memory".to_owned(),
            memory.to_string(),
            "--time".to_owned(),
            seconds.to_string(),
            "--module-size".to_owned(),
            module_size.to_string(),
        ];
        let most = module_size.saturating_mul(GROWTH).min(LARGEST_ARTIFACT).min(*memory);
        let intake = Intake::new(most).map_err(|error| {
            CompileError::Failed(format!("cannot make a file in memory for what is compiled: {error}"))
        })?;
        let run = Filter::new(program, args, *time).run(module.bytes(digest), intake);
        let outcome = run.await.map_err(|failure| failed(failure, settings))?;
        if outcome.code == Ok(0) {
            self.told(&plain(&outcome.errors));
            let finish = move || outcome.output.finish();
            return smol::unblock(finish).await.map_err(CompileError::Failed);
        }
        Err(why(&outcome, settings))
    }
}

impl Compiler {
    /// What is said beside an answer is how far the compiler is confined: the log has it, the first time.
    fn told(&self, lacks: &str) {
        if !lacks.is_empty() && self.lacks.set(lacks.to_owned()).is_ok() {
            tracing::warn!("{NAME}: {lacks}");
        }
    }
}

/// The program's path, as text.
fn find(folders: &[PathBuf]) -> Result<String, CompileError> {
    let there = folders.iter().map(|folder| folder.join(NAME)).find_map(|path| {
        let metadata = path.metadata().ok()?;
        (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then_some((path, metadata))
    });
    let Some((path, metadata)) = there else {
        let looked: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let text = format!("needs compiling, and {NAME} is not installed (looked in {})", looked.join(", "));
        return Err(CompileError::Missing(text));
    };
    trust::opened(&path, &metadata)
        .map_err(|error| CompileError::Failed(format!("needs compiling, and {error}")))?;
    let as_text = |path: &Path| path.to_str().map(str::to_owned);
    as_text(&path).ok_or_else(|| CompileError::Failed(format!("{}: its path is not UTF-8", path.display())))
}

/// What a child that ended otherwise than well means.
fn why<W>(outcome: &Outcome<W>, settings: &Extensions) -> CompileError {
    let said = plain(&outcome.errors);
    let or = |text: &str| if said.is_empty() { text.to_owned() } else { said.clone() };
    match outcome.code {
        Ok(MODULE_AT_FAULT) => {
            CompileError::Refused(or("the compiler refuses the module and gives no reason"))
        }
        Ok(OVER_A_LIMIT) => {
            let text = or("compiling takes more than [extensions] compile = { memory, time } allows");
            CompileError::Limit(text)
        }
        Ok(code) => CompileError::Failed(or(&format!("the compiler failed with exit code {code}"))),
        Err(SIGXCPU) => CompileError::Limit(over_time(settings)),
        // What Rust says when it gets no memory.
        Err(SIGABRT) if said.contains("memory allocation of") => CompileError::Limit(over_memory(settings)),
        Err(signal) => {
            let colon = if said.is_empty() { "" } else { ": " };
            CompileError::Failed(format!("signal {signal} ended the compiler{colon}{said}"))
        }
    }
}

fn failed(failure: Failure, settings: &Extensions) -> CompileError {
    let text = |what: &str, error: io::Error| CompileError::Failed(format!("{what}: {error}"));
    match failure {
        Failure::Start(error) => text(&format!("cannot start {NAME}"), error),
        Failure::Late(_) => CompileError::Limit(over_time(settings)),
        Failure::Input(error) => match error.downcast::<ModuleError>() {
            // It was changed, or could not be read, since it was hashed: the next try finds it as it is then.
            Ok(error) => CompileError::Failed(error.to_string()),
            Err(error) => text("cannot read the module", error),
        },
        Failure::Output(error) => CompileError::Failed(error.to_string()),
        Failure::Unread => CompileError::Failed("the compiler did not read the whole module".into()),
        Failure::Lost(error) => text(&format!("cannot talk to {NAME}"), error),
    }
}

fn over_time(settings: &Extensions) -> String {
    let time = humantime::format_duration(settings.compile_time);
    format!("compiling takes longer than [extensions] compile = {{ time = \"{time}\" }} allows")
}

fn over_memory(settings: &Extensions) -> String {
    let memory = size::format(settings.compile_memory);
    format!("compiling takes more than [extensions] compile = {{ memory = \"{memory}\" }} allows")
}

/// On one line, without what a terminal might take for a command.
fn plain(text: &str) -> String {
    text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests;
