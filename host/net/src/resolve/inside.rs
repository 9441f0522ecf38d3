//! Which addresses are not on the public internet. A name that leads to one is
//! a way into this machine's own network, whoever wrote the name.
//!
//! After the special-purpose registries of IANA for IPv4 and IPv6. IPv6
//! addresses that carry an IPv4 address are judged by that one.

use super::is_link_local;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Network, length of its prefix, and what it is.
type Row4 = ([u8; 4], u8, &'static str);
type Row6 = ([u16; 8], u8, &'static str);

const LOOPBACK: &str = "a loopback address";
const PRIVATE: &str = "a private address";
const LINK_LOCAL: &str = "a link-local or metadata address";
const MULTICAST: &str = "a multicast address";
const RESERVED: &str = "a reserved address";

const V4: [Row4; 15] = [
    ([0, 0, 0, 0], 8, "an address of this machine"),
    ([10, 0, 0, 0], 8, PRIVATE),
    ([100, 64, 0, 0], 10, "an address of a provider's network"),
    ([127, 0, 0, 0], 8, LOOPBACK),
    ([169, 254, 0, 0], 16, LINK_LOCAL),
    ([172, 16, 0, 0], 12, PRIVATE),
    ([192, 0, 0, 0], 24, RESERVED),
    ([192, 0, 2, 0], 24, RESERVED),
    ([192, 88, 99, 0], 24, RESERVED),
    ([192, 168, 0, 0], 16, PRIVATE),
    ([198, 18, 0, 0], 15, RESERVED),
    ([198, 51, 100, 0], 24, RESERVED),
    ([203, 0, 113, 0], 24, RESERVED),
    ([224, 0, 0, 0], 4, MULTICAST),
    ([240, 0, 0, 0], 4, RESERVED),
];

/// Outside `2000::/3` all is reserved; the first rows only say it better.
const V6: [Row6; 11] = [
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, LOOPBACK),
    ([0; 8], 128, "an address of this machine"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, PRIVATE),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, PRIVATE),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, LINK_LOCAL),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, MULTICAST),
    // A translator of the local network: what it leads to is not known here.
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, PRIVATE),
    // Teredo, ORCHID, benchmarks.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, RESERVED),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, RESERVED),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, RESERVED),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, RESERVED),
];

/// What `ip` is when it is not a public address, as a noun with its article.
pub fn inside(ip: IpAddr) -> Option<&'static str> {
    if is_link_local(ip) {
        return Some(LINK_LOCAL);
    }
    match ip {
        IpAddr::V4(v4) => inside_v4(v4),
        IpAddr::V6(v6) => match carried(v6) {
            Some(v4) => inside_v4(v4),
            None => inside_v6(v6),
        },
    }
}

fn inside_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let ip = ip.to_bits();
    let mut rows = V4.iter();
    let row = rows.find(|(net, len, _)| {
        let net = u32::from_be_bytes(*net);
        (ip ^ net).checked_shr(32 - u32::from(*len)) == Some(0)
    });
    row.map(|(_, _, what)| *what)
}

fn inside_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let bits = ip.to_bits();
    let mut rows = V6.iter();
    let row = rows.find(|(net, len, _)| {
        let net = Ipv6Addr::from(*net).to_bits();
        (bits ^ net).checked_shr(128 - u32::from(*len)) == Some(0)
    });
    match row {
        Some((_, _, what)) => Some(what),
        None => (bits >> 125 != 1).then_some(RESERVED),
    }
}

