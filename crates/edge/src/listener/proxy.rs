//! The PROXY protocol, versions 1 and 2: a line or a block in front of everything else, in which a proxy says whose
//! connection this is (haproxy.org/download/3.2/doc/proxy-protocol.txt).
//!
//! Only what a trusted proxy sends is read this way. From anybody else it is what it looks like: no HTTP and no TLS.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Begins version 2. Version 1 begins with `PROXY ` and is never shorter than this (§2.1, §2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, its end included (§2.1).
const LINE_BYTES_MAX: usize = 107;

/// Bytes after the head of version 2: addresses and what proxies add. The format allows 65,535, of which none is read.
const BLOCK_BYTES_MAX: usize = 2048;

/// What is wrong with a PROXY header. The connection is closed without a word, as the standard wants.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("ended before its PROXY header did")]
    Ended(#[from] io::Error),
    #[error("does not begin with a PROXY header")]
    Missing,
    #[error("PROXY line: {0}")]
    Line(&'static str),
    #[error("PROXY block: {0}")]
    Block(&'static str),
}

/// Reads the header, and not one byte more. `None`: the proxy speaks for itself (a health check), or does not know.
///
/// The caller bounds the time. Cancel safe in that a half-read header is worth nothing to anybody.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let mut beginning = [0; SIGNATURE.len()];
    stream.read_exact(&mut beginning).await?;
    if beginning == SIGNATURE {
        return read_block(stream).await;
    }
    if !beginning.starts_with(b"PROXY ") {
        return Err(ProxyError::Missing);
    }
    let mut line = Vec::with_capacity(LINE_BYTES_MAX);
    line.extend_from_slice(&beginning);
    // One by one, because what follows the line is not ours; about fifty, once per connection of a proxy.
    while !line.ends_with(b"\n") {
        if line.len() == LINE_BYTES_MAX {
            return Err(ProxyError::Line("too long"));
        }
        line.push(stream.read_u8().await?);
    }
    source_of_line(&line)
}

/// Version 1: `PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n`.
fn source_of_line(line: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let line = line.strip_suffix(b"\r\n").ok_or(ProxyError::Line("does not end with CR LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Line("not ASCII"))?;
    let mut words = line.split(' ').skip(1);
    let ip: fn(&str) -> Option<IpAddr> = match words.next() {
        // What else the line says is to be ignored (§2.1).
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => |word| word.parse().ok().map(IpAddr::V4),
        Some("TCP6") => |word| word.parse().ok().map(IpAddr::V6),
        _ => return Err(ProxyError::Line("neither TCP4, TCP6 nor UNKNOWN")),
    };
    let mut next_ip = || words.next().and_then(ip).ok_or(ProxyError::Line("not an address of its family"));
    let (source, _destination) = (next_ip()?, next_ip()?);
    let mut next_port = || words.next().and_then(port).ok_or(ProxyError::Line("not a port"));
    let (source_port, _destination_port) = (next_port()?, next_port()?);
    match words.next() {
        None => Ok(Some(SocketAddr::new(source, source_port))),
        Some(_) => Err(ProxyError::Line("more than there should be")),
    }
}

/// Decimal digits without sign or leading zeros.
fn port(word: &str) -> Option<u16> {
    let port: u16 = word.parse().ok()?;
    (port.to_string() == word).then_some(port)
}

/// Version 2, after the signature.
async fn read_block(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version_command, family, high, low] = head;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > BLOCK_BYTES_MAX {
        return Err(ProxyError::Block("too long"));
    }
    let mut block = vec![0; len];
    stream.read_exact(&mut block).await?;
    source_of_block(version_command, family, &block)
}

fn source_of_block(version_command: u8, family: u8, block: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    match version_command {
        0x20 => return Ok(None), // LOCAL: whatever else it says is to be ignored (§2.2)
        0x21 => {}
        _ => return Err(ProxyError::Block("neither LOCAL nor PROXY of version 2")),
    }
    let short = ProxyError::Block("shorter than its addresses");
    match family {
        // Over TCP: source, destination, source port, destination port.
        0x11 => {
            let Some(([a, b, c, d, _, _, _, _, high, low, _, _], _extra)) = block.split_first_chunk() else {
                return Err(short);
            };
            let ip = Ipv4Addr::new(*a, *b, *c, *d);
            Ok(Some(SocketAddr::new(ip.into(), u16::from_be_bytes([*high, *low]))))
        }
        0x21 => {
            let Some((source, rest)) = block.split_first_chunk::<16>() else { return Err(short) };
            let Some((_destination, rest)) = rest.split_first_chunk::<16>() else { return Err(short) };
            let Some(([high, low, _, _], _extra)) = rest.split_first_chunk() else { return Err(short) };
            let ip = Ipv6Addr::from(*source);
            Ok(Some(SocketAddr::new(ip.into(), u16::from_be_bytes([*high, *low]))))
        }
        // Unspecified, or a Unix socket: there is no address to tell.
        0x00 | 0x31 => Ok(None),
        _ => Err(ProxyError::Block("not TCP")),
    }
}

#[cfg(test)]
mod entry;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read, and what is left for others.
    async fn read_all(bytes: &[u8]) -> (Result<Option<String>, String>, Vec<u8>) {
        let mut rest = bytes;
        let source = read(&mut rest).await;
        (source.map(|addr| addr.map(|addr| addr.to_string())).map_err(|error| error.to_string()), rest.to_vec())
    }

    fn block(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let len = (block.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[version_command, family], &len, block].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_what_follows() {
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0x1f, 0x90, 0, 80]].concat();
        for (header, source) in [
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n".to_vec(), Some("203.0.113.9:56324")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n".to_vec(), Some("[2001:db8::1]:1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN whatever it says\r\n".to_vec(), None),
            (block(0x21, 0x11, &[203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 4, 1, 187]), Some("203.0.113.9:56324")),
            // With something that a proxy adds (a TLV).
            (
                block(0x21, 0x11, &[203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 4, 1, 187, 4, 0, 1, 0]),
                Some("203.0.113.9:56324"),
            ),
            (block(0x21, 0x21, &v6), Some("[2001:db8::1]:8080")),
            (block(0x20, 0x00, &[]), None),
            (block(0x20, 0x11, &[1; 12]), None),
            (block(0x21, 0x00, &[]), None),
            (block(0x21, 0x31, &[0; 216]), None),
        ] {
            let bytes = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let (got, rest) = read_all(&bytes).await;
            assert_eq!(got, Ok(source.map(str::to_owned)), "{}", header.escape_ascii());
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long_line = [&b"PROXY UNKNOWN "[..], &[b'x'; 100], b"\r\n"].concat();
        let long_block = [&SIGNATURE[..], &[0x20, 0, 0xff, 0xff], &[0; 70_000]].concat();
        for bytes in [
            b"".to_vec(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443".to_vec(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443 9\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9  192.0.2.1 56324 443\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 056324 443\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 +1 443\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 65536 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 192.0.2.1 1 443\r\n".to_vec(),
            b"PROXY TCP6 203.0.113.9 192.0.2.1 1 443\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.9 192.0.2.1 1 443\r\n".to_vec(),
            b"PROXY TCP4 \xff\xff\xff\xff\xff\xff\r\n".to_vec(),
            long_line,
            long_block,
            block(0x11, 0x11, &[0; 12]),
            block(0x22, 0x11, &[0; 12]),
            block(0x21, 0x12, &[0; 12]),
            block(0x21, 0x11, &[0; 11]),
            block(0x21, 0x21, &[0; 35]),
            SIGNATURE.to_vec(),
        ] {
            let (got, _) = read_all(&bytes).await;
            assert!(got.is_err(), "{}: {got:?}", bytes.get(..40).unwrap_or(&bytes).escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(family: u8, version: u8, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = source_of_block(version, family, &bytes);
            let _ = source_of_line(&bytes);
            let _ = source_of_line(&[b"PROXY TCP4 ", &bytes[..], b"\r\n"].concat());
        }
    }
}
