//! `waga-ext`: the tool of those who write extensions, and the compiler that the daemon starts as a child.
//!
//! Each verb has a module of its own with its options. What is asked for goes to standard output, progress and errors to standard error.

mod build;
mod call;
mod compile;
mod component;
mod inspect;
mod wit_text;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Builds, inspects, tries and compiles extensions of the waga guest agent.
#[derive(Debug, Parser)]
#[command(name = "waga-ext", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Build(build::Options),
    Inspect(inspect::Options),
    Call(call::Options),
    Compile(compile::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Build(options) => build::run(&options),
        Verb::Inspect(options) => inspect::run(&options),
        Verb::Call(options) => call::run(&options).map(|()| String::new()),
        Verb::Compile(options) => return compile::run(&options),
    };
    match done.and_then(|text| print(&text).context("cannot write to stdout")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waga-ext: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was asked for. That its reader had enough is no failure: `head` closes the pipe.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
