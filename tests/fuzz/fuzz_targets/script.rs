//! What a script says of its commands' arguments is understood or refused, and holds for what passes the check.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waga::extension::oracle::script;

fuzz_target!(|input: &[u8]| script(input));
