//! `guest-network-get-interfaces`: names, hardware and IP addresses, counters.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::netlink::{List, Socket, attributes, u32_at, u64_at};
use super::spell_ipv6;
use crate::command::{Command, Empty};
use crate::context::{Context, Work};
use crate::error::{Error, Result};

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_STATS64: u16 = 23;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Lists the guest's network interfaces with their addresses and counters, in the kernel's order.
///
/// Differs from qemu-ga: `statistics` are there for an interface without an IP address too.
pub(super) struct GuestNetworkGetInterfaces;

/// One entry of [`GuestNetworkGetInterfaces`]: an interface, or a label (`eth0:1`) that some of its IPv4 addresses bear.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Interface {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hardware_address: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ip_addresses: Vec<IpAddress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<Statistics>,
}

/// One address of an [`Interface`].
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct IpAddress {
    ip_address: String,
    ip_address_type: &'static str,
    prefix: u8,
}

/// What an [`Interface`] has moved since it came up; the sums of `/proc/net/dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Statistics {
    rx_bytes: u64,
    rx_packets: u64,
    rx_errs: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errs: u64,
    tx_dropped: u64,
}

impl Command for GuestNetworkGetInterfaces {
    const NAME: &'static str = "guest-network-get-interfaces";
    const GRANTABLE: bool = true;
    type Args = Empty;
    type Return = Vec<Interface>;

    async fn run(cx: &Context, _: Empty) -> Result<Vec<Interface>> {
        // The kernel answers only when nobody else changes its network, and a host of containers has thousands.
        let interfaces = cx.blocking(Work::Inspect, interfaces).await?;
        interfaces.map_err(|error| Error::io("getifaddrs failed", error))
    }
}

fn interfaces() -> io::Result<Vec<Interface>> {
    let mut socket = Socket::open()?;
    let links = socket.list(List::Links, link)?;
    let addresses = socket.list(List::Addresses, address)?;
    Ok(assemble(links, addresses))
}

/// What the kernel says of an interface.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    index: u32,
    name: String,
    hardware_address: String,
    statistics: Option<Statistics>,
}

fn link(entry: &[u8]) -> Option<Link> {
    let index = u32_at(entry, 4)?;
    // An interface without a hardware address (a tunnel) has zeros; a longer one (InfiniBand) is cut, a shorter one (IPv4 over IP)
    // filled up: as SIOCGIFHWADDR, which qemu-ga asks, has it.
    let (mut name, mut hardware_address, mut statistics) = (None, [0; 6], None);
    for (kind, value) in attributes(entry.get(List::Links.header()..)?) {
        match kind {
            IFLA_ADDRESS => hardware_address.iter_mut().zip(value).for_each(|(to, from)| *to = *from),
            IFLA_IFNAME => name = Some(text(value)),
            IFLA_STATS64 => statistics = counters(value),
            _ => {}
        }
    }
    let hardware_address = hardware_address.map(|byte| format!("{byte:02x}")).join(":");
    Some(Link { index, name: name?, hardware_address, statistics })
}

/// Reads an rtnl_link_stats64, a row of 64-bit counters.
fn counters(value: &[u8]) -> Option<Statistics> {
    let counter = |place: usize| u64_at(value, place * 8);
    // `/proc/net/dev` counts what the hardware had no room for among the dropped.
    let missed = counter(15).unwrap_or_default();
    Some(Statistics {
        rx_packets: counter(0)?,
        tx_packets: counter(1)?,
        rx_bytes: counter(2)?,
        tx_bytes: counter(3)?,
        rx_errs: counter(4)?,
        tx_errs: counter(5)?,
        rx_dropped: counter(6)?.saturating_add(missed),
        tx_dropped: counter(7)?,
    })
}

/// What the kernel says of an address.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    link: u32,
    label: Option<String>,
    ip: IpAddress,
}

fn address(entry: &[u8]) -> Option<Address> {
    let (family, prefix) = (*entry.first()?, *entry.get(1)?);
    let (mut address, mut local, mut label) = (None, None, None);
    for (kind, value) in attributes(entry.get(List::Addresses.header()..)?) {
        match kind {
            IFA_ADDRESS => address = Some(value),
            IFA_LOCAL => local = Some(value),
            IFA_LABEL => label = Some(text(value)),
            _ => {}
        }
    }
    // Where both are there, on a line from point to point, the other one is the peer's.
    let bytes = local.or(address)?;
    let (ip_address, ip_address_type) = match family {
        AF_INET => (Ipv4Addr::from(*bytes.first_chunk::<4>()?).to_string(), "ipv4"),
        AF_INET6 => (spell_ipv6(Ipv6Addr::from(*bytes.first_chunk::<16>()?)), "ipv6"),
        _ => return None,
    };
    Some(Address { link: u32_at(entry, 4)?, label, ip: IpAddress { ip_address, ip_address_type, prefix } })
}

