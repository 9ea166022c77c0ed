//! Facts about a store for `doctor`, read from its files alone: it may be open, damaged or full.

use std::{fs, io, path::Path};

use roomhook_log::{Bounds, LogId};

use crate::{
    error::OpenError,
    lock::Lock,
    mark::Mark,
    open::log_ids,
    recover::{log_folder, mark_path},
    store_file::{FORMAT, StoreFile},
};

/// What can be told of a store without opening it.
#[derive(Clone, Debug)]
pub struct Facts {
    pub format: u32,
    pub shards: u16,
    /// A running process has it open.
    pub in_use: bool,
    pub logs: Vec<LogFacts>,
    /// What is wrong, in words for a person. Records themselves are only checked when the store is opened.
    pub problems: Vec<String>,
}

/// What can be told of one log.
#[derive(Clone, Debug)]
pub struct LogFacts {
    pub log: LogId,
    /// As of its last commit; `None` when it has none.
    pub bounds: Option<Bounds>,
    pub segments: u32,
    /// On disk, journals included.
    pub bytes: u64,
}

pub(crate) fn inspect(path: &Path) -> Result<Facts, OpenError> {
    let Some(StoreFile { shards }) = StoreFile::read(path)? else {
        return Err(OpenError::StoreFile { path: path.to_owned(), reason: "there is no STORE file".to_owned() });
    };
    let mut problems = Vec::new();
    let logs = log_ids(shards).filter_map(|log| inspect_log(path, log, &mut problems)).collect();
    Ok(Facts { format: FORMAT, shards, in_use: Lock::is_held(path), logs, problems })
}

fn inspect_log(store: &Path, log: LogId, problems: &mut Vec<String>) -> Option<LogFacts> {
    let folder = log_folder(store, log);
    if !folder.join("db").is_dir() {
        problems.push(format!("log {log} is missing at {}; restore the store from a backup", folder.display()));
        return None;
    }
    let marked = match Mark::read(&mark_path(store, log)) {
        Ok(marked) => marked,
        Err(error) => {
            problems.push(format!("the mark of log {log} cannot be read: {error}"));
            None
        }
    };
    // Files come and go while the store is open; those that went are no problem.
    let bytes = folder_bytes(&folder).unwrap_or_else(|error| {
        problems.push(format!("the size of log {log} cannot be told: {error}"));
        0
    });
    let segments = marked.map_or(1, |marked| marked.segments);
    Some(LogFacts { log, bounds: marked.map(|marked| marked.bounds), segments, bytes })
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

/// Journals are made at full length before they are filled; what counts is what the disk has given away.
fn allocated(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}
