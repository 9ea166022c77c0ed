//! What the fuzz target `proxy_header` runs, and an ordinary test besides. Included by both.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{ProxyError, read};

/// Both versions at their longest.
const HEADER_BYTES_MAX: usize = 16 + 2048;

/// Reads what a proxy sends. How it comes must not matter, nor what follows it, and not one byte of that may be taken.
pub(crate) fn header(data: &[u8]) {
    let (source, taken) = source(data, usize::MAX);
    assert!(taken <= if data.starts_with(b"PROXY ") { 107 } else { HEADER_BYTES_MAX });
    let (in_pieces, taken_in_pieces) = self::source(data, 1);
    assert_eq!((told(&source), taken), (told(&in_pieces), taken_in_pieces), "how bytes are cut must not matter");
    let header = &data[..taken];
    if let Ok(source) = source {
        let (alone, _) = self::source(header, usize::MAX);
        assert_eq!(alone.expect("all that was taken"), source);
        if let Some(source) = source {
            assert!(says(header, source), "{source} is in none of it");
        }
    }
}

/// Whether the header names this address, read another way.
fn says(header: &[u8], source: SocketAddr) -> bool {
    let port = source.port();
    match (header.strip_prefix(b"PROXY TCP"), source.ip()) {
        (Some(line), ip) => {
            let words: Vec<&str> = std::str::from_utf8(line).expect("ASCII").trim_end().split(' ').collect();
            words.len() == 5 && words[1].parse() == Ok(ip) && words[3] == port.to_string()
        }
        (None, IpAddr::V4(ip)) => header[16..20] == ip.octets() && header[24..26] == port.to_be_bytes(),
        (None, IpAddr::V6(ip)) => header[16..32] == ip.octets() && header[48..50] == port.to_be_bytes(),
    }
}

fn told(source: &Result<Option<SocketAddr>, ProxyError>) -> Result<Option<SocketAddr>, String> {
    source.as_ref().copied().map_err(ToString::to_string)
}

/// What is read from `data`, and how much of it is taken.
fn source(data: &[u8], piece: usize) -> (Result<Option<SocketAddr>, ProxyError>, usize) {
    let mut wire = Wire { rest: data, piece };
    // All of it is there, so nothing is ever waited for.
    let Poll::Ready(source) = pin!(read(&mut wire)).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits for what never comes");
    };
    (source, data.len() - wire.rest.len())
}

/// Bytes that come in pieces.
struct Wire<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl AsyncRead for Wire<'_> {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (now, later) = this.rest.split_at(this.rest.len().min(this.piece).min(buf.remaining()));
        buf.put_slice(now);
        this.rest = later;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "../../../../../fuzz/corpus.rs"]
mod corpus;

#[cfg(test)]
#[test]
fn the_fuzz_target_runs_over_its_corpus() {
    corpus::run(env!("CARGO_MANIFEST_DIR"), "proxy", header);
}
