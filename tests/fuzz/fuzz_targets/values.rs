//! A type, a value of it and arguments for it, all made up: what is written reads back, what is read is within its budget.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waga::extension::oracle::values;

fuzz_target!(|input: &[u8]| values(input));
