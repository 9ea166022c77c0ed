//! Reading frames of a client: bytes in, whole messages out.

use bytes::Bytes;

use super::{
    deflate::inflate,
    frame::{Opcode, RSV1},
};

/// What a client sent, whole and unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Valid UTF-8.
    Text(Bytes),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    /// The client says goodbye, with its code if it gave one.
    Close(Option<u16>),
}

/// What broke the WebSocket protocol. The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WsError {
    #[error("{0}")]
    Protocol(&'static str),
    #[error("message too big")]
    TooBig,
    #[error("text is not utf-8")]
    Utf8,
}

impl WsError {
    /// The close code (RFC 6455 §7.4.1).
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Utf8 => 1007,
            Self::TooBig => 1009,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of a message, over all its fragments, and again after it was inflated.
    pub(crate) message_bytes_max: usize,
    /// Fragments of a message: each costs work, however empty.
    pub(crate) fragments_max: u32,
    /// permessage-deflate was agreed to: messages may be compressed.
    pub(crate) inflate: bool,
}

/// Collects bytes until they make a message. Holds no buffer while nothing is underway, never more than a message and a
/// read beyond it otherwise.
#[derive(Debug)]
pub(crate) struct Decoder {
    limits: Limits,
    /// Bytes that were read and not understood yet, from `start` on.
    unread: Vec<u8>,
    start: usize,
    /// The message whose fragments are arriving.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    opcode: Opcode,
    compressed: bool,
    payload: Vec<u8>,
    fragments: u32,
}

struct Header {
    fin: bool,
    compressed: bool,
    opcode: Opcode,
    mask: [u8; 4],
    header_len: usize,
    payload_len: usize,
}

impl Decoder {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, unread: Vec::new(), start: 0, partial: None }
    }

    /// Takes bytes as they came from the socket.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Bytes held now.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.unread.capacity() + self.partial.as_ref().map_or(0, |partial| partial.payload.capacity())
    }

    /// The next whole message, or `None` when more bytes are needed. After an error the decoder is of no use.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, WsError> {
        loop {
            let Some(header) = self.header()? else {
                self.compact();
                return Ok(None);
            };
            let end = self.start + header.header_len + header.payload_len;
            let Some(payload) = self.unread.get_mut(self.start + header.header_len..end) else {
                self.compact();
                return Ok(None);
            };
            unmask(payload, header.mask);
            let message = if header.opcode.is_control() {
                Some(control(header.opcode, payload)?)
            } else {
                join(&mut self.partial, self.limits, &header, payload)?
            };
            self.start = end;
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Reads and checks a frame's header; `None` when it is not there yet.
    fn header(&self) -> Result<Option<Header>, WsError> {
        let bytes = self.unread.get(self.start..).unwrap_or_default();
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(WsError::Protocol("unknown opcode"))?;
        let compressed = first & RSV1 != 0;
        // Only the first frame of a message says that it is compressed.
        let may_be = self.limits.inflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & 0x30 != 0 || (compressed && !may_be) {
            return Err(WsError::Protocol("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(WsError::Protocol("frame is not masked"));
        }
        let (len, len_bytes) = match (second & 0x7f, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 2),
            (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 8),
            (126 | 127, _) => return Ok(None),
            (short, _) => (u64::from(short), 0),
        };
        let fin = first & 0x80 != 0;
        if opcode.is_control() && (!fin || len > 125) {
            return Err(WsError::Protocol("control frame is fragmented or too long"));
        }
        let so_far = self.partial.as_ref().map_or(0, |partial| partial.payload.len());
        let payload_len = usize::try_from(len).map_err(|_| WsError::TooBig)?;
        // Before the payload is waited for: nobody gets to announce what would not be taken.
        if !opcode.is_control() && payload_len > self.limits.message_bytes_max.saturating_sub(so_far) {
            return Err(WsError::TooBig);
        }
        let Some([a, b, c, d]) = rest.get(len_bytes..len_bytes + 4) else { return Ok(None) };
        let (mask, header_len) = ([*a, *b, *c, *d], 2 + len_bytes + 4);
        Ok(Some(Header { fin, compressed, opcode, mask, header_len, payload_len }))
    }

    /// Drops what was understood; gives the buffer back when nothing is left.
    fn compact(&mut self) {
        if self.start >= self.unread.len() {
            self.unread = Vec::new();
        } else if self.start > 0 {
            self.unread.drain(..self.start);
        }
        self.start = 0;
    }
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Incoming, WsError> {
    match (opcode, payload) {
        (Opcode::Ping, payload) => Ok(Incoming::Ping(Bytes::copy_from_slice(payload))),
        (Opcode::Pong, _) => Ok(Incoming::Pong),
        (_, []) => Ok(Incoming::Close(None)),
        (_, [_]) => Err(WsError::Protocol("close frame of one byte")),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(WsError::Protocol("close code is not allowed"));
            }
            std::str::from_utf8(reason).map_err(|_| WsError::Utf8)?;
            Ok(Incoming::Close(Some(code)))
        }
    }
}

