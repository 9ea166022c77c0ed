//! A store that is being made. Until its STORE file is durable, nothing in it was acknowledged, and a start that was cut off
//! leaves it as it may be: the next one makes it anew.
//!
//! Logs without a STORE file may also be a store that lost it. The NEW file tells them apart: it is durable before the first log
//! is made, and gone, durably, before the first record is written. As a second guard nothing is removed that says it had a
//! record.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{durable, error::OpenError, mark::Mark, store_file};

const NAME: &str = "NEW";
const TEXT: &str = "This store is being made. If no server is running, the next start makes it anew.\n";

/// Whether a start that makes the store was cut off, or is at it.
pub(crate) fn is_unfinished(store: &Path) -> bool {
    store.join(NAME).exists() && !store.join(store_file::NAME).exists()
}

/// What a store without a STORE file means, with nothing changed: an error if it was a store, or holds what is not ours.
pub(crate) fn check(store: &Path) -> Result<(), OpenError> {
    let logs = log_folders(store).map_err(OpenError::io("reading", store))?;
    for log in &logs {
        if !store.join(NAME).exists() || had_records(log)? {
            return Err(OpenError::StoreFileMissing { path: store.to_owned() });
        }
        for entry in fs::read_dir(log).map_err(OpenError::io("reading", log))? {
            let entry = entry.map_err(OpenError::io("reading", log))?;
            if entry.file_name() != "db" && entry.file_name() != "mark" {
                return Err(OpenError::NotOurs { path: entry.path() });
            }
        }
    }
    Ok(())
}

fn had_records(log: &Path) -> Result<bool, OpenError> {
    let mark = log.join("mark");
    match Mark::read(&mark) {
        Ok(marked) => Ok(marked.is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(OpenError::io("reading", mark)(error)),
    }
}

/// Removes what a start that was cut off left behind, and says durably that a store is being made.
pub(crate) fn begin(store: &Path) -> Result<(), OpenError> {
    check(store)?;
    let begin = || {
        let leftovers = log_folders(store)?;
        if !leftovers.is_empty() {
            tracing::info!(path = %store.display(), "the first start was cut off: making the store anew");
        }
        // One by one, and NEW last: whatever is left when this is cut off, too, is still told as unfinished.
        leftovers.iter().try_for_each(|log| durable::remove(log))?;
        durable::write_file(&store.join(NAME), TEXT.as_bytes())
    };
    begin().map_err(OpenError::io("making a store in", store))
}

/// The store is whole: records may come.
pub(crate) fn end(store: &Path) -> Result<(), OpenError> {
    durable::remove(&store.join(NAME)).map_err(OpenError::io("making a store in", store))
}

/// Folders that are called as logs are, of however many shards.
fn log_folders(store: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("log-"));
        if number.is_some_and(|rest| rest == "directory" || rest.parse::<u16>().is_ok()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}