/// A string of the kernel's, which ends with a NUL.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// Puts the addresses to their interfaces. Those with a label of their own come after the interfaces, an entry a label, with the
/// hardware address but without the counters, as qemu-ga; libvirt joins such entries.
fn assemble(links: Vec<Link>, addresses: Vec<Address>) -> Vec<Interface> {
    let places: HashMap<_, _> = links.iter().enumerate().map(|(place, link)| (link.index, place)).collect();
    let interface = |link: Link| Interface {
        name: link.name,
        hardware_address: Some(link.hardware_address),
        ip_addresses: Vec::new(),
        statistics: link.statistics,
    };
    let mut interfaces: Vec<_> = links.into_iter().map(interface).collect();
    for address in addresses {
        // An interface that came after the list of them was told is not there yet.
        let Some(&place) = places.get(&address.link) else { continue };
        let label = address.label.filter(|label| *label != interfaces[place].name);
        let place = match label {
            None => place,
            Some(label) => interfaces.iter().position(|known| known.name == label).unwrap_or_else(|| {
                let hardware_address = interfaces[place].hardware_address.clone();
                interfaces.push(Interface {
                    name: label,
                    hardware_address,
                    ip_addresses: Vec::new(),
                    statistics: None,
                });
                interfaces.len() - 1
            }),
        };
        interfaces[place].ip_addresses.push(address.ip);
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn entry(header: &[u8], index: u32, tail: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
        [header, &index.to_ne_bytes(), tail, &attributes.concat()].concat()
    }

    #[test]
    fn links_are_read() {
        let counters: Vec<_> = (1_u64..=24).flat_map(u64::to_ne_bytes).collect();
        let statistics = Statistics {
            rx_bytes: 3,
            rx_packets: 1,
            rx_errs: 5,
            rx_dropped: 7 + 16,
            tx_bytes: 4,
            tx_packets: 2,
            tx_errs: 6,
            tx_dropped: 8,
        };
        for (address, spelling) in [
            (&[0x02, 0xfc, 0, 0, 0, 1][..], "02:fc:00:00:00:01"),
            (&[], "00:00:00:00:00:00"),
            (&[192, 0, 2, 1], "c0:00:02:01:00:00"),
            (&[0xa0; 20], "a0:a0:a0:a0:a0:a0"),
        ] {
            let attributes = [
                attribute(IFLA_IFNAME, b"eth0\0"),
                attribute(IFLA_ADDRESS, address),
                attribute(IFLA_STATS64, &counters),
            ];
            let expected = Link {
                index: 7,
                name: "eth0".into(),
                hardware_address: spelling.into(),
                statistics: Some(statistics.clone()),
            };
            assert_eq!(link(&entry(&[0; 4], 7, &[0; 8], &attributes)), Some(expected));
        }
        assert_eq!(link(&entry(&[0; 4], 7, &[0; 8], &[])), None);
        assert_eq!(link(&[0; 10]), None);
    }

    #[test]
    fn addresses_are_read() {
        let eth0 = || attribute(IFA_LABEL, b"eth0\0");
        let ip = |ip_address: &str, ip_address_type, prefix| IpAddress {
            ip_address: ip_address.into(),
            ip_address_type,
            prefix,
        };
        for (family, prefix, attributes, expected) in [
            (2, 24, vec![attribute(IFA_ADDRESS, &[192, 0, 2, 2]), eth0()], Some(ip("192.0.2.2", "ipv4", 24))),
            (
                2,
                32,
                vec![attribute(IFA_ADDRESS, &[10, 9, 0, 2]), attribute(IFA_LOCAL, &[10, 9, 0, 1]), eth0()],
                Some(ip("10.9.0.1", "ipv4", 32)),
            ),
            (
                10,
                64,
                vec![attribute(IFA_ADDRESS, &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]), eth0()],
                Some(ip("fd00::2", "ipv6", 64)),
            ),
            (10, 64, vec![attribute(IFA_ADDRESS, &[1, 2, 3, 4])], None),
            (2, 24, vec![eth0()], None),
            (28, 24, vec![attribute(IFA_ADDRESS, &[192, 0, 2, 2])], None),
        ] {
            let read = address(&entry(&[family, prefix, 0, 0], 7, &[], &attributes));
            let expected = expected.map(|ip| Address { link: 7, label: Some("eth0".into()), ip });
            assert_eq!(read, expected, "{attributes:?}");
        }
        assert_eq!(address(&[2]), None);
    }

    #[test]
    fn labels_come_after_the_interfaces() {
        let link = |index, name: &str| Link {
            index,
            name: name.into(),
            hardware_address: format!("{index}"),
            statistics: None,
        };
        let address = |link, label: Option<&str>, ip_address: &str| Address {
            link,
            label: label.map(Into::into),
            ip: IpAddress { ip_address: ip_address.into(), ip_address_type: "ipv4", prefix: 24 },
        };
        let links = vec![link(1, "lo"), link(5, "eth0"), link(3, "eth1")];
        let addresses = vec![
            address(5, Some("eth0"), "a"),
            address(5, Some("eth0:1"), "b"),
            address(9, None, "too new"),
            address(3, None, "c"),
            address(5, Some("eth0:1"), "d"),
            address(5, None, "e"),
        ];
        let told: Vec<_> = assemble(links, addresses)
            .into_iter()
            .map(|interface| {
                let ips: Vec<_> = interface.ip_addresses.into_iter().map(|ip| ip.ip_address).collect();
                format!("{} {} {}", interface.name, interface.hardware_address.unwrap(), ips.join(","))
            })
            .collect();
        assert_eq!(told, ["lo 1 ", "eth0 5 a,e", "eth1 3 c", "eth0:1 5 b,d"]);
    }
}
