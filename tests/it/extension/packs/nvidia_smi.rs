//! `nvidia-smi`: a program that prints what the real one printed elsewhere, in its place.

use std::fs;

use serde_json::{Value, json};
use toml::Table;
use waga_tests::agent::Agent;

use super::super::{failure, told};
use super::{script, started, table, with};
use crate::docs::root;

const SMI: &str = "guest-get-nvidia-smi";

/// What was printed on a real machine.
fn recorded(file: &str) -> String {
    root().join("extensions/nvidia-smi/recorded").join(file).to_str().unwrap().to_owned()
}

/// With this script for `nvidia-smi`; none, if it is empty.
pub(super) fn agent(text: &str) -> Option<Agent> {
    let setup = with(&[("nvidia-smi", table("nvidia-smi"))], &[])?;
    let program = setup.dir().join("nvidia-smi");
    if !text.is_empty() {
        script(&program, text);
    }
    let path = setup.dir().join("agent.toml");
    let mut text: Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    let own = text["extension"]["nvidia-smi"].as_table_mut().unwrap();
    let program = toml::Value::String(program.to_str().unwrap().into());
    own["exec"][0]["program"] = program.clone();
    own["config"]["program"] = program;
    fs::write(&path, text.to_string()).unwrap();
    Some(started(setup, &["nvidia-smi"]))
}

/// The program, if it is asked as it should be: for the columns of the record.
fn replaying(file: &str) -> String {
    let text = fs::read_to_string(recorded(file)).unwrap();
    let columns = text.lines().next().unwrap().split(", ").map(|name| name.split(" [").next().unwrap());
    let columns: Vec<&str> = columns.collect();
    format!(
        "[ \"$*\" = '--query-gpu={} --format=csv' ] || {{ echo \"unexpected: $*\"; exit 2; }}\ncat '{}'",
        columns.join(","),
        recorded(file)
    )
}

fn gpus(file: &str) -> Option<Vec<Value>> {
    let agent = agent(&replaying(file))?;
    let mut client = agent.client();
    let told_of = client.run(SMI, json!({})).unwrap().as_array().unwrap().clone();
    assert_eq!(told(&mut client, "nvidia-smi")["failures"], 0);
    Some(told_of)
}

#[test]
fn a_card_of_a_data_centre_tells_all_but_its_fan() {
    let Some(gpus) = gpus("h100.csv") else { return };
    let mib = 1_u64 << 20;
    assert_eq!(
        gpus,
        [json!({
            "index": 0, "uuid": "GPU-00000000-0000-0000-0000-000000000000", "name": "NVIDIA H100 80GB HBM3",
            "pci-bus-id": "00000000:00:09.0", "driver-version": "590.48.01", "vbios-version": "96.00.A5.00.01",
            "pstate": "P0", "memory-total": 81_559 * mib, "memory-used": 19_818 * mib, "memory-free": 61_263 * mib,
            "utilization-gpu": 100, "utilization-memory": 11, "temperature-gpu": 59, "temperature-memory": 54,
            "power-draw": 631_950, "power-limit": 700_000, "clock-graphics": 1980, "clock-sm": 1980, "clock-memory": 2619,
            "ecc": true, "ecc-corrected": 0, "ecc-uncorrected": 0, "ecc-corrected-ever": 0, "ecc-uncorrected-ever": 0,
            "mig": false, "faults": [],
        })]
    );
}

#[test]
fn a_card_that_is_divided_tells_no_utilization() {
    let Some(gpus) = gpus("h100-mig.csv") else { return };
    assert_eq!((&gpus[0]["mig"], &gpus[0]["faults"]), (&json!(true), &json!([])));
    assert_eq!((gpus[0].get("utilization-gpu"), gpus[0].get("utilization-memory")), (None, None));
    assert_eq!((&gpus[0]["power-draw"], gpus.len()), (&json!(433_780), 1));
    let Some(l40s) = self::gpus("l40s.csv") else { return };
    assert_eq!((l40s[0].get("temperature-memory"), l40s[0].get("mig")), (None, None));
    assert_eq!(l40s[0]["temperature-gpu"], 63);
}

