//! A command that asks the service manager for a service. It may run `systemctl`, with the arguments that `agent.toml` lists and no others:
//! which services can be asked for is the operator's decision.

// Types and a trait, from `wit/`.
wit_bindgen::generate!({ world: "service-status", generate_all });

use exports::acme::service_status::services::{Guest, Service};
use waga::extension::{config, exec};

struct ServiceStatus;
export!(ServiceStatus);

impl Guest for ServiceStatus {
    fn guest_acme_service_status(unit: String) -> Result<Service, String> {
        // What the operator did not grant is refused by the agent, whose words the caller gets.
        let output = exec::run(&systemctl()?, &["is-active".into(), unit.clone()], None)?;
        // It tells the state by its output; its exit code says no more.
        let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if state.is_empty() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("systemctl does not tell the state of {unit}: {why}"));
        }
        Ok(Service { unit, active: state == "active", state })
    }
}

/// Where the program is, from `config` in `agent.toml`.
fn systemctl() -> Result<String, String> {
    let settings: serde_json::Value =
        serde_json::from_str(&config::get()).map_err(|error| error.to_string())?;
    Ok(settings["systemctl"].as_str().unwrap_or("/usr/bin/systemctl").to_owned())
}
