//! What kind of address an address is: the registries of special addresses (RFC 6890 and what came after it), by hand.
//!
//! IPv6 has several ways of writing an IPv4 address. Where a packet to it goes to the IPv4 address, it counts as that one
//! ([`plain`]): mapped (`::ffff:127.0.0.1`), compatible (`::127.0.0.1`), and translated by NAT64 (`64:ff9b::127.0.0.1`). Tunnels (6to4,
//! Teredo) lead through somebody else's machine and are reserved as a whole. Of the rest only `2000::/3` is public:
//! nothing else has ever been given out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of address an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anybody's, on the internet.
    Public,
    /// This machine's own, `0.0.0.0` and `::` among them: a connection to those goes to this machine.
    Loopback,
    /// Of a private network: RFC 1918, unique local addresses, what carriers share.
    Private,
    /// Of the wire that this machine hangs on.
    LinkLocal,
    /// Where a cloud answers questions about the machine that asks, credentials included.
    Metadata,
    /// Of a group, not of a machine.
    Multicast,
    /// Set aside: for documents, for measurements, for protocols, for later.
    Reserved,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Public => "a public address",
            Kind::Loopback => "a loopback address",
            Kind::Private => "an address of a private network",
            Kind::LinkLocal => "a link-local address",
            Kind::Metadata => "the metadata service of a cloud",
            Kind::Multicast => "a multicast address",
            Kind::Reserved => "a reserved address",
        })
    }
}

/// Where clouds have their metadata services: AWS and most others, AWS for tasks, for pods and over IPv6, Alibaba, Oracle, Azure, Google
/// over IPv6.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Names that lead to metadata services, without a look at where they lead: a proxy may see them elsewhere than we do.
pub const METADATA_NAMES: [&str; 6] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "instance-data.ec2.internal",
];

/// The address that a packet really goes to: the IPv4 address for the forms of IPv6 that hold one.
pub fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.segments() {
            // Mapped and NAT64.
            [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] => v4(a, b),
            // `::` and `::1` are addresses of their own.
            [0, 0, 0, 0, 0, 0, a, b] if a != 0 || b > 1 => v4(a, b),
            _ => address,
        },
    }
}

fn v4(high: u16, low: u16) -> IpAddr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// The kind of an address.
pub fn kind(address: IpAddr) -> Kind {
    match plain(address) {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    if METADATA_V4.contains(&address) {
        return Kind::Metadata;
    }
    match address.octets() {
        [0 | 127, ..] => Kind::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Kind::Private,
        [169, 254, ..] => Kind::LinkLocal,
        [224..=239, ..] => Kind::Multicast,
        // Protocols; documents; the old way from IPv6; documents; measurements; documents; later, and broadcast.
        [192, 0, 0, _]
        | [192, 0, 2, _]
        | [192, 88, 99, _]
        | [198, 51, 100, _]
        | [198, 18 | 19, ..]
        | [203, 0, 113, _]
        | [240..=255, ..] => Kind::Reserved,
        _ => Kind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    if METADATA_V6.contains(&address) {
        return Kind::Metadata;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Kind::Loopback,
        // Unique local, and NAT64 within one network: what it leads to is that network's own affair.
        [0xfc00..=0xfdff, ..] | [0x64, 0xff9b, 1, ..] => Kind::Private,
        // With the site-local ones of old.
        [0xfe80..=0xfeff, ..] => Kind::LinkLocal,
        [0xff00..=0xffff, ..] => Kind::Multicast,
        // Protocols and Teredo; documents; 6to4; documents.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => Kind::Reserved,
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_range_is_known_from_its_first_address_to_its_last_and_not_beyond() {
        use Kind::{LinkLocal, Loopback, Metadata, Multicast, Private, Public, Reserved};
        for (address, expected) in [
            ("0.0.0.0", Loopback),
            ("0.255.255.255", Loopback),
            ("1.0.0.0", Public),
            ("9.255.255.255", Public),
            ("10.0.0.0", Private),
            ("10.255.255.255", Private),
            ("11.0.0.0", Public),
            ("100.63.255.255", Public),
            ("100.64.0.0", Private),
            ("100.100.100.200", Metadata),
            ("100.127.255.255", Private),
            ("100.128.0.0", Public),
            ("126.255.255.255", Public),
            ("127.0.0.0", Loopback),
            ("127.255.255.255", Loopback),
            ("128.0.0.0", Public),
            ("168.63.129.16", Metadata),
            ("168.63.129.17", Public),
            ("169.253.255.255", Public),
            ("169.254.0.0", LinkLocal),
            ("169.254.169.254", Metadata),
            ("169.254.170.2", Metadata),
            ("169.254.255.255", LinkLocal),
            ("169.255.0.0", Public),
            ("172.15.255.255", Public),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("172.32.0.0", Public),
            ("192.0.0.0", Reserved),
            ("192.0.0.192", Metadata),
            ("192.0.1.0", Public),
            ("192.0.2.255", Reserved),
            ("192.88.99.1", Reserved),
            ("192.167.255.255", Public),
            ("192.168.0.0", Private),
            ("192.168.255.255", Private),
            ("192.169.0.0", Public),
            ("198.17.255.255", Public),
            ("198.18.0.0", Reserved),
            ("198.19.255.255", Reserved),
            ("198.20.0.0", Public),
            ("198.51.100.7", Reserved),
            ("203.0.113.7", Reserved),
            ("223.255.255.255", Public),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("240.0.0.0", Reserved),
            ("255.255.255.255", Reserved),
            ("::", Loopback),
            ("::1", Loopback),
            ("::2", Loopback),
            ("64:ff9b:1::a00:1", Private),
            ("100::1", Reserved),
            ("1fff::1", Reserved),
            ("2000::1", Public),
            ("2001::1", Reserved),
            ("2001:1ff::1", Reserved),
            ("2001:200::1", Public),
            ("2001:db8::1", Reserved),
            ("2001:4860:4860::8888", Public),
            ("2002:7f00:1::", Reserved),
            ("3fff::1", Reserved),
            ("3fff:1000::1", Public),
            ("4000::1", Reserved),
            ("5f00::1", Reserved),
            ("fc00::1", Private),
            ("fd00:ec2::254", Metadata),
            ("fd00:ec2::253", Private),
            ("fd20:ce::254", Metadata),
            ("fdff:ffff::1", Private),
            ("fe00::1", Reserved),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", LinkLocal),
            ("ff02::1", Multicast),
        ] {
            assert_eq!(kind(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_in_the_clothes_of_ipv6_is_what_it_is() {
        for form in ["::ffff:", "::", "64:ff9b::"] {
            for v4 in ["127.0.0.1", "10.1.2.3", "169.254.169.254", "0.0.0.9", "93.184.216.34", "224.0.0.1"] {
                let dressed: IpAddr = format!("{form}{v4}").parse().unwrap();
                let bare: IpAddr = v4.parse().unwrap();
                assert_eq!(plain(dressed), bare, "{dressed}");
                assert_eq!(kind(dressed), kind(bare), "{dressed}");
            }
        }
        assert_eq!(plain("::1".parse().unwrap()), "::1".parse::<IpAddr>().unwrap());
    }
}
