//! Reading the bytes of a dump. Knows no mirror and no file.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

use crate::stand::Stand;

pub(super) const MAGIC: [u8; 8] = *b"RHDUMP01";
pub(super) const OWNER: u8 = 1;
pub(super) const HOOKS: u8 = 2;
pub(super) const END: u8 = 0;

const HEAD_BYTES: usize = 20;
const CRC_BYTES: u64 = 4;

/// What is wrong with the bytes of a dump.
#[derive(Debug)]
pub(crate) enum Flaw {
    Io(io::Error),
    Damaged(&'static str),
    Foreign,
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it is cut short"),
            _ => Self::Io(error),
        }
    }
}

/// Whose rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Shard,
    Hooks,
}

/// Whether the last four of these `len` bytes are the checksum of all others.
pub(crate) fn check_sum(dump: &mut impl Read, len: u64) -> Result<(), Flaw> {
    let mut left = len.checked_sub(CRC_BYTES).ok_or(Flaw::Damaged("it is cut short"))?;
    let (mut crc, mut buffer) = (0, vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(1 << 20)]);
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(bytes) = buffer.get_mut(..piece) else { break };
        dump.read_exact(bytes)?;
        crc = crc32c::crc32c_append(crc, bytes);
        left -= piece as u64;
    }
    let mut said = [0; CRC_BYTES as usize];
    dump.read_exact(&mut said)?;
    if u32::from_le_bytes(said) == crc { Ok(()) } else { Err(Flaw::Damaged("its checksum is wrong")) }
}

/// Reads everything before the rows: where the dump stands, and how long that is.
pub(crate) fn read_head(dump: &mut impl Read, store: u64) -> Result<(Stand, u64), Flaw> {
    let mut head = [0; HEAD_BYTES];
    dump.read_exact(&mut head)?;
    let mut fields = &head[..];
    let mut magic = [0; 8];
    fields.copy_to_slice(&mut magic);
    if magic != MAGIC {
        return Err(Flaw::Damaged("it does not begin like a dump"));
    }
    if fields.get_u64_le() != store {
        return Err(Flaw::Foreign);
    }
    let stand = take(dump, fields.get_u32_le() as usize)?;
    let rows_at = (HEAD_BYTES + stand.len()) as u64;
    let stand = Stand::decode(&stand).ok_or(Flaw::Damaged("where it stands cannot be read"))?;
    Ok((stand, rows_at))
}

/// Reads rows one after the other, behind [`read_head`].
pub(crate) struct Rows<R> {
    dump: R,
    read: u64,
}

impl<R: Read> Rows<R> {
    pub(crate) fn new(dump: R) -> Self {
        Self { dump, read: 0 }
    }

    /// The next row: whose it is, its key and its value; `None` behind the last one.
    pub(crate) fn next(&mut self) -> Result<Option<(Owner, Bytes, Bytes)>, Flaw> {
        let mut kind = [END];
        self.dump.read_exact(&mut kind)?;
        let owner = match kind {
            [OWNER] => Owner::Shard,
            [HOOKS] => Owner::Hooks,
            [END] => return self.end().map(|()| None),
            _ => return Err(Flaw::Damaged("it holds rows of an unknown kind")),
        };
        let mut lengths = [0; 6];
        self.dump.read_exact(&mut lengths)?;
        let mut fields = &lengths[..];
        let (key_len, value_len) = (usize::from(fields.get_u16_le()), fields.get_u32_le() as usize);
        self.read += 1;
        Ok(Some((owner, take(&mut self.dump, key_len)?, take(&mut self.dump, value_len)?)))
    }

    fn end(&mut self) -> Result<(), Flaw> {
        let mut count = [0; 8];
        self.dump.read_exact(&mut count)?;
        if u64::from_le_bytes(count) != self.read {
            return Err(Flaw::Damaged("it holds other rows than it counts"));
        }
        let mut rest = Vec::new();
        self.dump.by_ref().take(CRC_BYTES + 1).read_to_end(&mut rest)?;
        if rest.len() as u64 == CRC_BYTES { Ok(()) } else { Err(Flaw::Damaged("it does not end where its rows end")) }
    }
}

/// A length that lies about itself must not take memory that is not there.
fn take(dump: &mut impl Read, len: usize) -> Result<Bytes, Flaw> {
    let mut bytes = Vec::new();
    dump.by_ref().take(len as u64).read_to_end(&mut bytes)?;
    if bytes.len() == len { Ok(bytes.into()) } else { Err(Flaw::Damaged("it is cut short")) }
}
