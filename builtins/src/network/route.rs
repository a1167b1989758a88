//! `guest-network-get-route`: the routes in `/proc/net`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde::Serialize;

use super::spell_ipv6;
use crate::command::{Command, Empty};
use crate::context::{Context, Work};
use crate::error::Result;

/// Lists the guest's routes: IPv4's, then IPv6's, all rows, in the kernel's order.
///
/// Differs from qemu-ga: a file that is not there (no IPv6, say) costs only its own rows.
pub(super) struct GuestNetworkGetRoute;

/// One entry of [`GuestNetworkGetRoute`].
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Route {
    iface: String,
    destination: String,
    /// As qemu-ga, a signed number of 32 bits, though the kernel's is unsigned.
    metric: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    irtt: Option<u64>,
    /// Differs from qemu-ga, which widens IPv6's as a signed number: 0x80200001 is 2149580801.
    flags: u64,
    /// As `metric`.
    refcnt: i32,
    /// As `metric`.
    r#use: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u64>,
    /// 4 or 6.
    version: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// A string in the schema, and spelt like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    desprefixlen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    srcprefixlen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nexthop: Option<String>,
}

impl Command for GuestNetworkGetRoute {
    const NAME: &'static str = "guest-network-get-route";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Vec<Route>;

    async fn run(cx: &Context, _: Empty) -> Result<Vec<Route>> {
        cx.blocking(Work::Inspect, || routes(Path::new("/proc/net"))).await
    }
}

fn routes(folder: &Path) -> Vec<Route> {
    let open = |name: &str| File::open(folder.join(name)).map(BufReader::new).ok();
    let mut routes = Vec::new();
    routes.extend(open("route").into_iter().flat_map(|file| rows(file, ipv4)));
    routes.extend(open("ipv6_route").into_iter().flat_map(|file| rows(file, ipv6)));
    routes
}

/// What `parse` makes of a file's lines; a router's may have millions, so they are not held at once. One it cannot read, the head of
/// IPv4's table among them, is passed over.
fn rows(file: impl BufRead, parse: impl Fn(&str) -> Option<Route>) -> impl Iterator<Item = Route> {
    file.split(b'\n')
        .map_while(std::result::Result::ok)
        .filter_map(move |line| parse(&String::from_utf8_lossy(&line)))
}

/// `iface destination gateway flags refcnt use metric mask mtu window irtt`, the addresses and flags in hexadecimal.
fn ipv4(line: &str) -> Option<Route> {
    let mut columns = line.split_ascii_whitespace();
    let iface = columns.next()?.to_owned();
    let address = |column: &str| {
        // The number whose bytes in memory are the address.
        let bytes = u32::from_str_radix(column, 16).ok()?.to_ne_bytes();
        Some(Ipv4Addr::from(bytes).to_string())
    };
    let signed = |column: &str| column.parse().or_else(|_| column.parse().map(u32::cast_signed)).ok();
    Some(Route {
        version: 4,
        iface,
        destination: address(columns.next()?)?,
        gateway: Some(address(columns.next()?)?),
        flags: u64::from_str_radix(columns.next()?, 16).ok()?,
        refcnt: signed(columns.next()?)?,
        r#use: signed(columns.next()?)?,
        metric: signed(columns.next()?)?,
        mask: Some(address(columns.next()?)?),
        mtu: Some(columns.next()?.parse().ok()?),
        window: Some(columns.next()?.parse().ok()?),
        irtt: Some(columns.next()?.parse().ok()?),
        ..Route::default()
    })
}

/// `destination length source length nexthop metric refcnt use flags iface`, all but the last in hexadecimal.
fn ipv6(line: &str) -> Option<Route> {
    let mut columns = line.split_ascii_whitespace();
    let address = |column: &str| Some(spell_ipv6(Ipv6Addr::from(u128::from_str_radix(column, 16).ok()?)));
    let length = |column: &str| Some(u8::from_str_radix(column, 16).ok()?.to_string());
    let signed = |column: &str| u32::from_str_radix(column, 16).map(u32::cast_signed).ok();
    Some(Route {
        version: 6,
        destination: address(columns.next()?)?,
        desprefixlen: Some(length(columns.next()?)?),
        source: Some(address(columns.next()?)?),
        srcprefixlen: Some(length(columns.next()?)?),
        nexthop: Some(address(columns.next()?)?),
        metric: signed(columns.next()?)?,
        refcnt: signed(columns.next()?)?,
        r#use: signed(columns.next()?)?,
        flags: u64::from_str_radix(columns.next()?, 16).ok()?,
        iface: columns.next()?.to_owned(),
        ..Route::default()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::qapi::spell;

    fn spelt(route: &Route) -> String {
        String::from_utf8(spell(route)).unwrap()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_of_ipv4_are_read() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                  \n\
                     v0\t0000320A\t0902010A\t0003\t0\t0\t77\t0000FFFF\t0\t2000\t100                                       \n\
                     *\t00003C0A\t00000000\t0001\t0\t4294967295\t-6\t0000FFFF\t0\t0\t0\n\
                     eth0\t00003C0A\t00000000\t0001\n\
                     eth0\t00003C0A\tnonsense\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\n";
        let routes: Vec<_> = rows(table.as_bytes(), ipv4).map(|route| spelt(&route)).collect();
        assert_eq!(
            routes,
            [
                r#"{"iface": "v0", "destination": "10.50.0.0", "metric": 77, "gateway": "10.1.2.9", "mask": "255.255.0.0", "irtt": 100, "flags": 3, "refcnt": 0, "use": 0, "window": 2000, "mtu": 0, "version": 4}"#,
                r#"{"iface": "*", "destination": "10.60.0.0", "metric": -6, "gateway": "0.0.0.0", "mask": "255.255.0.0", "irtt": 0, "flags": 1, "refcnt": 0, "use": -1, "window": 0, "mtu": 0, "version": 4}"#,
            ]
        );
    }

    #[test]
    fn rows_of_ipv6_are_read() {
        let table = "fd880000000000000000000000000000 30 00000000000000000000000000000000 00 fd010000000000000000000000000009 fffffffa 00000001 00000000 00000003       v0\n\
                     00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo\n\
                     00000000000000000000000000000001 80 00000000000000000000000000000000 00\n";
        let routes: Vec<_> = rows(table.as_bytes(), ipv6).map(|route| spelt(&route)).collect();
        assert_eq!(
            routes,
            [
                r#"{"iface": "v0", "destination": "fd88::", "metric": -6, "flags": 3, "refcnt": 1, "use": 0, "version": 6, "source": "::", "desprefixlen": "48", "srcprefixlen": "0", "nexthop": "fd01::9"}"#,
                r#"{"iface": "lo", "destination": "::1", "metric": 0, "flags": 2149580801, "refcnt": 2, "use": 0, "version": 6, "source": "::", "desprefixlen": "128", "srcprefixlen": "0", "nexthop": "::"}"#,
            ]
        );
    }

    #[test]
    fn a_missing_table_costs_only_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(routes(folder.path()), []);
        fs::write(folder.path().join("route"), "eth0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n").unwrap();
        assert_eq!(routes(folder.path()).len(), 1);
    }
}
