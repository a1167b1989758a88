//! What the guest tells of itself: system, names, clock, users, load, processors, memory; each beside the original on this machine.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use waga_tests::agent::Setup;

use crate::table::Table;
use crate::{each, original, program};

/// What a command returns, ours and the original's, with members that move (`moving`) made still. `None` without an original that has it.
///
/// The machine may change between the two; so ours is asked before and after, until nothing did.
pub(crate) fn beside(
    command: &str,
    moving: &[&str],
    setup: impl Fn(Setup) -> Setup,
) -> Option<(Value, Value)> {
    let (ours, theirs) = (setup(program().setup()).start(), setup(original()?.setup()).start());
    let (mut our_client, mut their_client) = (ours.client(), theirs.client());
    loop {
        let request = json!({"execute": command});
        let reply = their_client.ask(&request).unwrap();
        if reply["error"]["class"] == "CommandNotFound" {
            return None;
        }
        let still = |mut reply: Value| {
            make_still(&mut reply, moving);
            reply
        };
        let before = still(our_client.ask(&request).unwrap());
        let reply = still(their_client.ask(&request).unwrap());
        if still(our_client.ask(&request).unwrap()) == before {
            return Some((before, reply));
        }
    }
}

/// Replaces members of these names by what kind of value they are.
fn make_still(value: &mut Value, moving: &[&str]) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::Number(_) if moving.contains(&&**name) => *value = json!("a number"),
                    value => make_still(value, moving),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| make_still(value, moving)),
        _ => {}
    }
}

/// A list put in order by what its entries say: the original lists folders in the order they happen to have.
pub(crate) fn sorted(mut reply: Value) -> Value {
    reply["return"].as_array_mut().unwrap().sort_by_key(|entry| {
        let mut members: Vec<String> =
            entry.as_object().unwrap().iter().map(|(name, value)| format!("{name}{value}")).collect();
        members.sort();
        members
    });
    reply
}

#[test]
fn the_same_is_told_as_by_the_original() {
    for command in [
        "guest-get-osinfo",
        "guest-get-host-name",
        "guest-get-timezone",
        "guest-fsfreeze-status",
        "guest-get-memory-block-info",
        "guest-get-memory-blocks",
        "guest-get-vcpus",
    ] {
        if let Some((ours, theirs)) = beside(command, &[], |setup| setup) {
            if ours["return"].is_array() {
                assert_eq!(sorted(ours), sorted(theirs), "{command}");
            } else {
                assert_eq!(ours, theirs, "{command}");
            }
        }
    }
}

#[test]
fn counters_have_the_same_members_as_the_originals() {
    let times = "user nice system idle iowait irq softirq steal guest guestnice";
    let loads = "load1m load5m load15m";
    for (command, moving) in [("guest-get-cpustats", times), ("guest-get-load", loads)] {
        let moving: Vec<&str> = moving.split(' ').collect();
        if let Some((ours, theirs)) = beside(command, &moving, |setup| setup) {
            assert_eq!(ours, theirs, "{command}");
        }
    }
}

#[test]
fn processor_times_are_milliseconds_and_only_grow() {
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        let mut times = || {
            let stats = client.run("guest-get-cpustats", json!({})).unwrap();
            stats
                .as_array()
                .unwrap()
                .iter()
                .map(|cpu| cpu["user"].as_u64().unwrap() + cpu["idle"].as_u64().unwrap())
                .sum::<u64>()
        };
        let (first, second) = (times(), times());
        assert!(0 < first && first <= second);
    });
}

#[test]
fn load_is_that_of_the_kernel() {
    each(|program| {
        if !program.since(10) {
            return;
        }
        let load = program.agent().client().run("guest-get-load", json!({})).unwrap();
        for member in ["load1m", "load5m", "load15m"] {
            assert!(load[member].as_f64().is_some_and(|load| (0.0..10_000.0).contains(&load)), "{load}");
        }
    });
}

#[test]
fn time_is_now_in_steps_of_a_microsecond() {
    let micros = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        for _ in 0..50 {
            let before = micros();
            let time = client.run("guest-get-time", json!({})).unwrap().as_i64().unwrap();
            assert!(time % 1000 == 0 && (before..=micros()).contains(&(time / 1000)), "{time}");
        }
    });
}

#[test]
fn time_zones_are_those_of_the_c_library() {
    for zone in [
        Some("UTC"),
        Some("Europe/Berlin"),
        Some("America/New_York"),
        Some("Asia/Kathmandu"),
        Some("Australia/Lord_Howe"),
        // With its rules: a file of that short name has moved out of Debian 13's tzdata.
        Some("EST5EDT,M3.2.0,M11.1.0"),
        Some("<-03>3"),
        Some("XYZ-5:30"),
        Some(":Asia/Tokyo"),
        None,
    ] {
        if let Some((ours, theirs)) = beside("guest-get-timezone", &[], |setup| setup.env("TZ", zone)) {
            assert_eq!(ours, theirs, "TZ={zone:?}");
        }
    }
    // An empty one is a file that not every Debian has, `Universal`.
    for bogus in ["No/Such/Zone", ""] {
        let bogus = |setup: Setup| setup.env("TZ", Some(bogus));
        if let Some((ours, theirs)) = beside("guest-get-timezone", &[], bogus) {
            assert_eq!(ours["return"]["offset"], theirs["return"]["offset"], "what it is called may differ");
        }
    }
}

