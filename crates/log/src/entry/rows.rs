//! Rows as bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::types::Row;

const HEADER_BYTES: usize = 2 + 4;
/// Instead of a length: the row goes.
const DELETED: u32 = u32::MAX;

pub(super) fn put(rows: &[Row], out: &mut BytesMut) {
    for Row { key, value } in rows {
        out.put_u16_le(u16::try_from(key.len()).unwrap_or(u16::MAX));
        out.put_u32_le(value.as_ref().map_or(DELETED, |value| super::length(value.len())));
        out.put_slice(key);
        out.put_slice(value.as_deref().unwrap_or_default());
    }
}

/// `None` when the bytes are not rows. The rows share them.
pub(super) fn parse(mut bytes: Bytes) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    while bytes.has_remaining() {
        if bytes.remaining() < HEADER_BYTES {
            return None;
        }
        let (key_len, value_len) = (usize::from(bytes.get_u16_le()), bytes.get_u32_le());
        let is_deleted = value_len == DELETED;
        let value_len = if is_deleted { 0 } else { value_len as usize };
        if bytes.remaining() < key_len + value_len {
            return None;
        }
        let (key, value) = (bytes.split_to(key_len), bytes.split_to(value_len));
        rows.push(Row { key, value: (!is_deleted).then_some(value) });
    }
    Some(rows)
}
