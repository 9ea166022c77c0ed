//! A dump: all rows of a mirror as of where it stood, in one file that is never changed.
//!
//! ```text
//! dump    magic 8 bytes | store u64 | stand length u32 | stand | rows | 0 u8 | count of rows u64 | crc32c u32 of all before
//! row     1 (owner's) or 2 (webhooks') u8 | key length u16 | value length u32 | key, with its log | value   (little endian)
//! ```
//!
//! With one, a mirror can be made anew from the part of the log that comes after it, and what is before may go.

mod format;

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use fjall::{Keyspace, PersistMode, Readable as _, Snapshot};

use crate::{engine::Mirror, error::MirrorError, keys::STAND, stand::Stand};

use format::{END, Flaw, HOOKS, MAGIC, OWNER, Owner, Rows};

/// Rows that are put into a mirror at once.
const BATCH_ROWS: usize = 1_000;
const BUFFER_BYTES: usize = 1 << 20;

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
        let read = || {
            let mut file = File::open(path)?;
            let len = file.metadata()?.len();
            format::check_sum(&mut BufReader::with_capacity(BUFFER_BYTES, &file), len)?;
            file.rewind()?;
            format::read_head(&mut BufReader::new(file), store)
        };
        let (stand, rows_at) = read().map_err(DumpError::of(path))?;
        Ok(Self { path: path.to_owned(), stand, rows_at })
    }

    /// Puts its rows and where it stands into an empty mirror.
    ///
    /// # Errors
    /// As [`DumpError`] names them.
    pub fn install(&self, mirror: &Mirror) -> Result<(), DumpError> {
        let mut file = File::open(&self.path).map_err(Flaw::Io).map_err(DumpError::of(&self.path))?;
        file.seek(SeekFrom::Start(self.rows_at)).map_err(Flaw::Io).map_err(DumpError::of(&self.path))?;
        let mut rows = Rows::new(BufReader::with_capacity(BUFFER_BYTES, file));
        let mut batch = mirror.db.batch();
        while let Some((owner, key, value)) = rows.next().map_err(DumpError::of(&self.path))? {
            let rows = match owner {
                Owner::Shard => &mirror.owner_rows,
                Owner::Hooks => &mirror.hook_rows,
            };
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

impl DumpError {
    fn of(path: &Path) -> impl FnOnce(Flaw) -> Self {
        let path = path.to_owned();
        |flaw| match flaw {
            Flaw::Io(source) => Self::Io { path, source },
            Flaw::Damaged(reason) => Self::Damaged { path, reason },
            Flaw::Foreign => Self::Foreign { path },
        }
    }
}

#[cfg(test)]
mod entry;