/// Adds a data frame to the message underway; returns the message when this was its last frame.
fn join(
    partial: &mut Option<Partial>,
    limits: Limits,
    header: &Header,
    payload: &[u8],
) -> Result<Option<Incoming>, WsError> {
    match (header.opcode, partial.as_mut()) {
        (Opcode::Continuation, None) => return Err(WsError::Protocol("continuation of nothing")),
        (Opcode::Continuation, Some(partial)) => {
            partial.fragments += 1;
            if partial.fragments > limits.fragments_max {
                return Err(WsError::Protocol("too many fragments"));
            }
            partial.payload.extend_from_slice(payload);
        }
        (_, Some(_)) => return Err(WsError::Protocol("new message inside a fragmented one")),
        (opcode, None) if header.fin => {
            return if header.compressed {
                message(opcode, inflate(payload, limits.message_bytes_max)?.into()).map(Some)
            } else {
                message(opcode, Bytes::copy_from_slice(payload)).map(Some)
            };
        }
        (opcode, None) => {
            let compressed = header.compressed;
            *partial = Some(Partial { opcode, compressed, payload: payload.to_vec(), fragments: 1 });
        }
    }
    if !header.fin {
        return Ok(None);
    }
    let Some(Partial { opcode, compressed, payload, .. }) = partial.take() else { return Ok(None) };
    let payload = if compressed { inflate(&payload, limits.message_bytes_max)? } else { payload };
    message(opcode, payload.into()).map(Some)
}