/// The IPv4 address to which a packet for this one goes: IPv4-mapped, 6to4,
/// NAT64, ISATAP. IPv4-compatible ones are reserved as a whole.
pub(super) fn carried(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn what(text: &str) -> Option<&'static str> {
        inside(text.parse().unwrap())
    }

    #[test]
    fn the_edges_of_every_network_are_where_they_belong() {
        for (first, last, before, after) in [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            (
                "10.0.0.0",
                "10.255.255.255",
                Some("9.255.255.255"),
                Some("11.0.0.0"),
            ),
            (
                "100.64.0.0",
                "100.127.255.255",
                Some("100.63.255.255"),
                Some("100.128.0.0"),
            ),
            (
                "127.0.0.0",
                "127.255.255.255",
                Some("126.255.255.255"),
                Some("128.0.0.0"),
            ),
            (
                "169.254.0.0",
                "169.254.255.255",
                Some("169.253.255.255"),
                Some("169.255.0.0"),
            ),
            (
                "172.16.0.0",
                "172.31.255.255",
                Some("172.15.255.255"),
                Some("172.32.0.0"),
            ),
            (
                "192.168.0.0",
                "192.168.255.255",
                Some("192.167.255.255"),
                Some("192.169.0.0"),
            ),
            (
                "198.18.0.0",
                "198.19.255.255",
                Some("198.17.255.255"),
                Some("198.20.0.0"),
            ),
            (
                "224.0.0.0",
                "255.255.255.255",
                Some("223.255.255.255"),
                None,
            ),
            ("::", "1fff:ffff::", None, Some("2000::1")),
            (
                "2001::",
                "2001:1ff:ffff::",
                Some("2000:ffff::"),
                Some("2001:200::"),
            ),
            (
                "2001:db8::",
                "2001:db8:ffff::",
                Some("2001:db7:ffff::"),
                Some("2001:db9::"),
            ),
            (
                "3fff::",
                "3fff:fff:ffff::",
                Some("3ffe:ffff::"),
                Some("3fff:1000::"),
            ),
            ("4000::", "ffff:ffff::", Some("3fff:ffff::"), None),
        ] {
            for ip in [first, last] {
                assert!(what(ip).is_some(), "{ip}");
            }
            for ip in [before, after].into_iter().flatten() {
                assert_eq!(what(ip), None, "{ip}");
            }
        }
    }

    #[test]
    fn each_is_called_what_it_is() {
        for (ip, name) in [
            ("127.8.9.1", LOOPBACK),
            ("::1", LOOPBACK),
            ("::ffff:127.0.0.1", LOOPBACK),
            ("64:ff9b::7f00:1", LOOPBACK),
            ("2002:7f00:1::", LOOPBACK),
            ("2a00::5efe:127.0.0.1", LOOPBACK),
            ("fd12::1", PRIVATE),
            ("fec0::1", PRIVATE),
            ("64:ff9b:1::808:808", PRIVATE),
            ("169.254.169.254", LINK_LOCAL),
            ("168.63.129.16", LINK_LOCAL),
            ("fd00:ec2::254", LINK_LOCAL),
            ("fe80::1", LINK_LOCAL),
            ("ff02::1", MULTICAST),
            ("::127.0.0.1", RESERVED),
            ("2001:0:a:b::7f00:1", RESERVED),
        ] {
            assert_eq!(what(ip), Some(name), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "2606:4700::1111",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            assert_eq!(what(ip), None, "{ip}");
        }
    }

    proptest! {
        /// What the standard library knows of an address agrees with the table.
        #[test]
        fn what_is_private_to_the_standard_library_is_inside(bits in any::<u32>(), net in 0_usize..V4.len()) {
            // Half of the addresses fall into one of the networks.
            let (base, len, _) = V4[net];
            let low = bits & u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            for ip in [Ipv4Addr::from_bits(bits), Ipv4Addr::from_bits(u32::from_be_bytes(base) | low)] {
                let known = ip.is_private() || ip.is_loopback() || ip.is_link_local()
                    || ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified()
                    || ip.is_documentation();
                prop_assert!(!known || inside(ip.into()).is_some(), "{}", ip);
            }
            let ip = Ipv4Addr::from_bits(u32::from_be_bytes(base) | low);
            prop_assert!(inside(ip.into()).is_some(), "{}", ip);
        }

        /// No disguise changes what an IPv4 address is.
        #[test]
        fn an_address_inside_another_counts_as_itself(bits in any::<u32>()) {
            let ip = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = ip.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for carrier in [
                ip.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0x5efe, high, low),
            ] {
                prop_assert_eq!(inside(ip.into()).is_some(), inside(carrier.into()).is_some(), "{}", carrier);
            }
        }

        /// Nothing outside the globally routed block passes, and what the
        /// standard library knows of IPv6 agrees.
        #[test]
        fn ipv6_is_public_in_its_block_only(bits in any::<u128>()) {
            let ip = Ipv6Addr::from_bits(bits);
            let known = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast()
                || ip.is_unique_local() || ip.is_unicast_link_local();
            prop_assert!(!known || inside(ip.into()).is_some(), "{}", ip);
            if carried(ip).is_none() && bits >> 125 != 1 {
                prop_assert!(inside(ip.into()).is_some(), "{}", ip);
            }
        }
    }
}
