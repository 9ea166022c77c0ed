//! Facts about a store for `doctor`, read from its files alone: it may be open, damaged or full. Changes nothing.

use std::{fs, io, path::Path};

use crate::{
    error::OpenError,
    follow::{continues, end_lost, index_of, is_there},
    journal::{self, Origin, Segment, Walk},
    lock::Lock,
    machine::boot_number,
    open::Folders,
    place::Standing,
    plan::Positions,
    rebuild::{self, before},
    store_file::{FORMAT, StoreFile},
};

/// What can be told of a store without opening it.
#[derive(Clone, Debug)]
pub struct Facts {
    pub format: u32,
    pub shards: u16,
    /// A running process has it open.
    pub in_use: bool,
    /// Segments of the journal.
    pub segments: usize,
    /// Records in them; `None` while a process has the store open.
    pub records: Option<u64>,
    /// On disk: journal, mirror and dumps.
    pub bytes: u64,
    /// What is wrong, in words for a person.
    pub problems: Vec<String>,
}

pub(crate) fn inspect(path: &Path) -> Result<Facts, OpenError> {
    let Some(StoreFile { shards, id }) = StoreFile::read(path)? else {
        return Err(OpenError::StoreFile { path: path.to_owned(), reason: "there is no STORE file".to_owned() });
    };
    let folders = Folders::of(path);
    let in_use = Lock::is_held(path);
    let mut facts =
        Facts { format: FORMAT, shards, in_use, segments: 0, records: None, bytes: 0, problems: Vec::new() };
    match journal::segments(&folders.journal, id) {
        Ok(segments) => {
            facts.segments = segments.len();
            // Of one that is written to, the end is never the same twice.
            if !in_use {
                let origin = Origin { store: id, boot: boot_number() };
                match records(&segments, origin)
                    .and_then(|records| Ok((records, witness(&folders, &segments, origin)?)))
                {
                    Ok((records, ())) => facts.records = Some(records),
                    Err(error) => facts.problems.push(error.to_string()),
                }
            }
        }
        Err(error) => facts.problems.push(OpenError::from(error).to_string()),
    }
    // Files come and go while the store is open; those that went are no problem.
    facts.bytes = folder_bytes(path).unwrap_or_else(|error| {
        facts.problems.push(format!("the size of the store cannot be told: {error}"));
        0
    });
    Ok(facts)
}

/// Counts the records of a journal, and checks every byte of it on the way.
pub(crate) fn records(segments: &[Segment], origin: Origin) -> Result<u64, OpenError> {
    let Some(first) = segments.first() else { return Ok(0) };
    let mut walk = Walk::new(segments, first.start, origin)?;
    let (mut positions, mut records) = (Positions::new(), 0);
    while let Some((frame, segment)) = walk.next()? {
        for (entry, _) in index_of(&frame, segment)? {
            let head = entry.head;
            let position = positions.entry(head.log).or_insert_with(|| before(&head));
            continues(&entry, position, segment, &frame)?;
            records += u64::from(head.count);
        }
    }
    walk.end()?;
    Ok(records)
}

/// Whether the journal still has what the newest dump has seen. The mirror is not opened: that would change it.
pub(crate) fn witness(folders: &Folders, segments: &[Segment], origin: Origin) -> Result<(), OpenError> {
    let first = segments.first().map_or(0, |segment| segment.start.position);
    let dumps = rebuild::stands(&folders.dumps, origin.store).map_err(OpenError::io("listing", &folders.dumps))?;
    match dumps.first().map(Standing::of) {
        Some(standing) if !is_there(segments, standing, origin)? => Err(end_lost(segments, standing)),
        None if first > 0 && !folders.mirror.is_dir() => Err(OpenError::NoDump { path: folders.dumps.clone() }),
        _ => Ok(()),
    }
}

fn folder_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let counted = entry.and_then(|entry| {
            let metadata = entry.metadata()?;
            if metadata.is_dir() { folder_bytes(&entry.path()) } else { Ok(allocated(&metadata)) }
        });
        match counted {
            Ok(counted) => bytes += counted,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// What counts is what the disk has given away.
fn allocated(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}