#[test]
fn os_release_is_read_as_upstreams_test_wants() {
    each(|program| {
        let setup = program.setup();
        let path = setup.dir().join("os-release");
        let text = r#"
ID=qemu-ga-test
NAME=QEMU-GA
PRETTY_NAME="QEMU Guest Agent test"
VERSION="Test 1"
VERSION_ID=1
VARIANT="Unit test \"\'\$\`\\ and \\\\ etc."
VARIANT_ID=unit-test
"#;
        std::fs::write(&path, text).unwrap();
        let agent = setup.env("QGA_OS_RELEASE", path.to_str()).start();
        let info = agent.client().run("guest-get-osinfo", json!({})).unwrap();
        for (member, expected) in [
            ("id", "qemu-ga-test"),
            ("name", "QEMU-GA"),
            ("pretty-name", "QEMU Guest Agent test"),
            ("version", "Test 1"),
            ("version-id", "1"),
            ("variant", r#"Unit test "'$`\ and \\ etc."#),
            ("variant-id", "unit-test"),
        ] {
            assert_eq!(info[member], expected, "{member}");
        }
        for member in ["kernel-release", "kernel-version", "machine"] {
            assert!(!info[member].as_str().unwrap().is_empty(), "{member}");
        }
    });
}

#[test]
fn os_release_that_says_nothing_leaves_the_kernel() {
    let unreadable = b"NAME=\"\xff\"\nID=x\n";
    for text in [None, Some(&b""[..]), Some(b"\n# nothing\n\n"), Some(unreadable)] {
        each(|program| {
            let setup = program.setup();
            let path = setup.dir().join("os-release");
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let agent = setup.env("QGA_OS_RELEASE", path.to_str()).start();
            let info = agent.client().run("guest-get-osinfo", json!({})).unwrap();
            let mut members: Vec<&str> = info.as_object().unwrap().keys().map(String::as_str).collect();
            members.sort_unstable();
            if program.is_waga() && text == Some(unreadable) {
                // Only what is not text is lost; the original says nothing of the rest either.
                assert_eq!((&info["id"], &info["name"]), (&json!("x"), &json!("\u{fffd}")));
            } else {
                assert_eq!(members, ["kernel-release", "kernel-version", "machine"], "{text:?}");
            }
        });
    }
}

#[test]
fn users_are_a_list() {
    if std::fs::exists("/var/run/utmp").unwrap()
        && let Some((ours, theirs)) = beside("guest-get-users", &[], |setup| setup)
    {
        assert_eq!(sorted(ours), sorted(theirs));
    }
    let users = program().agent().client().run("guest-get-users", json!({})).unwrap();
    for user in users.as_array().unwrap() {
        assert!(user["user"].is_string() && user["login-time"].is_number(), "{user}");
    }
}

#[test]
fn commands_without_arguments_take_none() {
    let mut table = Table::new();
    for command in [
        "guest-get-osinfo",
        "guest-get-host-name",
        "guest-get-timezone",
        "guest-get-time",
        "guest-get-users",
        "guest-get-vcpus",
        "guest-get-cpustats",
        "guest-get-fsinfo",
        "guest-get-disks",
        "guest-get-diskstats",
        "guest-get-memory-blocks",
        "guest-get-memory-block-info",
        "guest-network-get-interfaces",
        "guest-fsfreeze-status",
    ] {
        table = table.ask(format!(r#"{{"execute":"{command}","arguments":{{}}}}"#), r#"{"return": …}"#).ask(
            format!(r#"{{"execute":"{command}","arguments":{{"x":[1]}}}}"#),
            r#"{"error": {"class": "GenericError", "desc": "Parameter 'x' is unexpected"}}"#,
        );
    }
    table.check();
}

#[test]
fn keys_of_users_who_are_not_there() {
    let ask = |user: &str| {
        format!(r#"{{"execute":"guest-ssh-get-authorized-keys","arguments":{{"username":"{user}"}}}}"#)
    };
    let mut table = Table::new();
    for user in ["no-such-user-here", "", "a:b", "../root"] {
        let error = format!(
            r#"{{"error": {{"class": "GenericError", "desc": "failed to lookup user '{user}': Success"}}}}"#
        );
        table = table.ask(ask(user), error);
    }
    table.check();
    // Whatever there is for users that there are.
    if let Some(original) = original() {
        let (ours, theirs) = (program().agent(), original.agent());
        for user in ["root", "nobody", "daemon"] {
            let request =
                json!({"execute": "guest-ssh-get-authorized-keys", "arguments": {"username": user}});
            assert_eq!(
                ours.client().ask(&request).unwrap(),
                theirs.client().ask(&request).unwrap(),
                "{user}"
            );
        }
    }
}
