//! What NVIDIA's GPUs do, for monitoring that speaks with the agent alone. It runs `nvidia-smi`, asks for a list of fields, and makes typed
//! values of the table that comes back.

mod cell;
mod table;

// Types, functions and a trait, from `wit/`.
wit_bindgen::generate!({ world: "nvidia-smi", generate_all });

use exports::waga_packs::nvidia_smi::gpus::{Gpu, Guest};
use waga::extension::log::{Level, log};
use waga::extension::{config, exec};

use crate::cell::Cells;
use crate::table::Table;

struct NvidiaSmi;
export!(NvidiaSmi);

/// What is asked for, by the names of `nvidia-smi --help-query-gpu`; the last ones are the newest.
const FIELDS: [&str; 26] = [
    "index",
    "uuid",
    "name",
    "pci.bus_id",
    "driver_version",
    "vbios_version",
    "pstate",
    "memory.total",
    "memory.used",
    "memory.free",
    "utilization.gpu",
    "utilization.memory",
    "temperature.gpu",
    "temperature.memory",
    "fan.speed",
    "power.draw",
    "power.limit",
    "clocks.current.graphics",
    "clocks.current.sm",
    "clocks.current.memory",
    "ecc.mode.current",
    "ecc.errors.corrected.volatile.total",
    "ecc.errors.uncorrected.volatile.total",
    "ecc.errors.corrected.aggregate.total",
    "ecc.errors.uncorrected.aggregate.total",
    "mig.mode.current",
];

/// The table is whole, and a warning follows it: a GPU's own record of itself is damaged.
const INFOROM_CORRUPTED: i32 = 14;
/// The same without a GPU.
const NOTHING_FOUND: i32 = 6;

