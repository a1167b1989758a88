//! Any text as `agent.toml` and as `qemu-ga.conf`: a meaning that can be dumped and read back, or a fault with its place.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waga::config::oracle::check;

fuzz_target!(|text: &str| check(text));
