//! Adds `guest-@name@` to the agent: `wit/@name@.wit` says what it takes and gives.

// Types and a trait, from `wit/`.
wit_bindgen::generate!({ world: "@name@", generate_all });

use exports::example::extension::commands::Guest;
use waga::extension::log::{Level, log};

struct Extension;
export!(Extension);

impl Guest for Extension {
    fn guest_@name_@(name: String) -> Result<String, String> {
        panics_are_logged();
        if name.is_empty() {
            // The caller gets this as the description of an error reply.
            return Err("there is nobody to greet".into());
        }
        log(Level::Info, "somebody was greeted");
        Ok(format!("Hello, {name}!"))
    }
}

/// There is no standard error here: without this nobody would know why a call failed. First thing in each command, for each call begins anew.
fn panics_are_logged() {
    std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
}