impl Guest for NvidiaSmi {
    fn guest_get_nvidia_smi() -> Result<Vec<Gpu>, String> {
        let settings: serde_json::Value =
            serde_json::from_str(&config::get()).map_err(|error| format!("config: {error}"))?;
        let program = match &settings["program"] {
            serde_json::Value::Null => "/usr/bin/nvidia-smi",
            serde_json::Value::String(program) => program,
            other => return Err(format!("config: program = {other}: it is a path")),
        };
        let mut fields = FIELDS.to_vec();
        loop {
            let args = [format!("--query-gpu={}", fields.join(",")), "--format=csv".to_owned()];
            // What the operator did not grant, or what does not start, is told in the agent's words, which name the program.
            let output = exec::run(program, &args, None)?;
            let text = String::from_utf8_lossy(&output.stdout);
            match output.exit_code {
                Some(_) if text.contains("No devices were found") => return Ok(Vec::new()),
                Some(0 | INFOROM_CORRUPTED) => return gpus(&text, &fields),
                Some(NOTHING_FOUND) if text.trim().is_empty() => return Ok(Vec::new()),
                _ => {}
            }
            // Older drivers do not have all of them, and name the first that they do not have.
            if let Some(at) = refused(&text).and_then(|name| fields.iter().position(|field| *field == name)) {
                fields.remove(at);
                continue;
            }
            let how = match (output.exit_code, output.signal) {
                (Some(code), _) => format!("exit code {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            };
            return Err(format!("{program} fails with {how}: {}", said(&text, &output.stderr)));
        }
    }
}

/// The field of `Field "x" is not a valid field to query.`
fn refused(text: &str) -> Option<&str> {
    let (name, rest) = text.trim_start().strip_prefix("Field \"")?.split_once('"')?;
    rest.trim().starts_with("is not a valid field").then_some(name)
}

/// The words of a program that failed, in one line that is not too long.
fn said(output: &str, errors: &[u8]) -> String {
    let errors = String::from_utf8_lossy(errors);
    let words: Vec<&str> = output.split_whitespace().chain(errors.split_whitespace()).collect();
    let mut said: String = words.join(" ").chars().take(300).collect();
    if said.is_empty() {
        said.push_str("it says nothing");
    }
    said
}

/// The GPUs of what was printed for these fields.
fn gpus(text: &str, fields: &[&str]) -> Result<Vec<Gpu>, String> {
    let table = Table::read(text, fields)?;
    let mut gpus: Vec<Gpu> = (0..).zip(table.rows).map(|(nth, cells)| gpu(nth, cells)).collect();
    for warning in table.warnings {
        // `… at gpu 0000:B3:00.0`: the domain has four digits here, eight elsewhere.
        let place = warning.rsplit(' ').next().unwrap_or_default().to_ascii_uppercase();
        let is_its = |gpu: &&mut Gpu| {
            let id = gpu.pci_bus_id.as_deref().unwrap_or_default().to_ascii_uppercase();
            !place.is_empty() && id.ends_with(&place)
        };
        match gpus.iter_mut().find(is_its) {
            Some(gpu) => gpu.faults.push(warning),
            None => log(Level::Warning, &warning),
        }
    }
    Ok(gpus)
}

fn gpu(nth: u32, mut cells: Cells) -> Gpu {
    Gpu {
        index: cells.number("index").unwrap_or(nth),
        uuid: cells.text("uuid"),
        name: cells.text("name"),
        pci_bus_id: cells.text("pci.bus_id"),
        driver_version: cells.text("driver_version"),
        vbios_version: cells.text("vbios_version"),
        pstate: cells.text("pstate"),
        memory_total: cells.bytes("memory.total"),
        memory_used: cells.bytes("memory.used"),
        memory_free: cells.bytes("memory.free"),
        utilization_gpu: cells.number("utilization.gpu"),
        utilization_memory: cells.number("utilization.memory"),
        temperature_gpu: cells.number("temperature.gpu"),
        temperature_memory: cells.number("temperature.memory"),
        fan_speed: cells.number("fan.speed"),
        power_draw: cells.milliwatts("power.draw"),
        power_limit: cells.milliwatts("power.limit"),
        clock_graphics: cells.number("clocks.current.graphics"),
        clock_sm: cells.number("clocks.current.sm"),
        clock_memory: cells.number("clocks.current.memory"),
        ecc: cells.switch("ecc.mode.current"),
        ecc_corrected: cells.number("ecc.errors.corrected.volatile.total"),
        ecc_uncorrected: cells.number("ecc.errors.uncorrected.volatile.total"),
        ecc_corrected_ever: cells.number("ecc.errors.corrected.aggregate.total"),
        ecc_uncorrected_ever: cells.number("ecc.errors.uncorrected.aggregate.total"),
        mig: cells.switch("mig.mode.current"),
        faults: cells.faults,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_a_driver_does_not_have_is_known_by_its_words() {
        for (text, name) in [
            ("Field \"mig.mode.current\" is not a valid field to query.\n\n", Some("mig.mode.current")),
            ("Field \"x\" is wrong", None),
            ("index, uuid\n0, GPU-1\n", None),
            ("", None),
        ] {
            assert_eq!(refused(text), name, "{text}");
        }
        assert_eq!(said(" a\n\nb ", b"c\n"), "a b c");
        assert_eq!(said("", b""), "it says nothing");
    }

    #[test]
    fn a_warning_goes_to_the_gpu_that_it_names() {
        let text = "index, pci.bus_id\n0, 00000000:34:00.0\n1, 00000000:b3:00.0\nWARNING: infoROM is corrupted at gpu 0000:B3:00.0\n";
        let told = gpus(text, &["index", "pci.bus_id"]).unwrap();
        assert_eq!((told[0].faults.len(), told[1].faults.len()), (0, 1));
        assert!(told[1].faults[0].contains("infoROM"), "{told:?}");
    }

    /// What they come to as a whole stands in the tests of the agent, which replay them.
    #[test]
    fn what_was_recorded_is_read_without_a_fault() {
        for text in [
            include_str!("../recorded/h100.csv"),
            include_str!("../recorded/h100-mig.csv"),
            include_str!("../recorded/l40s.csv"),
            include_str!("../recorded/two-geforces.csv"),
        ] {
            let told = gpus(text, &FIELDS).unwrap();
            assert!(!told.is_empty() && told.iter().all(|gpu| gpu.faults.is_empty()), "{told:?}");
            assert!(
                told.iter().all(|gpu| gpu.memory_total > gpu.memory_used && gpu.power_draw > Some(20_000))
            );
        }
    }
}