#[test]
fn two_cards_for_people_have_fans_and_no_ecc() {
    let Some(gpus) = gpus("two-geforces.csv") else { return };
    let pick = |it: &Value| {
        json!([it["index"], it["name"], it["fan-speed"], it["power-draw"], it.get("ecc"), it["pci-bus-id"]])
    };
    let expected = [
        json!([0, "NVIDIA GeForce RTX 2080 SUPER", 38, 111_500, null, "00000000:0C:00.0"]),
        json!([1, "NVIDIA GeForce RTX 4080 SUPER", 0, 26_200, null, "00000000:01:00.0"]),
    ];
    assert_eq!(gpus.iter().map(pick).collect::<Vec<_>>(), expected);
}

/// Old drivers do not know the newest fields, and name the first of them.
#[test]
fn a_field_that_the_driver_does_not_have_is_done_without() {
    let refuse = |field: &str| {
        format!(
            "case $1 in *{field}*) printf 'Field \"{field}\" is not a valid field to query.\\n\\n'; exit 2 ;; esac"
        )
    };
    // What is left of the record without its last column and the one for the temperature of the memory, which is the 14th.
    let rest = format!("cut -d , -f 1-13,15-25 '{}'", recorded("l40s.csv"));
    let program = [refuse("temperature.memory"), refuse("mig.mode.current"), rest].join("\n");
    let Some(old) = agent(&program) else { return };
    let gpus = old.client().run(SMI, json!({})).unwrap();
    assert_eq!((&gpus[0]["name"], gpus[0].get("mig")), (&json!("NVIDIA L40S"), None));
    assert_eq!((&gpus[0]["power-draw"], &gpus[0]["ecc"]), (&json!(144_970), &json!(true)));
    // One that refuses for ever ends.
    let Some(agent) =
        agent(&refuse("x\\|*").replace("x\\|*", "no-such-field").replace("*no-such-field*", "*"))
    else {
        return;
    };
    let said = failure(&mut agent.client(), SMI, json!({}));
    assert!(said.ends_with("exit code 2: Field \"no-such-field\" is not a valid field to query."), "{said}");
}

#[test]
fn what_fails_is_told_in_the_programs_words() {
    for (file, code, expected) in [
        (
            "no-driver.txt",
            9,
            "fails with exit code 9: NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. \
             Make sure that the latest NVIDIA driver is installed and running.",
        ),
        (
            "mismatch.txt",
            18,
            "fails with exit code 18: Failed to initialize NVML: Driver/library version mismatch NVML library version: 535.161",
        ),
        (
            "lost.txt",
            15,
            "fails with exit code 15: Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost. \
             Reboot the system to recover this GPU",
        ),
    ] {
        let Some(agent) = agent(&format!("cat '{}'; exit {code}", recorded(file))) else { return };
        let said = failure(&mut agent.client(), SMI, json!({}));
        assert_eq!(said, format!("{} {expected}", agent.dir().join("nvidia-smi").display()));
        // It is the driver's fault and not the extension's: it does not rest.
        assert_eq!(told(&mut agent.client(), "nvidia-smi")["failures"], 0);
    }
}

#[test]
fn without_the_program_without_a_card_and_with_a_damaged_one() {
    let Some(missing) = agent("") else { return };
    let program = missing.dir().join("nvidia-smi");
    let said = failure(&mut missing.client(), SMI, json!({}));
    assert_eq!(said, format!("'{}' does not start: No such file or directory", program.display()));

    let Some(none) = agent("echo No devices were found; exit 6") else { return };
    assert_eq!(none.client().run(SMI, json!({})).unwrap(), json!([]));

    let warning = "WARNING: infoROM is corrupted at gpu 0000:01:00.0";
    let damaged = format!("cat '{}'; echo '{warning}'; exit 14", recorded("two-geforces.csv"));
    let Some(damaged) = agent(&damaged) else { return };
    let gpus = damaged.client().run(SMI, json!({})).unwrap();
    assert_eq!((&gpus[0]["faults"], &gpus[1]["faults"]), (&json!([]), &json!([warning])));

    let Some(unread) =
        agent(&format!("sed 's/111.50 W/[Unknown Error]/' '{}'", recorded("two-geforces.csv")))
    else {
        return;
    };
    let gpus = unread.client().run(SMI, json!({})).unwrap();
    assert_eq!(
        (gpus[0].get("power-draw"), &gpus[0]["faults"]),
        (None, &json!(["power.draw: Unknown Error"]))
    );

    let Some(nonsense) = agent("echo hello") else { return };
    let said = failure(&mut nonsense.client(), SMI, json!({}));
    assert_eq!(said, "nvidia-smi prints other columns: hello");
}
