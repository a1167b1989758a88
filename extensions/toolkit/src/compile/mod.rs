//! `waga-ext compile`: the daemon's compiler. A module comes in on standard input, what it was compiled to goes out on standard output.
//!
//! The compiler is large and what it reads may be hostile, so it runs in a child that can do nothing but compute (`confine`), within
//! limits. This process starts it, waits, and says in one line what became of it; nothing half done reaches standard output.

mod all;
mod calls;
mod confine;
mod product;
mod verdict;

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use clap::{Args, ValueEnum};
use waga::extension::compiled::Compiled;
use waga::extension::engine;

use confine::Root;
use verdict::Failure;

/// What is compiled, and read back, takes memory of the child, but for so many bytes.
const BESIDE: u64 = 1 << 20;

/// How the child begins, before it reads anything, where this kernel does not keep all from it that is to be kept.
const LACKS: &str = "not kept from the compiler: ";

/// Bytes of memory and seconds of CPU time to compile for a call here: its author may well try what no agent would take.
const AT_HAND: (u64, u64) = (4 << 30, 300);

/// The most of what the child says that is kept.
const WORDS: u64 = 64 << 10;

/// Compiles a component from stdin to stdout, as the agent has it done.
///
/// With --all it fills the cache of a configuration instead: an image that is
/// made so needs no waga-ext, and its cache may be on a read-only filesystem.
///
/// Written are a line of JSON, {"artifact": BYTES, "description": BYTES}, then
/// the artifact and the description (JSON) themselves. An error is one line on
/// stderr, and so is, beside what was compiled, what this kernel does not keep
/// from the compiler. Exit codes:
///
///   0  compiled
///   1  something here failed
///   2  the module is at fault, and will be at every try
///   3  a limit was not enough
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// What it runs as.
    #[arg(long, value_enum, required_unless_present = "all")]
    runtime: Option<Runtime>,
    /// Compile all of a configuration into its cache.
    ///
    /// Scripts are run once for what they define. The exit code is 1 if
    /// an agent that starts with this would not run all of them.
    #[arg(long, verbatim_doc_comment)]
    all: bool,
    /// Its folder, or its .toml file.
    #[arg(short, long, value_name = "PATH", default_value = "/etc/waga", requires = "all")]
    config: PathBuf,
    /// Stack of a component.
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 10)]
    stack: usize,
    /// Memory of the compiler.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    memory: u64,
    /// CPU time of the compiler.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    time: u64,
    /// The largest module.
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    module_size: u64,
    /// Be the child.
    #[arg(long, hide = true)]
    inside: bool,
    /// Be that of somebody who tries a component.
    #[arg(long, hide = true)]
    at_hand: bool,
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
    if options.all {
        return all::run(&options.config, options.runtime);
    }
    let done = match (options.runtime, options.inside) {
        (Some(runtime), true) => inside(options, runtime),
        (Some(runtime), false) => outside(options, runtime),
        // clap asks for it.
        (None, _) => Err(Failure::here("say --runtime native or --runtime pulley".to_owned())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.line());
            failure.exit_code()
        }
    }
}

/// The child: gives up what it could do, then reads.
fn inside(options: &Options, runtime: Runtime) -> Result<(), Failure> {
    let root = if options.at_hand { Root::GivenIfPossible } else { Root::Given };
    let lacks = confine::confine(options.memory, options.time, root)
        .map_err(|error| Failure::here(format!("cannot confine the compiler: {error}")))?;
    if !lacks.is_empty() {
        eprintln!("{LACKS}{}", lacks.join("; ").replace(char::is_control, " "));
    }
    let mut module = Vec::new();
    let read = io::stdin().lock().take(options.module_size.saturating_add(1)).read_to_end(&mut module);
    read.map_err(|error| match error.kind() {
        // A vector that grows while it reads asks whether it may.
        io::ErrorKind::OutOfMemory => Failure::memory(),
        _ => Failure::here(format!("cannot read the module: {error}")),
    })?;
    if module.len() as u64 > options.module_size {
        return Err(Failure::limit(format!(
            "the module has more than {} bytes: [extensions] module-size",
            options.module_size
        )));
    }
    let product = product::of(&module, runtime.into(), options.stack)?;
    product.write(&mut io::stdout().lock()).map_err(|error| Failure::here(format!("cannot write: {error}")))
}