fn message(opcode: Opcode, payload: Bytes) -> Result<Incoming, WsError> {
    if opcode == Opcode::Text {
        std::str::from_utf8(&payload).map_err(|_| WsError::Utf8)?;
        return Ok(Incoming::Text(payload));
    }
    Ok(Incoming::Binary(payload))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u32::from_ne_bytes(mask);
    let mut chunks = payload.chunks_exact_mut(4);
    for chunk in &mut chunks {
        if let Ok(four) = <[u8; 4]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u32::from_ne_bytes(four) ^ word).to_ne_bytes());
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::realtime::ws::deflate::tests::compressed;

    const LIMITS: Limits = Limits { message_bytes_max: 1000, fragments_max: 4, inflate: false };

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            len @ 0..=125 => out.push(0x80 | len as u8),
            len => {
                out.push(0x80 | 126);
                out.extend((len as u16).to_be_bytes());
            }
        }
        let mask = [0xa1, 0x02, 0x5f, 0x7d];
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// Of a connection that agreed to compression.
    fn read_compressed(bytes: &[u8]) -> (Vec<Incoming>, Option<WsError>) {
        let mut decoder = Decoder::new(Limits { inflate: true, ..LIMITS });
        decoder.push(bytes);
        drain(&mut decoder)
    }

    fn read(bytes: &[u8]) -> (Vec<Incoming>, Option<WsError>) {
        let mut decoder = Decoder::new(LIMITS);
        decoder.push(bytes);
        drain(&mut decoder)
    }

    fn drain(decoder: &mut Decoder) -> (Vec<Incoming>, Option<WsError>) {
        let mut all = Vec::new();
        loop {
            match decoder.next() {
                Ok(Some(message)) => all.push(message),
                Ok(None) => return (all, None),
                Err(error) => return (all, Some(error)),
            }
        }
    }

    fn text(text: &str) -> Incoming {
        Incoming::Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_message_may_come_in_fragments_with_control_frames_between() {
        let bytes = [
            client_frame(0x01, b"h\xc3"),
            client_frame(0x89, b"are you there"),
            client_frame(0x00, b"\xa9l"),
            client_frame(0x8a, b""),
            client_frame(0x80, b"lo"),
            client_frame(0x82, b"\x00"),
        ]
        .concat();
        let expected = [
            Incoming::Ping(Bytes::from_static(b"are you there")),
            Incoming::Pong,
            text("héllo"),
            Incoming::Binary(Bytes::from_static(&[0])),
        ];
        assert_eq!(read(&bytes), (expected.to_vec(), None));
    }

    #[test]
    fn bytes_may_come_one_by_one_and_idling_holds_no_buffer() {
        let mut decoder = Decoder::new(LIMITS);
        let bytes = [client_frame(0x81, b"one"), client_frame(0x81, "two".repeat(60).as_bytes())].concat();
        let mut all = Vec::new();
        for byte in bytes {
            decoder.push(&[byte]);
            all.extend(drain(&mut decoder).0);
        }
        assert_eq!(all, [text("one"), text(&"two".repeat(60))]);
        assert_eq!(decoder.held(), 0);
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        let error = |bytes: &[u8]| read(bytes).1.map(|error| (error.code(), error.to_string()));
        let protocol = |text: &str| Some((1002, text.to_owned()));
        assert_eq!(error(b"\x81\x01a"), protocol("frame is not masked"));
        assert_eq!(error(&client_frame(0xc1, b"")), protocol("reserved bits are set"));
        assert_eq!(error(&client_frame(0x83, b"")), protocol("unknown opcode"));
        assert_eq!(error(&client_frame(0x80, b"x")), protocol("continuation of nothing"));
        let interleaved = [client_frame(0x01, b"a"), client_frame(0x81, b"b")].concat();
        assert_eq!(error(&interleaved), protocol("new message inside a fragmented one"));
        assert_eq!(error(&client_frame(0x09, b"")), protocol("control frame is fragmented or too long"));
        assert_eq!(error(&client_frame(0x89, &[0; 126])), protocol("control frame is fragmented or too long"));
        assert_eq!(error(&client_frame(0x88, b"\x03")), protocol("close frame of one byte"));
        assert_eq!(error(&client_frame(0x88, b"\x03\xed")), protocol("close code is not allowed"));
        assert_eq!(error(&client_frame(0x81, b"\xc3")), Some((1007, "text is not utf-8".to_owned())));
        let many = [client_frame(0x01, b"a"), client_frame(0x00, b"").repeat(4)].concat();
        assert_eq!(error(&many), protocol("too many fragments"));
    }

    #[test]
    fn a_message_that_is_too_big_is_refused_when_announced() {
        let too_big = (Vec::new(), Some(WsError::TooBig));
        assert_eq!(read(b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"), too_big);
        assert_eq!(read(b"\x82\xfe\x03\xe9"), too_big);
        let second = [client_frame(0x02, &[1; 600]), vec![0x80, 0xfe, 0x01, 0x91]].concat();
        assert_eq!(read(&second), too_big, "fragments count together");
    }

    #[test]
    fn a_compressed_message_may_come_in_fragments_beside_plain_ones() {
        let small = compressed(&b"abc".repeat(300));
        let (head, tail) = small.split_at(3);
        let bytes = [
            client_frame(0x41, head),
            client_frame(0x89, b"?"),
            client_frame(0x80, tail),
            client_frame(0x81, b"plain"),
            client_frame(0xc1, &small),
        ]
        .concat();
        let long = text(&"abc".repeat(300));
        let expected = [Incoming::Ping(Bytes::from_static(b"?")), long.clone(), text("plain"), long];
        assert_eq!(read_compressed(&bytes), (expected.to_vec(), None));
    }

    #[test]
    fn compression_is_no_way_around_the_limits() {
        let error = |bytes: &[u8]| read_compressed(bytes).1.map(WsError::code);
        let bomb = compressed(&[b'x'; 1001]);
        assert!(bomb.len() < 50);
        assert_eq!(error(&client_frame(0xc1, &bomb)), Some(1009));
        let parts = [client_frame(0x41, &bomb[..5]), client_frame(0x80, &bomb[5..])].concat();
        assert_eq!(error(&parts), Some(1009));
        assert_eq!(error(&client_frame(0xc1, &[0xff; 9])), Some(1002), "no deflate");
        assert_eq!(error(&client_frame(0xc1, &compressed(b"\xff\xfe"))), Some(1007), "text is checked afterwards");
        assert_eq!(error(&client_frame(0xc9, b"")), Some(1002), "control frames are never compressed");
        let again = [client_frame(0x41, b""), client_frame(0xc0, b"")].concat();
        assert_eq!(error(&again), Some(1002), "only the first frame says so");
        assert_eq!(error(&client_frame(0xa1, b"")), Some(1002));
        assert_eq!(read(&client_frame(0xc1, &compressed(b"hi"))).1.map(WsError::code), Some(1002), "not agreed to");
    }

    #[test]
    fn goodbye_may_carry_a_code() {
        assert_eq!(read(&client_frame(0x88, b"")).0, [Incoming::Close(None)]);
        assert_eq!(read(&client_frame(0x88, b"\x03\xe8bye")).0, [Incoming::Close(Some(1000))]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_nothing_is_hoarded(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..40),
            inflate: bool,
        ) {
            let mut decoder = Decoder::new(Limits { inflate, ..LIMITS });
            for chunk in chunks {
                decoder.push(&chunk);
                if drain(&mut decoder).1.is_some() {
                    return Ok(());
                }
                prop_assert!(decoder.held() < 8 * LIMITS.message_bytes_max);
            }
        }

        #[test]
        fn messages_survive_any_cutting(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
            cut in 1_usize..50,
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|payload| client_frame(0x82, payload)).collect();
            let mut decoder = Decoder::new(LIMITS);
            let mut all = Vec::new();
            for chunk in bytes.chunks(cut) {
                decoder.push(chunk);
                all.extend(drain(&mut decoder).0);
            }
            let expected: Vec<_> = messages.into_iter().map(|payload| Incoming::Binary(payload.into())).collect();
            prop_assert_eq!(all, expected);
        }
    }
}
