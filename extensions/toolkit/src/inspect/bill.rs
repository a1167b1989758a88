//! What a component weighs: its code, its data, the memories that it begins with.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use wasmparser::{Parser, Payload};

/// Bytes of a page of memory.
const PAGE: u64 = 64 << 10;

/// Sizes in bytes.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Bill {
    /// Of the whole file.
    pub(super) file: u64,
    /// Of the code of all core modules.
    pub(super) code: u64,
    /// Of their data.
    pub(super) data: u64,
    /// Of sections that nothing is run from, by name.
    pub(super) custom: BTreeMap<String, u64>,
    pub(super) memories: Vec<Memory>,
}

/// One memory.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// At the start.
    pub(super) initial: u64,
    /// The most that it may grow to; by nothing of its own if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) maximum: Option<u64>,
}

/// Adds up a component, whatever is nested in it included.
pub(super) fn of(component: &[u8]) -> Result<Bill> {
    let mut bill = Bill { file: component.len() as u64, ..Bill::default() };
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::CodeSectionStart { size, .. } => bill.code += u64::from(size),
            Payload::DataSection(section) => {
                bill.data += section.range().end - section.range().start;
            }
            Payload::CustomSection(section) => {
                *bill.custom.entry(section.name().to_owned()).or_default() += section.data().len() as u64;
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory?;
                    let page =
                        memory.page_size_log2.map_or(PAGE, |bits| 1_u64.checked_shl(bits).unwrap_or(PAGE));
                    bill.memories.push(Memory {
                        initial: memory.initial.saturating_mul(page),
                        maximum: memory.maximum.map(|pages| pages.saturating_mul(page)),
                    });
                }
            }
            _ => {}
        }
    }
    Ok(bill)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_core_modules_count() {
        let text = r#"(component
            (core module (memory 2 8) (data (i32.const 0) "12345"))
            (core module (memory 1) (func (nop)))
            (@custom "note" "abc"))"#;
        let bytes = wat::parse_str(text).unwrap();
        let bill = of(&bytes).unwrap();
        assert_eq!(bill.file, bytes.len() as u64);
        let memories = [(2 * PAGE, Some(8 * PAGE)), (PAGE, None)];
        assert_eq!(bill.memories, memories.map(|(initial, maximum)| Memory { initial, maximum }));
        assert_eq!(bill.custom["note"], 3);
        assert!(bill.code >= 3 && (5..20).contains(&bill.data), "{bill:?}");
    }
}
