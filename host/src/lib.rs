//! The waga daemon: a guest agent that behaves as qemu-ga does.
//!
//! A request takes six hops: `channel` (bytes) → `wire` (framing, request) → `dispatch` (lookup, policy, one call site) → `registry`
//! (name → provider) → a command of `waga-builtins` → `wire` (one reply line).

mod call;
pub mod channel;
pub mod cli;
pub mod config;
mod daemon;
pub mod dispatch;
mod log;
pub mod policy;
pub mod registry;
pub mod wire;

use std::process::ExitCode;

use cli::Wish;
use config::Config;

/// Runs what the command line asks for; the program's exit code.
pub fn run() -> ExitCode {
    if let Some(words) = call::words(std::env::args_os()) {
        return call::run(words);
    }
    let wish = match cli::parse(std::env::args_os()) {
        Ok(wish) => wish,
        Err(text) => return fail(&text),
    };
    let cli = match wish {
        Wish::Run(cli) => *cli,
        Wish::Print(text) => {
            #[expect(clippy::print_stdout, reason = "what was asked for")]
            {
                println!("{text}");
            }
            return ExitCode::SUCCESS;
        }
    };
    let started = Config::load(cli).map_err(|error| error.to_string()).and_then(|config| {
        log::start(config.log_file.as_deref(), config.verbose).map_err(|error| error.to_string())?;
        Ok(config)
    });
    match started.and_then(|config| daemon::run(config).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => fail(&text),
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}
