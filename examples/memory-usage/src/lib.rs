//! One command that reads a file: `/proc/meminfo`, which the operator grants by `read = ["/proc/meminfo"]`.

use std::fs;

// Types and a trait, from `wit/`.
wit_bindgen::generate!({ world: "memory-usage" });

use exports::acme::memory_usage::usage::{Guest, Memory};

/// The file, by the name that the operator granted.
const MEMINFO: &str = "/proc/meminfo";

struct Usage;
export!(Usage);

impl Guest for Usage {
    fn guest_acme_memory() -> Result<Memory, String> {
        // What was not granted is not there. The caller gets this as the description of an error reply.
        let text = fs::read_to_string(MEMINFO).map_err(|error| format!("cannot read {MEMINFO}: {error}"))?;
        let bytes = |name| field(&text, name).ok_or_else(|| format!("{MEMINFO} has no {name}"));
        let has_swap = field(&text, "SwapTotal").is_some_and(|total| total > 0);
        Ok(Memory {
            total: bytes("MemTotal")?,
            available: bytes("MemAvailable")?,
            swap_free: if has_swap { field(&text, "SwapFree") } else { None },
        })
    }
}

/// The bytes of a line like `MemTotal:   16315712 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}
