//! A dump: all rows of a mirror as of where it stood, in one file that is never changed.
//!
//! ```text
//! dump    magic 8 bytes | store u64 | stand length u32 | stand | rows | 0 u8 | count of rows u64 | crc32c u32 of all before
//! row     1 (owner's) or 2 (webhooks') u8 | key length u16 | value length u32 | key, with its log | value   (little endian)
//! ```
//!
//! With one, a mirror can be made anew from the part of the log that comes after it, and what is before may go.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use bytes::{Buf, Bytes};
use fjall::{Keyspace, PersistMode, Readable as _, Snapshot};

use crate::{engine::Mirror, error::MirrorError, keys::STAND, stand::Stand};

const MAGIC: [u8; 8] = *b"RHDUMP01";
const OWNER: u8 = 1;
const HOOKS: u8 = 2;
const END: u8 = 0;
/// Rows that are put into a mirror at once.
const BATCH_ROWS: usize = 1_000;

/// Why a dump cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: &'static str },
    #[error("{path} belongs to another store")]
    Foreign { path: PathBuf },
    #[error(transparent)]
    Mirror(#[from] MirrorError),
}

/// Writes all rows as of this moment to a file in `folder`, which `name` names, durably and whole or not at all. `None` when the
/// mirror is empty.
///
/// # Errors
/// What went wrong; there is no such file then.
pub fn write_dump(
    mirror: &Mirror,
    store: u64,
    folder: &Path,
    name: impl FnOnce(&Stand) -> PathBuf,
) -> Result<Option<Stand>, DumpError> {
    let snapshot = mirror.db.snapshot();
    let stand = snapshot.get(&mirror.meta, STAND).map_err(MirrorError::from)?;
    let Some(stand) = stand.and_then(|stored| Stand::decode(&stored)) else { return Ok(None) };
    let path = name(&stand);
    let io = |source| DumpError::Io { path: path.clone(), source };
    let draft = path.with_extension("dump.new");
    let mut out = Checked { inner: BufWriter::with_capacity(1 << 20, File::create(&draft).map_err(io)?), crc: 0 };
    let body = stand.encode();
    let head = [&MAGIC[..], &store.to_le_bytes(), &u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes(), &body];
    for part in head {
        out.write_all(part).map_err(io)?;
    }
    let mut count = 0;
    for (kind, rows) in [(OWNER, &mirror.owner_rows), (HOOKS, &mirror.hook_rows)] {
        count += put_rows(&snapshot, kind, rows, &mut out).map_err(|error| match error {
            PutError::Io(source) => io(source),
            PutError::Engine(error) => MirrorError::from(error).into(),
        })?;
    }
    out.write_all(&[END]).and_then(|()| out.write_all(&count.to_le_bytes())).map_err(io)?;
    let crc = out.crc;
    let finish = || {
        let mut file = out.inner;
        file.write_all(&crc.to_le_bytes())?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(folder)?.sync_all()
    };
    finish().map_err(io)?;
    Ok(Some(stand))
}

enum PutError {
    Io(io::Error),
    Engine(fjall::Error),
}

fn put_rows(snapshot: &Snapshot, kind: u8, rows: &Keyspace, out: &mut impl Write) -> Result<u64, PutError> {
    let mut count = 0;
    for entry in snapshot.iter(rows) {
        let (key, value) = entry.into_inner().map_err(PutError::Engine)?;
        let (key_len, value_len) = (u16::try_from(key.len()), u32::try_from(value.len()));
        let lengths = (key_len.unwrap_or(u16::MAX).to_le_bytes(), value_len.unwrap_or(u32::MAX).to_le_bytes());
        for part in [&[kind][..], &lengths.0, &lengths.1, &key, &value] {
            out.write_all(part).map_err(PutError::Io)?;
        }
        count += 1;
    }
    Ok(count)
}

