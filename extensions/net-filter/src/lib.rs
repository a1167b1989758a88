//! Hides interfaces and addresses from those who ask for the guest's network, and take the wrong one. It wraps the agent's own command:
//! asks what is below, leaves out what `config` in `agent.toml` names, and hands on the rest as it came.

mod hidden;

// The traits and functions of `wit/`.
wit_bindgen::generate!({ world: "net-filter", generate_all });

use exports::waga::extension::handler::{Error, Guest};
use serde_json::Value;
use waga::extension::{config, next};

use crate::hidden::Hidden;

struct NetFilter;
export!(NetFilter);

impl Guest for NetFilter {
    fn commands() -> Result<Vec<String>, String> {
        Ok(vec!["guest-network-get-interfaces".into()])
    }

    fn handle(_: String, arguments: String) -> Result<String, Error> {
        let hidden = Hidden::read(&config::get()).map_err(error)?;
        // An error of what is below goes to the caller as it is.
        let told = next::next(&arguments)?;
        let mut interfaces: Vec<Value> = serde_json::from_str(&told).map_err(|why| error(why.to_string()))?;
        interfaces.retain(|interface| !is(interface, "name", |name| hidden.has_interface(name)));
        for interface in interfaces.iter_mut().filter_map(Value::as_object_mut) {
            let Some(Value::Array(addresses)) = interface.get_mut("ip-addresses") else { continue };
            addresses.retain(|address| !is(address, "ip-address", |it| hidden.has_address(it)));
            // As the agent tells of one that has no address.
            if addresses.is_empty() {
                interface.remove("ip-addresses");
            }
        }
        serde_json::to_string(&interfaces).map_err(|why| error(why.to_string()))
    }
}

/// Whether a member of an object is a text that is to be hidden.
fn is(object: &Value, member: &str, hidden: impl Fn(&str) -> bool) -> bool {
    object[member].as_str().is_some_and(hidden)
}

fn error(desc: String) -> Error {
    Error { class: "GenericError".into(), desc }
}
