//! What is hidden, as the operator says it.

use std::net::IpAddr;

use serde::Deserialize;

/// `config` of the extension's table in `agent.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Names, in which `*` stands for any text.
    #[serde(default)]
    interfaces: Vec<String>,
    /// `ipv4`, `ipv6`, a network (`fe80::/10`) or an address.
    #[serde(default)]
    addresses: Vec<String>,
}

/// What is hidden.
pub struct Hidden {
    interfaces: Vec<String>,
    networks: Vec<Network>,
}

impl Hidden {
    /// Reads the configuration, which is JSON; says what is wrong with it.
    pub fn read(config: &str) -> Result<Self, String> {
        let config: Config = serde_json::from_str(config).map_err(|why| format!("config: {why}"))?;
        let networks = config.addresses.iter().map(|text| {
            Network::read(text).ok_or_else(|| {
                format!(
                    "config: addresses: '{text}' is not ipv4, ipv6, an address, or a network as fe80::/10"
                )
            })
        });
        Ok(Self { networks: networks.collect::<Result<_, _>>()?, interfaces: config.interfaces })
    }

    /// Whether the interface of this name is hidden.
    pub fn has_interface(&self, name: &str) -> bool {
        self.interfaces.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether this address is hidden.
    pub fn has_address(&self, address: &str) -> bool {
        address.parse().is_ok_and(|address| self.networks.iter().any(|network| network.has(address)))
    }
}

/// All addresses that have the first bits of one.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn read(text: &str) -> Option<Self> {
        let text = match text {
            "ipv4" => "0.0.0.0/0",
            "ipv6" => "::/0",
            other => other,
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn has(&self, address: IpAddr) -> bool {
        // Those bits of two that differ, the first ones highest.
        let different = match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
            (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
            _ => return false,
        };
        different.leading_zeros() >= self.bits
    }
}

/// Whether a name is one of a pattern's.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let mut ends = name.char_indices().map(|(at, _)| &name[at..]).chain([""]);
            ends.any(|end| matches(rest, end))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(config: &str) -> Hidden {
        Hidden::read(config).unwrap()
    }

    #[test]
    fn interfaces_are_hidden_by_name() {
        let some = hidden(r#"{"interfaces": ["docker0", "br-*", "*-lo-*"]}"#);
        for name in ["docker0", "br-", "br-12", "a-lo-b", "-lo-"] {
            assert!(some.has_interface(name), "{name}");
        }
        for name in ["docker", "docker01", "vbr-12", "br", "a-lo", ""] {
            assert!(!some.has_interface(name), "{name}");
        }
    }

    #[test]
    fn addresses_are_hidden_by_their_first_bits() {
        let some = hidden(r#"{"addresses": ["fe80::/10", "172.17.0.1", "10.128.0.0/9"]}"#);
        for address in ["fe80::1", "febf::1", "172.17.0.1", "10.128.0.0", "10.255.255.255"] {
            assert!(some.has_address(address), "{address}");
        }
        for address in ["fec0::1", "::1", "172.17.0.2", "10.127.255.255", "no address"] {
            assert!(!some.has_address(address), "{address}");
        }
        let all = hidden(r#"{"addresses": ["ipv6"]}"#);
        assert!(all.has_address("2001:db8::1") && !all.has_address("10.0.0.1"));
        let nothing = hidden("{}");
        assert!(!nothing.has_address("10.0.0.1") && !nothing.has_interface("lo"));
    }

    #[test]
    fn what_is_wrong_with_the_configuration_is_said() {
        for (config, expected) in [
            (r#"{"interface": ["lo"]}"#, "unknown field `interface`"),
            (r#"{"interfaces": "lo"}"#, "invalid type: string \"lo\", expected a sequence"),
            (r#"{"addresses": ["10.0.0.0/33"]}"#, "'10.0.0.0/33' is not ipv4"),
            (r#"{"addresses": ["::/129"]}"#, "'::/129' is not"),
            (r#"{"addresses": ["lo"]}"#, "'lo' is not"),
        ] {
            let said = Hidden::read(config).err().unwrap();
            assert!(said.starts_with("config: ") && said.contains(expected), "{said}");
        }
    }
}