/// A writer that keeps the checksum of what went through it.
struct Checked<W> {
    inner: W,
    crc: u32,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A dump that was found whole.
#[derive(Debug)]
pub struct Dump {
    path: PathBuf,
    pub stand: Stand,
    /// Where its rows begin.
    rows_at: u64,
}

impl Dump {
    /// Reads all of it, so that nothing of one that is damaged is ever used.
    ///
    /// # Errors
    /// As [`DumpError`] names them.
    pub fn open(path: &Path, store: u64) -> Result<Self, DumpError> {
        let damaged = |reason| DumpError::Damaged { path: path.to_owned(), reason };
        let io = |source| DumpError::Io { path: path.to_owned(), source };
        check_sum(path).map_err(io)?.then_some(()).ok_or_else(|| damaged("its checksum is wrong"))?;
        let mut file = BufReader::new(File::open(path).map_err(io)?);
        let mut head = [0; 20];
        file.read_exact(&mut head).map_err(io)?;
        let mut fields = &head[..];
        let mut magic = [0; 8];
        fields.copy_to_slice(&mut magic);
        if magic != MAGIC {
            return Err(damaged("it does not begin like a dump"));
        }
        if fields.get_u64_le() != store {
            return Err(DumpError::Foreign { path: path.to_owned() });
        }
        let mut stand = vec![0; fields.get_u32_le() as usize];
        file.read_exact(&mut stand).map_err(io)?;
        let rows_at = 20 + stand.len() as u64;
        let stand = Stand::decode(&stand).ok_or_else(|| damaged("where it stands cannot be read"))?;
        Ok(Self { path: path.to_owned(), stand, rows_at })
    }

    /// Puts its rows and where it stands into an empty mirror.
    ///
    /// # Errors
    /// As [`DumpError`] names them.
    pub fn install(&self, mirror: &Mirror) -> Result<(), DumpError> {
        let io = |source| DumpError::Io { path: self.path.clone(), source };
        let damaged = |reason| DumpError::Damaged { path: self.path.clone(), reason };
        let mut file = BufReader::with_capacity(1 << 20, File::open(&self.path).map_err(io)?);
        file.seek_relative(i64::try_from(self.rows_at).unwrap_or(i64::MAX)).map_err(io)?;
        let mut batch = mirror.db.batch();
        loop {
            let mut kind = [END];
            file.read_exact(&mut kind).map_err(io)?;
            let rows = match kind {
                [OWNER] => &mirror.owner_rows,
                [HOOKS] => &mirror.hook_rows,
                [END] => break,
                _ => return Err(damaged("it holds rows of an unknown kind")),
            };
            let (key, value) = read_row(&mut file).map_err(io)?;
            batch.insert(rows, key, value);
            if batch.len() >= BATCH_ROWS {
                batch.durability(Some(PersistMode::Buffer)).commit().map_err(MirrorError::from)?;
                batch = mirror.db.batch();
            }
        }
        batch.insert(&mirror.meta, STAND, self.stand.encode());
        batch.durability(Some(PersistMode::Buffer)).commit().map_err(MirrorError::from)?;
        Ok(())
    }
}

fn read_row(file: &mut impl Read) -> io::Result<(Bytes, Bytes)> {
    let mut lengths = [0; 6];
    file.read_exact(&mut lengths)?;
    let mut fields = &lengths[..];
    let (key_len, value_len) = (usize::from(fields.get_u16_le()), fields.get_u32_le() as usize);
    let mut read = |len| {
        let mut bytes = Vec::new();
        // A length that lies about itself must not take memory that is not there.
        file.by_ref().take(len as u64).read_to_end(&mut bytes)?;
        if bytes.len() == len { Ok(Bytes::from(bytes)) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) }
    };
    Ok((read(key_len)?, read(value_len)?))
}

/// Whether the last four bytes are the checksum of all others.
fn check_sum(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let Some(body) = file.metadata()?.len().checked_sub(4) else { return Ok(false) };
    let mut file = BufReader::with_capacity(1 << 20, file);
    let (mut crc, mut left, mut buffer) = (0, body, vec![0; 1 << 20]);
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(bytes) = buffer.get_mut(..piece) else { break };
        file.read_exact(bytes)?;
        crc = crc32c::crc32c_append(crc, bytes);
        left -= piece as u64;
    }
    let mut said = [0; 4];
    file.read_exact(&mut said)?;
    Ok(u32::from_le_bytes(said) == crc)
}
