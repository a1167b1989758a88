//! `waga-ext`: the tool of those who write extensions, and the compiler that the daemon starts as a child.
//!
//! Each verb has a module of its own with its options. What is asked for goes to standard output, progress and errors to standard error.

mod build;
mod call;
mod compile;
mod component;
mod inspect;
mod new;
mod pack;
mod sandbox;
mod store;
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
    New(new::Options),
    Build(build::Options),
    Inspect(inspect::Options),
    Call(call::Options),
    Keygen(pack::keygen::Options),
    Pack(pack::make::Options),
    Sign(pack::sign::Options),
    Verify(pack::verify::Options),
    /// Installs a pack, once you saw whose it is and what it asks for.
    ///
    /// What you agree to is written to agent.d/pack-NAME.toml, where you may take
    /// away what it shall not have. Nothing is installed that the agent would not
    /// run: it is compiled and tried first. An agent that is running sees it when it
    /// reloads. The very pack that is installed once more mends its files.
    #[command(verbatim_doc_comment)]
    Install(store::Incoming),
    List(store::list::Options),
    /// Switches a pack on that was switched off.
    Enable(store::switch::Options),
    /// Switches a pack off: nothing of it is there, and all of it is kept.
    Disable(store::switch::Options),
    /// Puts another version of a pack in the place of the installed one.
    ///
    /// Shown is what it asks for that the other did not. What you changed in
    /// agent.d/pack-NAME.toml stays as you have it. The version before is kept for
    /// `waga-ext rollback`.
    #[command(verbatim_doc_comment)]
    Upgrade(store::Incoming),
    Rollback(store::upgrade::Back),
    /// Removes a pack, and the version before it.
    Remove(store::switch::Options),
    Doctor(store::doctor::Options),
    Compile(compile::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::New(options) => new::run(&options),
        Verb::Build(options) => build::run(&options),
        Verb::Inspect(options) => inspect::run(&options),
        Verb::Call(options) => call::run(&options).map(|()| String::new()),
        Verb::Keygen(options) => pack::keygen::run(&options),
        Verb::Pack(options) => pack::make::run(&options),
        Verb::Sign(options) => pack::sign::run(&options),
        Verb::Verify(options) => pack::verify::run(&options),
        Verb::Install(options) => store::install::run(&options),
        Verb::List(options) => store::list::run(&options),
        Verb::Enable(options) => store::switch::run(&options, true),
        Verb::Disable(options) => store::switch::run(&options, false),
        Verb::Upgrade(options) => store::upgrade::run(&options),
        Verb::Rollback(options) => store::upgrade::back(&options),
        Verb::Remove(options) => store::switch::remove(&options),
        Verb::Doctor(options) => store::doctor::run(&options),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Help is read on terminals of 80 columns.
    #[test]
    fn every_page_of_help_fits_a_terminal() {
        fn look(command: &mut clap::Command, seen: &mut Vec<String>) {
            for page in [command.render_help().to_string(), command.render_long_help().to_string()] {
                let wide: Vec<&str> = page.lines().filter(|line| line.chars().count() > 80).collect();
                assert!(wide.is_empty(), "{}: {wide:#?}", command.get_name());
            }
            seen.push(command.get_name().to_owned());
            command.get_subcommands_mut().for_each(|verb| look(verb, seen));
        }
        let mut command = Cli::command();
        command.build();
        let mut seen = Vec::new();
        look(&mut command, &mut seen);
        assert!(seen.iter().any(|name| name == "build") && seen.len() > 4, "{seen:?}");
    }
}
