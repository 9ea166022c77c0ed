//! Who is at the other end of a connection, and whom to believe about it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use http::HeaderMap;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

/// The far end of one connection. Each request carries it as an extension.
///
/// A clone keeps the connection's place under the listener's connection limit: whoever keeps a socket after an HTTP
/// upgrade keeps a `Peer` beside it, so that upgraded sockets count like any other.
#[derive(Clone, Debug)]
pub struct Peer {
    addr: SocketAddr,
    proxies: Arc<[Cidr]>,
    _slot: Arc<Slot>,
}

/// A place under the connection limit; given back when the last clone of the [`Peer`] goes.
#[derive(Debug)]
pub(super) struct Slot {
    gauge: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    pub(super) fn new(permit: OwnedSemaphorePermit, gauge: Gauge) -> Self {
        gauge.inc();
        Self { gauge, _permit: permit }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Peer {
    /// The other end is a proxy, which says that it speaks for this one.
    pub(super) fn speaks_for(&mut self, client: SocketAddr) {
        self.addr = client;
    }

    /// Whether the other end is one of the configured proxies.
    pub(super) fn is_trusted(&self) -> bool {
        let ip = self.addr.ip();
        self.proxies.iter().any(|range| range.contains(ip))
    }

    pub(super) fn new(addr: SocketAddr, proxies: Arc<[Cidr]>, slot: Slot) -> Self {
        Self { addr, proxies, _slot: Arc::new(slot) }
    }

    /// The address at the other end of the socket, which may be a proxy's, or what a trusted proxy said by the PROXY
    /// protocol.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The client's address (`ClientIP` of protocol: webhooks §1.1): the socket's, or what a trusted proxy says in
    /// `X-Forwarded-For`. Entries are read from the right as long as each hop is trusted, so that a client cannot
    /// choose its address by sending the header itself.
    pub fn client_ip(&self, headers: &HeaderMap) -> IpAddr {
        client_ip(self.addr.ip(), headers, &self.proxies)
    }
}

fn client_ip(peer: IpAddr, headers: &HeaderMap, proxies: &[Cidr]) -> IpAddr {
    let mut nearest = peer.to_canonical();
    let trusted = |ip: IpAddr| proxies.iter().any(|range| range.contains(ip));
    if !trusted(nearest) {
        return nearest;
    }
    for line in headers.get_all("x-forwarded-for").iter().rev() {
        let Ok(line) = line.to_str() else { return nearest };
        for hop in line.rsplit(',') {
            let Some(ip) = parse_hop(hop.trim()) else { return nearest };
            nearest = ip;
            if !trusted(ip) {
                return ip;
            }
        }
    }
    nearest
}

/// One `X-Forwarded-For` entry: an address, by some proxies with a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let ip = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|addr| addr.ip()));
    ip.ok().map(|ip| ip.to_canonical())
}

/// A range of addresses, as in `10.0.0.0/8` or `fd00::/8`; a bare address is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix_bits: u8,
}

/// Why a text is no address range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address range; write it like 10.0.0.0/8 or fd00::/8")]
pub struct CidrError(String);

impl Cidr {
    /// Whether `ip` lies in the range. An IPv4 address inside IPv6 counts as the IPv4 address that it is.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let shift = |width: u32| width.saturating_sub(u32::from(self.prefix_bits));
        match (self.network, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let differing = u32::from(network) ^ u32::from(ip);
                differing.checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let differing = u128::from(network) ^ u128::from(ip);
                differing.checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The ranges of this machine itself: what development setups trust.
    pub const LOOPBACK_V4: Self = Self { network: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix_bits: 8 };
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let error = || CidrError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.trim().parse().map_err(|_| error())?;
        let widest = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            Some(prefix) => prefix.trim().parse().map_err(|_| error())?,
            None => widest,
        };
        if prefix_bits > widest { Err(error()) } else { Ok(Self { network, prefix_bits }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen_as(peer: &str, forwarded: &[&str], proxies: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let proxies: Vec<Cidr> = proxies.iter().map(|range| range.parse().unwrap()).collect();
        client_ip(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        assert_eq!(seen_as("203.0.113.9", &["1.2.3.4"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(seen_as("203.0.113.9", &["1.2.3.4"], &[]), "203.0.113.9");
    }

    #[test]
    fn a_trusted_proxy_names_its_client_and_only_its_own_entry_counts() {
        let proxies = ["10.0.0.0/8"];
        assert_eq!(seen_as("10.0.0.1", &["203.0.113.9"], &proxies), "203.0.113.9");
        // The client sent "1.2.3.4" itself; the proxy appended what it saw.
        assert_eq!(seen_as("10.0.0.1", &["1.2.3.4, 203.0.113.9"], &proxies), "203.0.113.9");
        assert_eq!(seen_as("10.0.0.1", &["1.2.3.4", "203.0.113.9, 10.9.9.9"], &proxies), "203.0.113.9");
        assert_eq!(seen_as("10.0.0.1", &["203.0.113.9:5555"], &proxies), "203.0.113.9");
        assert_eq!(seen_as("10.0.0.1", &["nonsense"], &proxies), "10.0.0.1");
        assert_eq!(seen_as("10.0.0.1", &["10.0.0.7"], &proxies), "10.0.0.7");
        assert_eq!(seen_as("10.0.0.1", &[], &proxies), "10.0.0.1");
    }

    #[test]
    fn ranges_contain_what_they_say() {
        let holds = |range: &str, ip: &str| range.parse::<Cidr>().unwrap().contains(ip.parse().unwrap());
        assert!(holds("127.0.0.0/8", "127.9.9.9"));
        assert!(holds("127.0.0.0/8", "::ffff:127.0.0.1"));
        assert!(!holds("127.0.0.0/8", "128.0.0.1"));
        assert!(holds("0.0.0.0/0", "8.8.8.8"));
        assert!(!holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "2001:db8::1"));
        assert!(holds("fd00::/8", "fd12::1"));
        assert!(!holds("fd00::/8", "fe80::1"));
        assert!(holds("192.0.2.7", "192.0.2.7"));
        assert!(!holds("192.0.2.7", "192.0.2.8"));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/x", "host/8"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
