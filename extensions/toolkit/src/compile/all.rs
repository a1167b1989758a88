//! `waga-ext compile --all`: the cache of a configuration, filled before an agent starts with it.

use std::path::Path;
use std::process::ExitCode;

use waga::cli::{Cli, Name, Options};
use waga::config::{self, Config, Places};
use waga_builtins::ExtensionState;

use super::Runtime;

/// Fills it; the program's exit code.
pub(super) fn run(path: &Path, runtime: Option<Runtime>) -> ExitCode {
    let cli = Cli { name: Name::Waga, config: Some(path.to_owned()), options: Options::default() };
    let mut config = match Config::load(&cli, &Places::system()) {
        Ok(resolved) => resolved.config,
        Err(error) => {
            eprintln!("waga-ext: {error}");
            return ExitCode::FAILURE;
        }
    };
    config.make_absolute();
    config.find_packs();
    if let Some(runtime) = runtime {
        config.extensions.runtime = match runtime {
            Runtime::Native => config::Runtime::Native,
            Runtime::Pulley => config::Runtime::Pulley,
        };
    }
    let prepared = waga::prepare(&config);
    let mut code = ExitCode::SUCCESS;
    for extension in &prepared.extensions {
        let name = &extension.name;
        match (extension.state, extension.reason.as_deref()) {
            (ExtensionState::Ready, _) => println!("{name}: compiled"),
            (ExtensionState::Disabled, reason) => println!("{name}: {}", reason.unwrap_or("switched off")),
            (_, reason) => {
                eprintln!("waga-ext: {name}: {}", reason.unwrap_or("cannot be called"));
                code = ExitCode::FAILURE;
            }
        }
        for fault in &extension.faults {
            eprintln!("waga-ext: {name}: {fault}");
            code = ExitCode::FAILURE;
        }
    }
    if prepared.extensions.is_empty() {
        println!("{} declares no extension", path.display());
    }
    code
}
