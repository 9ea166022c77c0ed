//! Copies of a store that can be taken while it is written to.
//!
//! ```text
//!  <backup>/BACKUP                       what STORE says; comes last, so that half a backup is none
//!           journal/00000001.segment     as in the store; the newest one ends behind its last whole frame
//!           dumps/…0000123456.dump       the newest one
//! ```
//!
//! What was acknowledged before it was begun is in it. A backup is not a store: one that is restored has lost what came after it, and
//! must say so to everybody who counts positions.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use roomhook_mirror::Dump;

use crate::{
    dumps, durable,
    error::OpenError,
    inspect::{records, witness},
    journal::{self, Origin, Segment, Walk},
    machine::boot_number,
    open::Folders,
    store_file::StoreFile,
};

pub(crate) const NAME: &str = "BACKUP";
/// Segments may be dropped while they are copied: then the next try finds what the store has now.
const TRIES: u32 = 5;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub segments: usize,
    /// Of all logs, claims included.
    pub records: u64,
    pub bytes: u64,
}

/// How far it is: bytes done, bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// How full segments get into a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Copied,
    /// Of the same file system: nothing is copied. It costs no room until the store drops them, and a disk that breaks takes both.
    Linked,
}

pub(crate) fn backup(store: &Path, to: &Path, full: Full, progress: Progress<'_>) -> Result<Taken, OpenError> {
    let Some(file) = StoreFile::read(store)? else { return Err(OpenError::NoStore { path: store.to_owned() }) };
    durable::create_folder(to, 0o700).map_err(OpenError::io("creating", to))?;
    let is_empty = fs::read_dir(to).map(|mut entries| entries.next().is_none());
    if !is_empty.map_err(OpenError::io("reading", to))? {
        return Err(OpenError::NotEmpty { path: to.to_owned() });
    }
    let (from, copy) = (Folders::of(store), Folders::of(to));
    let mut tries = 0;
    loop {
        tries += 1;
        match take(&from, &copy, file, full, progress) {
            Err(error) if error.is_gone() && tries < TRIES => clear(&copy)?,
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    let origin = Origin { store: file.id, boot: boot_number() };
    let segments = journal::segments(&copy.journal, file.id)?;
    let count = records(&segments, origin)?;
    witness(&copy, &segments, origin)?;
    file.write_as(&to.join(NAME))?;
    let bytes = segments.iter().map(|segment| fs::metadata(&segment.path).map_or(0, |file| file.len())).sum();
    Ok(Taken { segments: segments.len(), records: count, bytes })
}

fn clear(copy: &Folders) -> Result<(), OpenError> {
    for folder in [&copy.journal, &copy.dumps] {
        fs::remove_dir_all(folder).map_err(OpenError::io("clearing", folder))?;
    }
    Ok(())
}

/// The dump comes first: the segments that are there then go on from it.
fn take(from: &Folders, to: &Folders, file: StoreFile, full: Full, progress: Progress<'_>) -> Result<(), OpenError> {
    for folder in [&to.journal, &to.dumps] {
        durable::create_folder(folder, 0o700).map_err(OpenError::io("creating", folder))?;
    }
    if let Some(dump) = newest_dump(&from.dumps, file.id)? {
        copy_file(&dump, &to.dumps.join(dump.file_name().unwrap_or_default()), None)?;
    }
    let segments = journal::segments(&from.journal, file.id)?;
    let Some((last, sealed)) = segments.split_last() else { return Ok(()) };
    let end = last.offset(end_of(last, file.id)?);
    let size = |segment: &Segment| fs::metadata(&segment.path).map_or(0, |file| file.len());
    let all = end + sealed.iter().map(size).sum::<u64>();
    let mut done = 0;
    if let Some(first) = segments.first().filter(|first| first.number > 1) {
        journal::set_oldest(&to.journal, first.number).map_err(OpenError::io("writing to", &to.journal))?;
    }
    for segment in sealed {
        let target = journal::path(&to.journal, segment.number);
        match full {
            Full::Linked => fs::hard_link(&segment.path, &target).map_err(OpenError::io("linking", &segment.path))?,
            Full::Copied => copy_file(&segment.path, &target, None)?,
        }
        done += size(segment);
        progress(done, all);
    }
    // What is written behind the end meanwhile would be there in part, as damage is.
    copy_file(&last.path, &journal::path(&to.journal, last.number), Some(end))?;
    progress(all, all);
    for folder in [&to.journal, &to.dumps] {
        durable::sync_folder(folder).map_err(OpenError::io("syncing", folder))?;
    }
    Ok(())
}

fn newest_dump(folder: &Path, store: u64) -> Result<Option<PathBuf>, OpenError> {
    let positions = dumps::positions(folder).map_err(OpenError::io("listing", folder))?;
    let mut paths = positions.into_iter().map(|position| dumps::path(folder, position));
    Ok(paths.find(|path| Dump::open(path, store).is_ok()))
}

/// Where the frames of a segment end at this moment.
fn end_of(segment: &Segment, store: u64) -> Result<u64, OpenError> {
    let origin = Origin { store, boot: boot_number() };
    let mut walk = Walk::new(std::slice::from_ref(segment), segment.start, origin)?;
    while walk.next()?.is_some() {}
    Ok(walk.place().position)
}

/// Copies a file, or so much of it, and waits until it is on the disk.
pub(crate) fn copy_file(from: &Path, to: &Path, bytes: Option<u64>) -> Result<(), OpenError> {
    let mut source = File::open(from).map_err(OpenError::io("opening", from))?.take(bytes.unwrap_or(u64::MAX));
    let mut target = File::create(to).map_err(OpenError::io("creating", to))?;
    let copied = io::copy(&mut source, &mut target).and_then(|_| target.sync_all());
    copied.map_err(OpenError::io("copying", from))
}
