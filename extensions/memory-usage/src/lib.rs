//! One command that reads a file: `/proc/meminfo`, which the operator grants by `read = ["/proc/meminfo"]`.

use std::fs;

// Types and a trait, from `wit/`.
wit_bindgen::generate!({ world: "memory-usage" });

use exports::waga_packs::memory_usage::usage::{Guest, Memory};

/// The file, by the name that the operator granted.
const MEMINFO: &str = "/proc/meminfo";

struct Usage;
export!(Usage);

impl Guest for Usage {
    fn guest_get_memory_usage() -> Result<Memory, String> {
        // What was not granted is not there. The caller gets this as the description of an error reply.
        let text = fs::read_to_string(MEMINFO).map_err(|error| format!("cannot read {MEMINFO}: {error}"))?;
        let bytes = |name| field(&text, name).ok_or_else(|| format!("{MEMINFO} has no {name}"));
        let (total, available) = (bytes("MemTotal")?, bytes("MemAvailable")?);
        let swap_total = field(&text, "SwapTotal").filter(|total| *total > 0);
        Ok(Memory {
            total,
            available,
            used_percent: percent(total.saturating_sub(available), total),
            swap_total,
            swap_free: swap_total.and_then(|_| field(&text, "SwapFree")),
            committed: field(&text, "Committed_AS"),
            dirty: field(&text, "Dirty"),
        })
    }
}

/// Rounded up: what is full to the last byte but one is full for whoever looks at it.
fn percent(part: u64, whole: u64) -> u8 {
    (u128::from(part) * 100).div_ceil(u128::from(whole.max(1))).min(100) as u8
}

/// The bytes of a line like `MemTotal:   16315712 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}
