//! Makes a store of a backup.

use std::{fs, path::Path};

use crate::{
    backup::{self, Progress, Taken, copy_file},
    config::DiskConfig,
    durable,
    error::OpenError,
    inspect::{records, witness},
    journal::{self, Flags, Newest, Origin, Segment, Walk, Writer},
    lock::Lock,
    newborn,
    open::{Folders, check_shards},
    store_file::{self, StoreFile},
};

/// Lies in the folder until the store is whole: what is there then is a part of this backup, and is made anew by the next try.
const NAME: &str = "RESTORING";

pub(crate) fn restore(from: &Path, config: &DiskConfig, progress: Progress<'_>) -> Result<Taken, OpenError> {
    check_shards(config)?;
    let Some(file) = StoreFile::read_at(&from.join(backup::NAME))? else {
        return Err(OpenError::NoBackup { path: from.to_owned() });
    };
    if file.shards != config.shards {
        let (path, stored, configured) = (from.to_owned(), file.shards, config.shards);
        return Err(OpenError::ShardCount { path, stored, configured });
    }
    let (backup, store) = (Folders::of(from), Folders::of(&config.path));
    // Before anything is made: every byte of it, and that the dump fits.
    let origin = Origin { store: file.id, boot: config.boot };
    let segments = journal::segments(&backup.journal, file.id)?;
    let count = records(&segments, origin)?;
    witness(&backup, &segments, origin)?;

    durable::create_folder(&store.store, 0o700).map_err(OpenError::io("creating", &store.store))?;
    let _lock = Lock::acquire(&store.store)?;
    prepare(&store)?;
    let bytes = fill(&backup, &store, &segments, progress)?;
    begin(&store, file, config)?;
    file.write(&store.store)?;
    durable::remove_file(&store.store.join(NAME)).map_err(OpenError::io("finishing", &store.store))?;
    Ok(Taken { segments: segments.len(), records: count, bytes })
}

/// Makes sure that there is no store, and that nobody takes what comes next for one.
fn prepare(store: &Folders) -> Result<(), OpenError> {
    if store.store.join(store_file::NAME).exists() {
        return Err(OpenError::StoreThere { path: store.store.clone() });
    }
    let mark = store.store.join(NAME);
    if mark.exists() {
        for folder in [&store.journal, &store.dumps].into_iter().filter(|folder| folder.exists()) {
            fs::remove_dir_all(folder).map_err(OpenError::io("clearing", folder))?;
        }
    } else {
        newborn::look(store)?;
        let text = b"A backup is being restored here. If nobody is at it, run `roomhook restore` again.\n";
        durable::write_file(&mark, text).map_err(OpenError::io("writing", &mark))?;
    }
    for folder in [&store.journal, &store.dumps] {
        durable::create_folder(folder, 0o700).map_err(OpenError::io("creating", folder))?;
    }
    Ok(())
}

/// Copies everything. Returns the bytes of the journal.
fn fill(backup: &Folders, store: &Folders, segments: &[Segment], progress: Progress<'_>) -> Result<u64, OpenError> {
    for leftover in fs::read_dir(&store.journal).map_err(OpenError::io("reading", &store.journal))?.flatten() {
        durable::remove_file(&leftover.path()).map_err(OpenError::io("removing", leftover.path()))?;
    }
    for entry in fs::read_dir(&backup.dumps).map_err(OpenError::io("reading", &backup.dumps))? {
        let name = entry.map_err(OpenError::io("reading", &backup.dumps))?.file_name();
        copy_file(&backup.dumps.join(&name), &store.dumps.join(&name), None)?;
    }
    if let Some(first) = segments.first().filter(|first| first.number > 1) {
        journal::set_oldest(&store.journal, first.number).map_err(OpenError::io("writing to", &store.journal))?;
    }
    let size = |segment: &Segment| fs::metadata(&segment.path).map_or(0, |file| file.len());
    let (all, mut done) = (segments.iter().map(size).sum(), 0);
    for segment in segments {
        copy_file(&segment.path, &journal::path(&store.journal, segment.number), None)?;
        done += size(segment);
        progress(done, all);
    }
    Ok(done)
}

/// The journal goes on in a new segment, which says that something was lost: all that came after the backup.
fn begin(store: &Folders, file: StoreFile, config: &DiskConfig) -> Result<(), OpenError> {
    let origin = Origin { store: file.id, boot: config.boot };
    let segments = journal::segments(&store.journal, file.id)?;
    let Some(last) = segments.last() else { return Ok(()) };
    let mut walk = Walk::new(std::slice::from_ref(last), last.start, origin)?;
    let mut newest =
        Newest { position: last.start.position, boot: last.boot, flags: Flags { lost: false, ..last.flags } };
    while let Some((frame, _)) = walk.next()? {
        newest = Newest { position: frame.header.start(), boot: frame.header.origin.boot, flags: frame.header.flags };
    }
    let at = (walk.place(), newest);
    Writer::begin(store.journal.clone(), origin, config.segment_bytes, last.number + 1, at, true)
        .map(drop)
        .map_err(OpenError::io("writing to", &store.journal))
}
