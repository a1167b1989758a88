//! Whether the original is here to compare with. The comparing itself is done by [`crate::table`] and [`crate::each`].

use waga_tests::agent::left_out;

use crate::{original, program};

#[test]
fn parity() {
    if std::env::var_os("AGENT_BIN").is_some() {
        return;
    }
    match original() {
        Some(original) => assert!(
            !original.is_waga() && program().is_waga(),
            "{} beside {}",
            original.name(),
            program().name()
        ),
        None => {
            left_out("the same cases against qemu-ga, which is not installed (Debian's qemu-guest-agent)");
        }
    }
}
