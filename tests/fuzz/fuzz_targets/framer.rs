//! Bytes in any pieces: the same replies as in one piece, each a line of ASCII JSON, in bounded memory. After 0xFF it is in step again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waga::wire::oracle::{Outcome, outcomes};

// The first four bytes choose where the rest is cut.
fuzz_target!(|input: &[u8]| {
    let Some((cuts, bytes)) = input.split_at_checked(4) else { return };
    let cuts: Vec<usize> = cuts.iter().map(|&cut| usize::from(cut)).collect();
    let whole = outcomes(bytes, &[]);
    assert_eq!(outcomes(bytes, &cuts), whole);
    let again = outcomes(&[bytes, b"\xff{\"execute\":\"sync\"}"].concat(), &[]);
    assert!(matches!(again.last(), Some(Outcome::Request { command, .. }) if command == "sync"));
});
