//! Which addresses webhooks may go to. The check is on the address that is connected to, after the name was resolved, so
//! a name that changes its answer gains nothing.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses in CIDR notation, e.g. `127.0.0.0/8`. A bare address is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNet {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no address range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address range; write one like 10.0.0.0/8 or fd00::/8")]
pub struct IpNetError {
    pub text: String,
}

impl FromStr for IpNet {
    type Err = IpNetError;

    fn from_str(text: &str) -> Result<Self, IpNetError> {
        let error = || IpNetError { text: text.to_owned() };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| error())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |prefix| prefix.trim().parse().map_err(|_| error()))?;
        if prefix > bits { Err(error()) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl IpNet {
    pub fn contains(&self, ip: IpAddr) -> bool {
        let shift = |bits: u32| bits - u32::from(self.prefix);
        match (self.address, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                (net.to_bits() ^ ip.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                (net.to_bits() ^ ip.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// What is special about an address that is not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    Unspecified,
    Loopback,
    Private,
    /// Includes the metadata services of clouds at 169.254.169.254.
    LinkLocal,
    /// An address that looks public, at which a cloud answers its own machines.
    Metadata,
    SharedCarrier,
    Multicast,
    Broadcast,
    Documentation,
    Benchmarking,
    Reserved,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "a loopback address",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Metadata => "a metadata service",
            Self::SharedCarrier => "shared (carrier-grade NAT)",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "for documentation",
            Self::Benchmarking => "for benchmarking",
            Self::Reserved => "reserved",
        })
    }
}

/// Decides about addresses: public ones, and what the configuration allows.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow: Vec<IpNet>,
}

impl Guard {
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// # Errors
    /// The range that forbids it.
    pub fn check(&self, ip: IpAddr) -> Result<(), Range> {
        // An IPv4 address in IPv6 clothes is judged as what it is.
        let plain = embedded_v4(ip).map_or(ip, IpAddr::V4);
        if self.allow.iter().any(|net| net.contains(ip) || net.contains(plain)) {
            return Ok(());
        }
        let range = match plain {
            IpAddr::V4(v4) => special_v4(v4),
            IpAddr::V6(v6) => special_v6(v6),
        };
        range.map_or(Ok(()), Err)
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64 (64:ff9b::/96) or 6to4 (2002::/16).
fn embedded_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return None };
    let [.., a, b, c, d] = v6.octets();
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] if !v6.is_loopback() && !v6.is_unspecified() => Some(Ipv4Addr::new(a, b, c, d)),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(Ipv4Addr::new(a, b, c, d)),
        [0x2002, high, low, ..] => Some(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low))),
        _ => None,
    }
}

fn special_v4(ip: Ipv4Addr) -> Option<Range> {
    Some(match ip.octets() {
        [0, ..] => Range::Unspecified,
        [127, ..] => Range::Loopback,
        [10, ..] | [192, 168, ..] => Range::Private,
        [172, second, ..] if second & 0xf0 == 16 => Range::Private,
        [169, 254, ..] => Range::LinkLocal,
        // Azure's, which hands out certificates and settings of the machine that asks.
        [168, 63, 129, 16] => Range::Metadata,
        [100, second, ..] if second & 0xc0 == 64 => Range::SharedCarrier,
        [255, 255, 255, 255] => Range::Broadcast,
        [first, ..] if first & 0xf0 == 224 => Range::Multicast,
        [first, ..] if first >= 240 => Range::Reserved,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Range::Documentation,
        [198, 18 | 19, ..] => Range::Benchmarking,
        [192, 0, 0, _] | [192, 88, 99, _] => Range::Reserved,
        _ => return None,
    })
}

fn special_v6(ip: Ipv6Addr) -> Option<Range> {
    Some(match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Range::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Range::Loopback,
        [first, ..] if first & 0xfe00 == 0xfc00 => Range::Private,
        [first, ..] if first & 0xffc0 == 0xfe80 => Range::LinkLocal,
        // Site-local, long deprecated, still routed by some.
        [first, ..] if first & 0xffc0 == 0xfec0 => Range::Private,
        [first, ..] if first & 0xff00 == 0xff00 => Range::Multicast,
        [0x2001, 0xdb8, ..] => Range::Documentation,
        [0x3fff, second, ..] if second & 0xf000 == 0 => Range::Documentation,
        // Local-use NAT64; and protocol assignments, with Teredo, whose inner address nobody can vouch for.
        [0x64, 0xff9b, 1, ..] => Range::Reserved,
        [0x2001, second, ..] if second & 0xfe00 == 0 => Range::Reserved,
        [first, ..] if first & 0xe000 != 0x2000 => Range::Reserved,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn what_is_not_public_is_refused_by_its_name() {
        for (text, range) in [
            ("127.0.0.1", Range::Loopback),
            ("127.8.9.10", Range::Loopback),
            ("10.1.2.3", Range::Private),
            ("172.16.0.1", Range::Private),
            ("172.31.255.255", Range::Private),
            ("192.168.1.1", Range::Private),
            ("169.254.169.254", Range::LinkLocal),
            ("100.64.0.1", Range::SharedCarrier),
            ("100.100.100.200", Range::SharedCarrier),
            ("0.0.0.0", Range::Unspecified),
            ("0.1.2.3", Range::Unspecified),
            ("224.0.0.1", Range::Multicast),
            ("255.255.255.255", Range::Broadcast),
            ("240.0.0.1", Range::Reserved),
            ("198.18.0.1", Range::Benchmarking),
            ("::", Range::Unspecified),
            ("::1", Range::Loopback),
            ("fe80::1", Range::LinkLocal),
            ("fd00:ec2::254", Range::Private),
            ("ff02::1", Range::Multicast),
            ("::ffff:127.0.0.1", Range::Loopback),
            ("::ffff:169.254.169.254", Range::LinkLocal),
            ("::10.0.0.1", Range::Private),
            ("64:ff9b::a00:1", Range::Private),
            ("2002:7f00:1::", Range::Loopback),
            ("2001:0:1::1", Range::Reserved),
            ("168.63.129.16", Range::Metadata),
            ("::ffff:168.63.129.16", Range::Metadata),
            ("2002:a83f:8110::", Range::Metadata),
            ("2001:2::1", Range::Reserved),
            ("2001:1ff::1", Range::Reserved),
            ("3fff:fff::1", Range::Documentation),
        ] {
            assert_eq!(Guard::default().check(ip(text)), Err(range), "{text}");
        }
    }

    #[test]
    fn public_addresses_pass() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "168.63.129.17",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(Guard::default().check(ip(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_configuration_can_allow_a_range() {
        let guard = Guard::new(vec!["127.0.0.0/8".parse().expect("net"), "fd00::/8".parse().expect("net")]);
        assert_eq!(guard.check(ip("127.0.0.1")), Ok(()));
        assert_eq!(guard.check(ip("::ffff:127.0.0.1")), Ok(()));
        assert_eq!(guard.check(ip("fd12::1")), Ok(()));
        assert_eq!(guard.check(ip("10.0.0.1")), Err(Range::Private));
        assert_eq!(Guard::new(vec!["0.0.0.0/0".parse().expect("net")]).check(ip("10.0.0.1")), Ok(()));
    }

    #[test]
    fn ranges_that_make_no_sense_are_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "ten/8", "10.0.0.0/", "10.0.0/8"] {
            assert!(text.parse::<IpNet>().is_err(), "{text}");
        }
    }
}