/// The parent: the daemon's words in, its answer out.
fn outside(options: &Options, runtime: Runtime) -> Result<(), Failure> {
    let answer = ask(options, runtime, None)?;
    let mut out = io::stdout().lock();
    out.write_all(&answer.product)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::here(format!("cannot write to stdout: {error}")))?;
    if let Some(lacks) = answer.lacks {
        eprintln!("{lacks}");
    }
    Ok(())
}

/// Confines this process, which is to read a component that may be anybody's and to print what it finds.
///
/// # Errors
/// The kernel does not let us.
pub(crate) fn confine_reader() -> io::Result<()> {
    confine::confine_reader(AT_HAND.0, AT_HAND.1)
}

/// Compiles what is in memory, in the child, for a call here.
///
/// # Errors
/// What went wrong, in one line.
pub(crate) fn in_child(module: Vec<u8>, runtime: Runtime, stack: usize) -> Result<Compiled, String> {
    let options = Options {
        runtime: Some(runtime),
        all: false,
        config: PathBuf::new(),
        stack,
        memory: AT_HAND.0,
        time: AT_HAND.1,
        module_size: module.len() as u64,
        inside: false,
        at_hand: true,
    };
    let answer = ask(&options, runtime, Some(module)).map_err(|failure| failure.line())?;
    Compiled::read(&answer.product, options.memory)
}

/// What the child made, and its word on what it could have done.
struct Answer {
    product: Vec<u8>,
    lacks: Option<String>,
}

/// Starts the child with nothing of our own but the three streams. It reads the module, or what is on our standard input.
fn ask(options: &Options, runtime: Runtime, module: Option<Vec<u8>>) -> Result<Answer, Failure> {
    let failed = |what: &str, error: io::Error| Failure::here(format!("cannot {what} the compiler: {error}"));
    let program = std::env::current_exe().map_err(|error| failed("find", error))?;
    let runtime = match runtime {
        Runtime::Native => "native",
        Runtime::Pulley => "pulley",
    };
    let mut child = Command::new(program)
        .args(["compile", "--inside", "--runtime", runtime])
        .args(["--stack", &options.stack.to_string()])
        .args(["--memory", &options.memory.to_string()])
        .args(["--time", &options.time.to_string()])
        .args(["--module-size", &options.module_size.to_string()])
        .args(options.at_hand.then_some("--at-hand"))
        .env_clear()
        .current_dir("/")
        .stdin(if module.is_some() { Stdio::piped() } else { Stdio::inherit() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed("start", error))?;
    let (input, mut output, words) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let (Some(mut input), Some(module)) = (input, module) {
        // One that reads no more says why as it ends.
        thread::spawn(move || drop(input.write_all(&module)));
    }
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
    let (lacks, words) = first_words(&words);
    if let Some(failure) = verdict::of(status, words, options) {
        return Err(failure);
    }
    read.map_err(|error| failed("read from", error))?;
    Ok(Answer { product, lacks })
}

/// What the child said of itself before it read anything, and the rest.
fn first_words(words: &[u8]) -> (Option<String>, &[u8]) {
    if !words.starts_with(LACKS.as_bytes()) {
        return (None, words);
    }
    let end = words.iter().position(|byte| *byte == b'\n').unwrap_or(words.len());
    (Some(String::from_utf8_lossy(&words[..end]).into_owned()), &words[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_child_says_of_itself_is_no_part_of_how_it_ended() {
        let lacks = format!("{LACKS}files; sockets");
        let said = format!("{lacks}\nit is no component\n");
        assert_eq!(first_words(said.as_bytes()), (Some(lacks.clone()), &b"\nit is no component\n"[..]));
        assert_eq!(first_words(lacks.as_bytes()), (Some(lacks.clone()), &b""[..]));
        // Later it may be somebody else's word.
        let late = format!("panicked\n{lacks}\n");
        assert_eq!(first_words(late.as_bytes()), (None, late.as_bytes()));
    }
}
