//! Writing frames: final, unmasked, one per message.

use bytes::Bytes;

/// What a frame carries (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(super) const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// In a frame's first byte: the message is compressed.
pub(super) const RSV1: u8 = 0x40;

/// The longest header of an unmasked frame.
const HEADER_BYTES_MAX: usize = 10;

/// Bytes of the header of an unmasked frame.
const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => HEADER_BYTES_MAX,
    }
}

/// A whole frame whose payload is appended by `fill`, in one allocation and without moving the payload. Also returns
/// where in the frame the payload begins.
pub(crate) fn frame_of(opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) -> (Bytes, usize) {
    let mut bytes = vec![0; HEADER_BYTES_MAX];
    fill(&mut bytes);
    let payload_len = bytes.len() - HEADER_BYTES_MAX;
    let header_len = header_len(payload_len);
    let start = HEADER_BYTES_MAX - header_len;
    let (header, _payload) = bytes.split_at_mut(HEADER_BYTES_MAX);
    let (_unused, header) = header.split_at_mut(start);
    let (first, lengths) = header.split_at_mut(1);
    first.fill(0x80 | opcode.bits());
    match lengths {
        // `payload_len` fits each of these by `header_len`.
        [short] => *short = payload_len as u8,
        [mark, medium @ ..] if medium.len() == 2 => {
            *mark = 126;
            medium.copy_from_slice(&(payload_len as u16).to_be_bytes());
        }
        [mark, long @ ..] => {
            *mark = 127;
            long.copy_from_slice(&(payload_len as u64).to_be_bytes());
        }
        [] => {}
    }
    (Bytes::from(bytes).slice(start..), header_len)
}

/// A frame whose payload is compressed: the bit RSV1 says so (RFC 7692 §6).
pub(super) fn compressed_frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let (plain, _) = frame_of(opcode, |out| out.extend_from_slice(payload));
    let mut bytes = Vec::from(plain);
    if let Some(first) = bytes.first_mut() {
        *first |= RSV1;
    }
    bytes.into()
}

/// The payload of a whole frame that was made here.
pub(super) fn payload(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1) {
        Some(126) => 4,
        Some(127) => HEADER_BYTES_MAX,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}

pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    frame_of(opcode, |out| out.extend_from_slice(payload)).0
}

/// A close frame. `reason` is cut by the caller to 123 bytes.
pub(crate) fn close_frame(code: u16, reason: &str) -> Bytes {
    let fill = |out: &mut Vec<u8>| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(reason.as_bytes());
    };
    frame_of(Opcode::Close, fill).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_grow_with_the_payload() {
        for (len, header) in [
            (0_usize, vec![0x82, 0]),
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (0xffff, vec![0x82, 126, 0xff, 0xff]),
            (0x1_0000, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let (bytes, start) = frame_of(Opcode::Binary, |out| out.resize(out.len() + len, 7));
            assert_eq!(bytes[..start], header);
            assert_eq!(start, header_len(len));
            assert_eq!(bytes.len() - start, len);
            assert!(bytes[start..].iter().all(|&byte| byte == 7));
        }
    }

    #[test]
    fn a_close_frame_holds_code_and_reason() {
        assert_eq!(close_frame(3008, "slow")[..], *b"\x88\x06\x0b\xc0slow");
    }
}
