//! Network interfaces and routes.

mod interfaces;
mod netlink;
mod route;

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::command::Builtin;

pub(crate) const COMMANDS: &[Builtin] =
    &[Builtin::of::<interfaces::GuestNetworkGetInterfaces>(), Builtin::of::<route::GuestNetworkGetRoute>()];

/// An IPv6 address as the C library spells it: Rust spells all the same way but the IPv4-compatible ones, `::192.0.2.1`.
fn spell_ipv6(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            format!("::{}", Ipv4Addr::new(a, b, c, d))
        }
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_spelt_as_the_c_library_does() {
        for spelling in [
            "::",
            "::1",
            "::ffff",
            "::1.2.3.4",
            "::192.0.2.0",
            "::ffff:1.2.3.4",
            "fe80::fc:ff:fe00:1",
            "2001:db8:0:1:1:1:1:1",
            "2001:0:0:1::1",
            "1::",
        ] {
            assert_eq!(spell_ipv6(spelling.parse().unwrap()), spelling);
        }
    }
}
