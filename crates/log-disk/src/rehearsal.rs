//! A start on a copy: what a start would say, with nothing changed.
//!
//! A start brings the mirror to where the journal ends, and its engine repairs and deletes while it opens. What is never written
//! again, which is most of a store, is linked; all else is copied.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    os::unix::fs::{FileExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, access},
};
use tempfile::TempDir;

use crate::{
    config::DiskConfig,
    error::OpenError,
    journal,
    lock::{self, Lock},
    newborn::{self, Found},
    open::{Folders, check_shards, condemnation, stored},
    store::DiskLog,
    store_file,
};

const PIECE_BYTES: usize = 64 << 10;
/// Where lsm-tree keeps its tables. Each was synced before anything named it, and is never written again.
const TABLES: &str = "tables";

/// What a start would have found.
#[derive(Debug)]
pub enum Rehearsal {
    /// There is no store: a start makes one.
    Nothing,
    /// A first start was cut off: the next one makes the store anew.
    Unfinished,
    /// A start works.
    Works(Opened),
}

/// A copy of the store that was opened as a start would have done.
#[derive(Debug)]
pub struct Opened {
    log: Arc<DiskLog>,
    copy: TempDir,
}

impl Opened {
    /// To read what the store holds. What is written is lost.
    #[must_use]
    pub fn log(&self) -> Arc<DiskLog> {
        Arc::clone(&self.log)
    }

    /// Removes the copy. Not cancel safe: a dropped one may leave it where it is.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub async fn close(self) -> io::Result<()> {
        self.log.shutdown().await;
        self.copy.close()
    }
}

pub(crate) fn rehearse(config: DiskConfig, place: &Path) -> Result<Rehearsal, OpenError> {
    check_shards(&config)?;
    let store = config.path.clone();
    match fs::metadata(&store) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(OpenError::io("creating", store)(Errno::EEXIST.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Rehearsal::Nothing),
        Err(error) => return Err(OpenError::io("looking at", store)(error)),
    }
    may_write(&store)?;
    if store.join(lock::NAME).exists() {
        may_write(&store.join(lock::NAME))?;
    }
    if Lock::is_held(&store) {
        return Err(OpenError::InUse { path: store });
    }
    let folders = Folders::of(&store);
    if stored(&config)?.is_none() {
        return Ok(match newborn::look(&folders)? {
            Found::Nothing => Rehearsal::Nothing,
            Found::Unfinished => Rehearsal::Unfinished,
        });
    }
    let copy = TempDir::with_prefix_in("roomhook-doctor-", place).map_err(no_copy(place))?;
    copy_store(&folders, &Folders::of(copy.path()))?;
    let path = copy.path().to_owned();
    let log = DiskLog::open(DiskConfig { path: path.clone(), ..config });
    Ok(Rehearsal::Works(Opened { log: log.map_err(|error| error.moved(&path, &store))?, copy }))
}

fn copy_store(from: &Folders, to: &Folders) -> Result<(), OpenError> {
    copy_file(&from.store.join(store_file::NAME), &to.store.join(store_file::NAME))?;
    let condemned = condemnation(from);
    if condemned.exists() {
        copy_file(&condemned, &condemnation(to))?;
    }
    if from.journal.exists() {
        // A start goes on in the newest segment; the others, and dumps, are only read, or unlinked.
        let numbers = journal::numbers(&from.journal).map_err(OpenError::io("listing", &from.journal))?;
        let newest = numbers.last().map(|number| journal::path(&from.journal, *number));
        copy_folder(&from.journal, &to.journal, &|path| journal::is_segment(path) && newest.as_deref() != Some(path))?;
    }
    if from.dumps.exists() {
        copy_folder(&from.dumps, &to.dumps, &|_| true)?;
    }
    if from.mirror.exists() {
        copy_folder(&from.mirror, &to.mirror, &|path| {
            path.parent().is_some_and(|folder| folder.file_name().is_some_and(|name| name == TABLES))
        })?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path, is_linked: &impl Fn(&Path) -> bool) -> Result<(), OpenError> {
    may_write(from)?;
    fs::create_dir(to).map_err(no_copy(to))?;
    let reading = || OpenError::io("reading", from);
    for entry in fs::read_dir(from).map_err(reading())? {
        let entry = entry.map_err(reading())?;
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if fs::metadata(&path).map_err(OpenError::io("reading", &path))?.is_dir() {
            copy_folder(&path, &copied, is_linked)?;
        } else if is_linked(&path) {
            let whole = std::path::absolute(&path).map_err(OpenError::io("looking at", &path))?;
            symlink(whole, copied).map_err(no_copy(to))?;
        } else {
            may_write(&path)?;
            copy_file(&path, &copied)?;
        }
    }
    Ok(())
}

/// Without the zeros: journals are made at full length before they are filled.
fn copy_file(from: &Path, to: &Path) -> Result<(), OpenError> {
    let reading = || OpenError::io("reading", from);
    let mut source = File::open(from).map_err(reading())?;
    let length = source.metadata().map_err(reading())?.len();
    let target = File::create(to).map_err(no_copy(to))?;
    target.set_len(length).map_err(no_copy(to))?;
    let (mut piece, zeros, mut at) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES], 0);
    loop {
        let read = match source.read(&mut piece).map_err(reading())? {
            0 => return Ok(()),
            read => piece.get(..read).unwrap_or_default(),
        };
        if !zeros.starts_with(read) {
            target.write_all_at(read, at).map_err(no_copy(to))?;
        }
        at += read.len() as u64;
    }
}

/// A start writes to what it opens.
fn may_write(path: &Path) -> Result<(), OpenError> {
    access(path, AccessFlags::R_OK | AccessFlags::W_OK).map_err(|errno| OpenError::io("opening", path)(errno.into()))
}

fn no_copy(at: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let at: PathBuf = at.to_owned();
    move |error| OpenError::NoCopy { at, error }
}
