//! File systems and disks, beside the original on this machine.

use serde_json::{Value, json};

use crate::info::{beside, sorted};
use crate::table::Table;
use crate::waga;

#[test]
fn file_systems_are_those_of_the_original() {
    let Some((mut ours, theirs)) = beside("guest-get-fsinfo", &["used-bytes", "total-bytes"], |setup| setup)
    else {
        return;
    };
    for (ours, theirs) in
        ours["return"].as_array_mut().unwrap().iter_mut().zip(theirs["return"].as_array().unwrap())
    {
        if theirs.get("total-bytes-privileged").is_none() {
            ours.as_object_mut().unwrap().remove("total-bytes-privileged"); // since 9.1
        }
    }
    assert_eq!(ours, theirs);
}

#[test]
fn file_systems_have_what_upstreams_test_wants() {
    crate::each(|program| {
        let list = program.agent().client().run("guest-get-fsinfo", json!({})).unwrap();
        for entry in list.as_array().unwrap() {
            assert!(
                entry["name"].is_string() && entry["mountpoint"].is_string() && entry["type"].is_string(),
                "{entry}"
            );
            assert!(entry["disk"].is_array(), "{entry}");
        }
    });
}

#[test]
fn sizes_of_file_systems_add_up() {
    let Some(agent) = waga() else { return };
    let list = agent.client().run("guest-get-fsinfo", json!({})).unwrap();
    for entry in list.as_array().unwrap() {
        let size = |member: &str| entry[member].as_u64().unwrap_or(0);
        assert!(size("used-bytes") <= size("total-bytes"), "{entry}");
        assert!(size("total-bytes") <= size("total-bytes-privileged"), "{entry}");
    }
}

#[test]
fn disks_are_those_of_the_original() {
    let Some((ours, theirs)) = beside("guest-get-disks", &[], |setup| setup) else { return };
    assert_eq!(sorted(ours), sorted(theirs));
}

#[test]
fn disk_statistics_are_those_of_the_original() {
    let moving: Vec<String> = ["read", "write", "discard", "flush"]
        .iter()
        .flat_map(|kind| ["ios", "sectors", "merges", "ticks"].map(|what| format!("{kind}-{what}")))
        .chain(["ios-pgr", "total-ticks", "weight-ticks"].map(str::to_owned))
        .collect();
    let moving: Vec<&str> = moving.iter().map(String::as_str).collect();
    let Some((ours, theirs)) = beside("guest-get-diskstats", &moving, |setup| setup) else { return };
    assert_eq!(ours, theirs);
}

#[test]
fn disk_statistics_are_the_kernels_numbers() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    // A disk that is busy changes; so the same has to be there before and after.
    loop {
        let before = std::fs::read_to_string("/proc/diskstats").unwrap();
        let list = client.run("guest-get-diskstats", json!({})).unwrap();
        if std::fs::read_to_string("/proc/diskstats").unwrap() != before {
            continue;
        }
        let lines: Vec<Vec<&str>> = before.lines().map(|line| line.split_whitespace().collect()).collect();
        let list: &Vec<Value> = list.as_array().unwrap();
        assert_eq!(list.len(), lines.len());
        for (entry, fields) in list.iter().zip(&lines) {
            let number = |field: usize| json!(fields[field].parse::<u64>().unwrap());
            assert_eq!(
                (&entry["major"], &entry["minor"], &entry["name"]),
                (&number(0), &number(1), &json!(fields[2]))
            );
            let names = [
                "read-ios",
                "read-merges",
                "read-sectors",
                "read-ticks",
                "write-ios",
                "write-merges",
                "write-sectors",
                "write-ticks",
                "ios-pgr",
                "total-ticks",
                "weight-ticks",
            ];
            for (name, field) in names.iter().zip(3..) {
                assert_eq!(entry["stats"][name], number(field), "{name} of {}", fields[2]);
            }
        }
        return;
    }
}

/// Nothing is trimmed here: each is refused for its arguments.
#[test]
fn arguments_of_a_trim_are_checked_before_anything_is_done() {
    let invalid = "{\"error\": {\"class\": \"GenericError\", \"desc\": \
                   \"Invalid parameter type for 'minimum', expected: integer\"}}";
    Table::new()
        .all(&[
            (r#"{"execute":"guest-fstrim","arguments":{"minimum":"0"}}"#, invalid),
            (r#"{"execute":"guest-fstrim","arguments":{"minimum":0.5}}"#, invalid),
            (r#"{"execute":"guest-fstrim","arguments":{"minimum":null}}"#, invalid),
            (r#"{"execute":"guest-fstrim","arguments":{"minimum":[0]}}"#, invalid),
            (
                r#"{"execute":"guest-fstrim","arguments":{"minimum":0,"maximum":1}}"#,
                r#"{"error": {"class": "GenericError", "desc": "Parameter 'maximum' is unexpected"}}"#,
            ),
        ])
        .check();
}
