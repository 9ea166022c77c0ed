//! permessage-deflate (RFC 7692), without context takeover on either side.
//!
//! Without takeover each message is compressed by itself: its bytes are the same for all receivers and can be shared,
//! and a connection keeps no window between messages.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{
    decoder::WsError,
    frame::{self, Opcode},
};

/// What this server agrees to. Both parameters may be answered without having been offered (RFC 7692 §7.1.1).
pub(crate) const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Ends each message on the wire, where it is left out (RFC 7692 §7.2.1).
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// Output is asked for in steps of at least so many bytes.
const STEP_BYTES: usize = 1024;

/// Whether this element of `Sec-WebSocket-Extensions` is an offer that can be agreed to. A client that demands a smaller
/// window is declined, which it must be prepared for: messages go out uncompressed then.
pub(super) fn acceptable(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate")) {
        return false;
    }
    let mut seen = [false; 3];
    parts.all(|parameter| {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        let (place, sound) = match name {
            "server_no_context_takeover" => (0, value.is_none()),
            "client_no_context_takeover" => (1, value.is_none()),
            // A hint that may be left alone: without an answer the client uses a window of any size.
            "client_max_window_bits" => (2, value.is_none_or(is_window)),
            _ => return false,
        };
        // In bounds: `place` is one of three. Twice the same parameter is no valid offer.
        sound && !std::mem::replace(&mut seen[place], true)
    })
}

fn is_window(bits: &str) -> bool {
    matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
}

thread_local! {
    /// One per thread, because its tables are larger than most messages.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// The frame with its payload compressed, or itself where that would not be shorter.
pub(crate) fn deflated(plain: &Bytes, opcode: Opcode, bytes_min: usize) -> Bytes {
    let payload = frame::payload(plain);
    if payload.len() < bytes_min {
        return plain.clone();
    }
    match COMPRESS.with_borrow_mut(|compress| deflate(compress, payload)) {
        Some(small) if small.len() < payload.len() => frame::compressed_frame(opcode, &small),
        _ => plain.clone(),
    }
}

fn deflate(compress: &mut Compress, payload: &[u8]) -> Option<Vec<u8>> {
    compress.reset();
    let mut out = Vec::with_capacity(payload.len() / 2 + STEP_BYTES);
    let mut rest = payload;
    loop {
        let before = compress.total_in();
        compress.compress_vec(rest, &mut out, FlushCompress::Sync).ok()?;
        let taken = usize::try_from(compress.total_in() - before).ok()?;
        rest = rest.get(taken..)?;
        // Room that was left over means that the flush is complete.
        if rest.is_empty() && out.len() < out.capacity() {
            break;
        }
        out.reserve(STEP_BYTES);
    }
    let len = out.strip_suffix(TAIL)?.len();
    out.truncate(len);
    Some(out)
}

/// The message that these bytes were made from.
///
/// # Errors
/// [`WsError::TooBig`] as soon as it is longer than `bytes_max`, however little was sent;
/// [`WsError::Protocol`] when it is no compressed message.
pub(super) fn inflate(payload: &[u8], bytes_max: usize) -> Result<Vec<u8>, WsError> {
    let mut decompress = Decompress::new(false);
    let mut out = Vec::new();
    for mut rest in [payload, TAIL] {
        loop {
            if out.len() == out.capacity() {
                // One byte more than is allowed shows that there is more.
                let room = (bytes_max + 1).saturating_sub(out.len());
                out.reserve_exact(out.len().max(payload.len()).max(STEP_BYTES).min(room));
            }
            let (len_before, in_before) = (out.len(), decompress.total_in());
            let status = decompress
                .decompress_vec(rest, &mut out, FlushDecompress::Sync)
                .map_err(|_| WsError::Protocol("message cannot be inflated"))?;
            if out.len() > bytes_max {
                return Err(WsError::TooBig);
            }
            let taken = usize::try_from(decompress.total_in() - in_before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            if status == Status::StreamEnd {
                // A sender may end a block for good and begin another (RFC 7692 §7.2.3.4).
                decompress.reset(false);
            } else if taken == 0 && out.len() == len_before && out.len() < out.capacity() {
                break;
            }
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
        }
        if !rest.is_empty() {
            return Err(WsError::Protocol("message cannot be inflated"));
        }
    }
    Ok(out)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a client compresses.
    pub(in crate::realtime::ws) fn compressed(payload: &[u8]) -> Vec<u8> {
        deflate(&mut Compress::new(Compression::best(), false), payload).unwrap()
    }

    #[test]
    fn offers_are_taken_when_they_ask_for_nothing_that_is_not_given() {
        for taken in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10; server_no_context_takeover",
            "Permessage-Deflate;server_no_context_takeover;client_no_context_takeover",
        ] {
            assert!(acceptable(taken), "{taken}");
        }
        for declined in [
            "",
            "permessage-bzip2",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; faster",
        ] {
            assert!(!acceptable(declined), "{declined}");
        }
    }

    #[test]
    fn the_standards_own_examples_are_read() {
        // RFC 7692 §7.2.3.1, §7.2.3.3 (stored) and §7.2.3.4 (a final block).
        for hello in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        ] {
            assert_eq!(inflate(hello, 5).as_deref(), Ok(&b"Hello"[..]));
        }
        assert_eq!(inflate(&[0x00], 5).as_deref(), Ok(&b""[..]), "an empty message (§7.2.3.6)");
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let bomb = compressed(&vec![0; 10 << 20]);
        assert!(bomb.len() < 60_000, "{}", bomb.len());
        assert_eq!(inflate(&bomb, 65_536), Err(WsError::TooBig));
        let just = compressed(&[7; 1000]);
        assert_eq!(inflate(&just, 1000).map(|out| out.len()), Ok(1000));
        assert_eq!(inflate(&just, 999), Err(WsError::TooBig));
        assert!(matches!(inflate(&[0xff; 40], 1000), Err(WsError::Protocol(_))));
    }

    #[test]
    fn what_would_not_get_shorter_stays_as_it_is() {
        let small = frame::frame(Opcode::Text, b"{\"id\":1}");
        assert_eq!(deflated(&small, Opcode::Text, 256), small);
        let noise: Vec<u8> = (0..2000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let noise = frame::frame(Opcode::Binary, &noise);
        let sent = deflated(&noise, Opcode::Binary, 0);
        assert!(sent.len() <= noise.len());
    }

    proptest! {
        #[test]
        fn every_message_comes_back(payload in prop::collection::vec(prop::sample::select(&b"{}\"ab \0\xff"[..]), 0..9000)) {
            let plain = frame::frame(Opcode::Binary, &payload);
            let sent = deflated(&plain, Opcode::Binary, 0);
            let got = frame::payload(&sent);
            if sent[0] & 0x40 == 0 {
                prop_assert_eq!(got, &payload[..]);
            } else {
                prop_assert_eq!(inflate(got, payload.len()), Ok(payload));
            }
        }

        #[test]
        fn no_bytes_panic_or_give_more_than_is_allowed(bytes in prop::collection::vec(any::<u8>(), 0..400), max in 0_usize..2000) {
            if let Ok(out) = inflate(&bytes, max) {
                prop_assert!(out.len() <= max);
            }
        }
    }
}
