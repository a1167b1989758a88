//! Any bytes as a pack are refused, or are one that stays within its folder and is written in one way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waga_pack::oracle::pack;

fuzz_target!(|input: &[u8]| pack(input));
