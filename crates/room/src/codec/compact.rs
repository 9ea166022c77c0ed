//! The dedup window, packed: about twenty bytes per message, because a busy room's snapshot holds thousands of them.
//!
//! Per message, oldest first, all numbers as Protobuf varints:
//!
//! ```text
//! at (ms, minus the one before) · seq (minus the one before) · sender number · 1 if MsgId's random differs, else 0 ·
//! MsgId account (minus the one before, zigzag) · MsgId seconds minus at's seconds (zigzag) · random (4 bytes, little endian) ·
//! hash of the content (8 bytes, little endian) · MsgId random (4 bytes, if it differs)
//! ```

use std::collections::HashMap;

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{decode_varint, encode_varint};

use super::CodecError;
use crate::{
    command::Sent,
    dedup::{DEDUP_ENTRIES_MAX, Window},
    ids::{MsgSeq, UnixMillis, UserId},
    message::{ContentHash, DedupKey, MsgId},
};

const BAD: CodecError = CodecError::Field("window");

/// The senders, each once, and the packed messages that name them by number.
pub(super) fn pack(window: &Window) -> (Vec<String>, Bytes) {
    let (mut senders, mut numbers) = (Vec::new(), HashMap::new());
    let mut out = Vec::with_capacity(window.len() * 22);
    let (mut at, mut seq, mut account) = (0_u64, 0_u64, 0_u64);
    for one in window.iter() {
        let sender = *numbers.entry(one.slot).or_insert_with(|| {
            senders.push(one.sender.as_str().to_owned());
            senders.len() as u64 - 1
        });
        let MsgId { account: next_account, secs, random } = one.sent.msg_id;
        encode_varint(one.sent.at.0.wrapping_sub(at), &mut out);
        encode_varint(one.sent.seq.0.wrapping_sub(seq), &mut out);
        encode_varint(sender, &mut out);
        out.put_u8(u8::from(random != one.key.random));
        encode_varint(zigzag(next_account.wrapping_sub(account) as i64), &mut out);
        encode_varint(zigzag(secs.wrapping_sub(one.sent.at.secs()) as i64), &mut out);
        out.put_u32_le(one.key.random);
        out.put_u64_le(one.key.content.0);
        if random != one.key.random {
            out.put_u32_le(random);
        }
        (at, seq, account) = (one.sent.at.0, one.sent.seq.0, next_account);
    }
    (senders, out.into())
}

/// Reads [`pack`] back.
pub(super) fn unpack(senders: &[String], mut packed: Bytes) -> Result<Window, CodecError> {
    let senders: Vec<UserId> =
        senders.iter().map(|user| UserId::new(user).map_err(|_| BAD)).collect::<Result<_, _>>()?;
    let mut window = Window::default();
    let (mut at, mut seq, mut account) = (0_u64, 0_u64, 0_u64);
    while packed.has_remaining() {
        at = at.wrapping_add(decode_varint(&mut packed)?);
        seq = seq.wrapping_add(decode_varint(&mut packed)?);
        let sender = usize::try_from(decode_varint(&mut packed)?).ok().and_then(|n| senders.get(n)).ok_or(BAD)?;
        let differs = packed.try_get_u8().map_err(|_| BAD)?;
        account = account.wrapping_add(unzigzag(decode_varint(&mut packed)?) as u64);
        let secs_delta = i32::try_from(unzigzag(decode_varint(&mut packed)?)).map_err(|_| BAD)?;
        let random = packed.try_get_u32_le().map_err(|_| BAD)?;
        let content = ContentHash(packed.try_get_u64_le().map_err(|_| BAD)?);
        let msg_random = if differs == 0 { random } else { packed.try_get_u32_le().map_err(|_| BAD)? };
        let at = UnixMillis(at);
        let secs = at.secs().saturating_add_signed(secs_delta.into());
        let msg_id = MsgId { account, secs, random: msg_random };
        if window.len() == DEDUP_ENTRIES_MAX {
            return Err(BAD);
        }
        window.restore(sender, DedupKey { random, content }, Sent { seq: MsgSeq(seq), at, msg_id }, secs_delta);
    }
    Ok(window)
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
