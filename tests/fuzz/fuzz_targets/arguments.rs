//! Any checked object is read into any type of arguments, or refused; base64 decodes in place as it does copied.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waga::wire::oracle::arguments;

fuzz_target!(|input: &[u8]| arguments(input));
