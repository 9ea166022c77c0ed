//! A store that is being made. Its STORE file comes last: until that is durable nothing was ever acknowledged, and what a start
//! that was cut off left behind is a part of what [`make`] makes, and nothing else. The next start makes it anew.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::{
    config::DiskConfig,
    durable,
    error::OpenError,
    journal::{self, Origin, Writer},
    open::Folders,
    place::Standing,
    store_file::StoreFile,
};

/// The only segment that a store can have before it is one.
const FIRST: u32 = 1;

/// What lies where no STORE file is, and so what a start would do there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// A start was cut off while it made the store.
    Unfinished,
}

/// # Errors
/// When it is more than a start leaves behind: a store that lost its STORE file, or something that is not ours. Nothing is changed.
pub(crate) fn look(folders: &Folders) -> Result<Found, OpenError> {
    let mut found = Found::Nothing;
    for folder in [&folders.journal, &folders.dumps, &folders.mirror] {
        for path in entries(folder).map_err(OpenError::io("reading", folder))? {
            if !is_leftover(folders, &path).map_err(OpenError::io("reading", &path))? {
                return Err(OpenError::StoreFileMissing { path: folders.store.clone(), found: path });
            }
            found = Found::Unfinished;
        }
        if folder.exists() {
            found = Found::Unfinished;
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A first segment, or what was to become it, in which nothing was ever written.
fn is_leftover(folders: &Folders, path: &Path) -> io::Result<bool> {
    let segment = journal::path(&folders.journal, FIRST);
    if path != segment && path != journal::draft(&folders.journal, FIRST) {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    io::copy(&mut file.by_ref().take(journal::HEAD_BYTES as u64), &mut io::sink())?;
    let (mut piece, mut blank) = (vec![0; 64 << 10], true);
    while blank {
        match file.read(&mut piece)? {
            0 => break,
            read => blank = piece.iter().take(read).all(|byte| *byte == 0),
        }
    }
    Ok(blank)
}

/// Makes a new store, durably.
///
/// # Errors
/// As [`look`] says, and when it cannot be made.
pub(crate) fn make(folders: &Folders, config: &DiskConfig, boot: u64) -> Result<StoreFile, OpenError> {
    if look(folders)? == Found::Unfinished {
        tracing::info!(path = %folders.store.display(), "the first start was cut off: making the store anew");
    }
    let making = || OpenError::io("making a store in", &folders.store);
    let file = StoreFile { shards: config.shards, id: draw_id().map_err(making())? };
    for folder in [&folders.journal, &folders.dumps] {
        durable::create_folder(folder, 0o700).map_err(making())?;
        for leftover in entries(folder).map_err(making())? {
            durable::remove_file(&leftover).map_err(making())?;
        }
    }
    let origin = Origin { store: file.id, boot };
    let Standing { place, newest } = Standing::nothing(boot);
    let folder = folders.journal.clone();
    Writer::begin(folder, origin, config.segment_bytes, FIRST, (place, newest), false).map_err(making())?;
    file.write(&folders.store)?;
    Ok(file)
}

fn draw_id() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
