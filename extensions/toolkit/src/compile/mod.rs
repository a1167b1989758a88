//! `waga-ext compile`: the daemon's compiler. A module comes in on standard input, what it was compiled to goes out on standard output.
//!
//! The compiler is large and what it reads may be hostile, so it runs in a child that can do nothing but compute (`confine`), within
//! limits. This process starts it, waits, and says in one line what became of it; nothing half done reaches standard output.

mod confine;
mod product;
mod verdict;

use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use clap::{Args, ValueEnum};
use waga::extension::engine;

use verdict::Failure;

/// What is compiled, and read back, takes memory of the child, but for so many bytes.
const BESIDE: u64 = 1 << 20;

/// The most of what the child says that is kept.
const WORDS: u64 = 64 << 10;

/// Compiles a component from stdin to stdout, as the agent has it done.
///
/// Written are a line of JSON, {"artifact": BYTES, "description": BYTES}, then
/// the artifact and the description (JSON) themselves. An error is one line on
/// stderr. Exit codes:
///
///   0  compiled
///   1  something here failed
///   2  the module is at fault, and will be at every try
///   3  a limit was not enough
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// What it runs as.
    #[arg(long, value_enum)]
    runtime: Runtime,
    /// Stack of a component.
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 10)]
    stack: usize,
    /// Memory of the compiler.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    memory: u64,
    /// CPU time of the compiler.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    time: u64,
    /// The largest module.
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    module_size: u64,
    /// Be the child.
    #[arg(long, hide = true)]
    inside: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Runtime {
    /// Machine code.
    Native,
    /// The interpreter's code.
    Pulley,
}

impl From<Runtime> for engine::Kind {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Native => Self::Native,
            Runtime::Pulley => Self::Pulley,
        }
    }
}

/// Compiles; the program's exit code.
pub(crate) fn run(options: &Options) -> ExitCode {
    let done = if options.inside { inside(options) } else { outside(options) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.line());
            failure.exit_code()
        }
    }
}

/// The child: gives up what it could do, then reads.
fn inside(options: &Options) -> Result<(), Failure> {
    confine::confine(options.memory, options.time)
        .map_err(|error| Failure::here(format!("cannot confine the compiler: {error}")))?;
    let mut module = Vec::new();
    let read = io::stdin().lock().take(options.module_size.saturating_add(1)).read_to_end(&mut module);
    read.map_err(|error| Failure::here(format!("cannot read the module: {error}")))?;
    if module.len() as u64 > options.module_size {
        return Err(Failure::limit(format!(
            "the module has more than {} bytes: [extensions] module-size",
            options.module_size
        )));
    }
    let product = product::of(&module, options.runtime.into(), options.stack)?;
    product.write(&mut io::stdout().lock()).map_err(|error| Failure::here(format!("cannot write: {error}")))
}

/// The parent: starts the child with nothing of our own but the three streams.
fn outside(options: &Options) -> Result<(), Failure> {
    let failed = |what: &str, error: io::Error| Failure::here(format!("cannot {what} the compiler: {error}"));
    let program = std::env::current_exe().map_err(|error| failed("find", error))?;
    let runtime = match options.runtime {
        Runtime::Native => "native",
        Runtime::Pulley => "pulley",
    };
    let mut child = Command::new(program)
        .args(["compile", "--inside", "--runtime", runtime])
        .args(["--stack", &options.stack.to_string()])
        .args(["--memory", &options.memory.to_string()])
        .args(["--time", &options.time.to_string()])
        .args(["--module-size", &options.module_size.to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed("start", error))?;
    let (mut output, words) = (child.stdout.take(), child.stderr.take());
    let words = thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut words) = words {
            let read = words.by_ref().take(WORDS).read_to_end(&mut kept);
            // What is too much is read as well, or the child would wait for ever.
            let _ = read.and_then(|_| io::copy(&mut words, &mut io::sink()));
        }
        kept
    });
    let mut product = Vec::new();
    // It is not to be believed: one that something hostile has taken over would say more than this process has room for.
    let most = options.memory.saturating_add(BESIDE);
    let read = output.as_mut().map_or(Ok(0), |output| output.take(most + 1).read_to_end(&mut product));
    if product.len() as u64 > most {
        let _ = child.kill().and_then(|()| child.wait());
        return Err(Failure::limit(format!(
            "what it is compiled to has more than {most} bytes: [extensions] compile.memory"
        )));
    }
    let status = child.wait().map_err(|error| failed("wait for", error))?;
    let words = words.join().unwrap_or_default();
    if let Some(failure) = verdict::of(status, &words, options) {
        return Err(failure);
    }
    read.map_err(|error| failed("read from", error))?;
    let mut out = io::stdout().lock();
    out.write_all(&product)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::here(format!("cannot write to stdout: {error}")))
}
