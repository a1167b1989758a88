//! PostgreSQL writes a checkpoint before filesystems are frozen, so that a server that starts from the snapshot has little to recover.
//!
//! A snapshot of frozen filesystems is consistent for PostgreSQL with or without that: what it recovers from is in its log of changes. After
//! a checkpoint there is next to nothing in that log. Servers are asked through `psql`, which the operator grants with these arguments alone.

// Types and a trait, from `wit/`.
wit_bindgen::generate!({ world: "pg-quiesce", generate_all });

mod settings;

use std::cell::Cell;

use exports::waga::extension::freeze_hooks::Guest;
use settings::{IfDown, Settings};
use waga::extension::log::{Level, log};
use waga::extension::{config, exec};

/// What psql's exit code says of a server that cannot be reached.
const NOT_CONNECTED: i32 = 2;

struct PgQuiesce;
export!(PgQuiesce);

thread_local! {
    /// How many servers wrote a checkpoint before the freeze; kept until the thaw.
    static WRITTEN: Cell<usize> = const { Cell::new(0) };
}

impl Guest for PgQuiesce {
    fn freeze() -> Result<(), String> {
        let settings = Settings::read(&config::get())?;
        for port in &settings.ports {
            if checkpoint(&settings, *port)? {
                WRITTEN.set(WRITTEN.get() + 1);
                log(Level::Info, &format!("PostgreSQL on port {port} has written a checkpoint"));
            } else {
                log(Level::Warning, &format!("PostgreSQL on port {port} does not run: nothing to write"));
            }
        }
        Ok(())
    }

    fn thaw() -> Result<(), String> {
        let written = WRITTEN.get();
        let servers = if written == 1 { "server" } else { "servers" };
        log(Level::Info, &format!("thawed, {written} {servers} of PostgreSQL with a checkpoint"));
        Ok(())
    }
}

/// Has the server on a port write a checkpoint; whether it runs.
fn checkpoint(settings: &Settings, port: u16) -> Result<bool, String> {
    let (program, args) = settings.command(port);
    let output = exec::run(&program, &args, None)?;
    match output.exit_code {
        Some(0) => Ok(true),
        Some(NOT_CONNECTED) if settings.if_down == IfDown::Skip => Ok(false),
        code => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let how = match (code, output.signal) {
                (Some(code), _) => format!("exit code {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            };
            Err(format!("no checkpoint of PostgreSQL on port {port}: {how}: {said}"))
        }
    }
}
