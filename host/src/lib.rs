//! The waga daemon: a guest agent that behaves as qemu-ga does.
//!
//! A request takes six hops: `channel` (bytes) → `wire` (framing, request) → `dispatch` (lookup, policy, one call site) → `registry`
//! (name → provider) → a command of `waga-builtins` → `wire` (one reply line).

pub mod audit;
mod background;
pub mod call;
pub mod channel;
mod check;
pub mod cli;
pub mod config;
mod daemon;
pub mod dispatch;
#[cfg(feature = "extensions")]
pub mod extension;
mod log;
mod nearest;
pub mod policy;
#[cfg(feature = "extensions")]
mod prepare;
pub mod registry;
mod reload;
mod schema;
mod service;
mod stats;
pub mod wire;

use std::io::{self, Write};
use std::process::ExitCode;

use cli::Wish;
use config::{Config, Places};
pub use nearest::nearest;
#[cfg(feature = "extensions")]
pub use prepare::{Prepared, prepare};

/// Runs what the command line asks for; the program's exit code.
pub fn run() -> ExitCode {
    let wish = match cli::parse(std::env::args_os()) {
        Ok(wish) => wish,
        Err(text) => return fail(&text),
    };
    match wish {
        Wish::Run(cli) => daemon::run(*cli).unwrap_or_else(|text| fail(&text)),
        Wish::Check(cli, json) => check::run(&cli, json),
        Wish::Schema(cli, format, command) => schema::run(&cli, format, command.as_deref()),
        Wish::Call(words) => call::run(words.into_iter()),
        Wish::Print(text) => print(&text),
        Wish::DumpConf(cli) => {
            let text = Config::load(&cli, &Places::system()).and_then(|resolved| resolved.dump());
            text.map_or_else(|error| fail(&error.to_string()), |text| print(&text))
        }
    }
}

/// Prints what was asked for. That its reader had enough is no failure: `head` closes the pipe.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(&format!("cannot write to stdout: {}", waga_builtins::os_text(&error)))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn fail(text: &str) -> ExitCode {
    log::say(text);
    ExitCode::FAILURE
}
