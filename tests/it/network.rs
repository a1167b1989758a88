//! Interfaces and routes, beside the original on this machine, and in a network of their own.

use std::process::Command;

use serde_json::{Value, json};

use crate::info::beside;
use crate::{original, program, waga};

const COUNTERS: [&str; 8] =
    ["rx-bytes", "rx-packets", "rx-errs", "rx-dropped", "tx-bytes", "tx-packets", "tx-errs", "tx-dropped"];

#[test]
fn interfaces_are_those_of_the_original() {
    let Some((mut ours, theirs)) = beside("guest-network-get-interfaces", &COUNTERS, |setup| setup) else {
        return;
    };
    for interface in ours["return"].as_array_mut().unwrap() {
        assert_eq!(interface["statistics"].as_object().unwrap().len(), COUNTERS.len(), "{interface}");
        // The original has none for an interface without an address (reference §5, 23).
        if interface.get("ip-addresses").is_none() {
            interface.as_object_mut().unwrap().remove("statistics");
        }
    }
    assert_eq!(ours, theirs);
}

#[test]
fn the_loopback_interface_is_there() {
    crate::each(|program| {
        let interfaces = program.agent().client().run("guest-network-get-interfaces", json!({})).unwrap();
        let lo = interfaces.as_array().unwrap().iter().find(|interface| interface["name"] == "lo").unwrap();
        assert_eq!(lo["hardware-address"], "00:00:00:00:00:00");
        assert_eq!(
            lo["ip-addresses"][0],
            json!({"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8})
        );
    });
}

#[test]
fn routes_are_those_of_the_original() {
    let Some((ours, mut theirs)) = beside("guest-network-get-route", &["refcnt", "use"], |setup| setup)
    else {
        return;
    };
    for route in theirs["return"].as_array_mut().unwrap() {
        // It widens the flags of IPv6 as a signed number (reference §5, 23).
        let flags = route["flags"].as_u64().unwrap();
        route["flags"] = json!(flags & u64::from(u32::MAX));
    }
    assert_eq!(ours, theirs);
}

#[test]
fn routes_are_those_of_the_kernel() {
    let Some(agent) = waga() else { return };
    let routes = agent.client().run("guest-network-get-route", json!({})).unwrap();
    let rows = |file: &str, heads: usize| {
        std::fs::read_to_string(file).map_or(0, |text| text.lines().count() - heads)
    };
    let of =
        |version: u8| routes.as_array().unwrap().iter().filter(|route| route["version"] == version).count();
    assert_eq!((of(4), of(6)), (rows("/proc/net/route", 1), rows("/proc/net/ipv6_route", 0)));
    for route in routes.as_array().unwrap() {
        assert!(route["flags"].as_u64().unwrap() <= u64::from(u32::MAX), "{route}");
    }
}

/// What an agent tells of interfaces and of routes in a network of its own that `script` makes; `None` if that may not be made here.
fn alone(script: &str, agent: &std::path::Path) -> Option<(Value, Value)> {
    let wrapper = |program: &std::path::Path, command: &str| {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let line = format!("{script}; exec \"$0\" -m unix-listen -p sock -t .");
        let mut child = Command::new("unshare")
            .args(crate::NAMESPACE_OF_ROOT.iter().filter(|_| !nix::unistd::geteuid().is_root()))
            .args(["-n", "sh", "-c", &line])
            .arg(program)
            .current_dir(dir.path())
            .spawn()
            .ok()?;
        let until = std::time::Instant::now() + waga_tests::client::PATIENCE;
        let mut client = loop {
            if let Ok(client) = waga_tests::client::Client::connect(&socket) {
                break client;
            }
            if child.try_wait().unwrap().is_some() || std::time::Instant::now() > until {
                return None;
            }
            std::thread::yield_now();
        };
        let reply = client.ask(&json!({"execute": command})).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        Some(reply)
    };
    Some((wrapper(agent, "guest-network-get-interfaces")?, wrapper(agent, "guest-network-get-route")?))
}

#[test]
fn a_network_without_addresses_still_has_its_interfaces() {
    if !program().is_waga() {
        return;
    }
    let Some((interfaces, routes)) = alone("true", program().path()) else {
        waga_tests::agent::left_out(
            "a network namespace of its own, which needs unshare, and root or the right to be root in one of users",
        );
        return;
    };
    let lo = &interfaces["return"][0];
    assert_eq!((&lo["name"], lo.get("ip-addresses")), (&json!("lo"), None));
    assert_eq!(lo["statistics"]["rx-bytes"], 0);
    assert!(routes["return"].is_array(), "{routes}");
    if let Some(original) = original() {
        let (mut theirs, _) = alone("true", original.path()).unwrap();
        theirs["return"][0]["statistics"] = lo["statistics"].clone();
        assert_eq!(interfaces["return"][0], theirs["return"][0]);
    }
}

#[test]
fn a_network_with_many_addresses_is_told_whole() {
    if !program().is_waga() || Command::new("ip").arg("-V").output().is_err() {
        return;
    }
    let script = "ip link set lo up; for i in $(seq 1 200); do ip addr add 10.9.$i.1/20 dev lo; done; \
        ip addr add 10.8.0.1/32 label lo:x dev lo; ip -6 addr add fd00:5::1/77 dev lo nodad; \
        ip route add 10.20.0.0/16 dev lo metric 4000000000";
    let Some((ours, routes)) = alone(script, program().path()) else { return };
    let lo = ours["return"].as_array().unwrap().iter().find(|interface| interface["name"] == "lo").unwrap();
    let addresses = lo["ip-addresses"].as_array().unwrap();
    assert!(
        addresses.contains(&json!({"ip-address": "10.9.200.1", "ip-address-type": "ipv4", "prefix": 20}))
    );
    assert!(addresses.contains(&json!({"ip-address": "fd00:5::1", "ip-address-type": "ipv6", "prefix": 77})));
    let far = |route: &&Value| route["destination"] == "10.20.0.0";
    let route = routes["return"].as_array().unwrap().iter().find(far).unwrap();
    assert_eq!((&route["mask"], &route["gateway"]), (&json!("255.255.0.0"), &json!("0.0.0.0")));
    assert_eq!(route["metric"], json!(-294_967_296), "as the original, a signed number of 32 bits");
    if let Some(original) = original() {
        let (mut theirs, _) = alone(script, original.path()).unwrap();
        let mut ours = ours;
        for reply in [&mut ours, &mut theirs] {
            for interface in reply["return"].as_array_mut().unwrap() {
                interface.as_object_mut().unwrap().remove("statistics");
            }
        }
        assert_eq!(ours["return"], theirs["return"]);
    }
}
