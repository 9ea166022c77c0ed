//! Opens a whole store: the lock, what was fixed at its creation, all logs at once.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
    thread,
};

use roomhook_log::{LogId, Lsn};

use crate::{
    config::DiskConfig,
    error::OpenError,
    lock::Lock,
    recover::{Recovered, log_folder, recover},
    store_file::StoreFile,
};

const SHARDS_MAX: u16 = 1_000;

/// All logs of a store.
pub(crate) fn log_ids(shards: u16) -> impl Iterator<Item = LogId> {
    (0..shards).map(LogId).chain([LogId::DIRECTORY])
}

pub(crate) fn open(config: &Arc<DiskConfig>) -> Result<(Lock, Vec<Recovered>), OpenError> {
    let path = &config.path;
    if config.shards == 0 || config.shards > SHARDS_MAX {
        return Err(OpenError::ShardsRange(config.shards));
    }
    create_folder(path).map_err(OpenError::io("creating", path))?;
    let lock = Lock::acquire(path)?;
    let stored = StoreFile::read(path)?;
    if let Some(stored) = stored.filter(|stored| stored.shards != config.shards) {
        return Err(OpenError::ShardCount { path: path.clone(), stored: stored.shards, configured: config.shards });
    }
    let is_new = stored.is_none();
    let logs = recover_all(is_new, config)?;
    if is_new {
        // A crash while a store is created leaves empty logs; logs with records belong to a store whose file is gone.
        if logs.iter().any(|log| log.position.next > Lsn::FIRST) || has_stray_logs(path, config.shards) {
            return Err(OpenError::StoreFileMissing { path: path.clone() });
        }
        StoreFile { shards: config.shards }.write(path)?;
    }
    Ok((lock, logs))
}

/// Makes the store's folder, for its owner alone: messages and secrets of endpoints lie in it as they are. The rights of
/// a folder that is there already are whoever made it's to choose.
fn create_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        created => created,
    }
}

/// Logs that a store with more shards would have.
fn has_stray_logs(path: &Path, shards: u16) -> bool {
    (shards..SHARDS_MAX).any(|shard| log_folder(path, LogId(shard)).exists())
}

/// One thread per log: recovery reads journals, and a start should take as long as its slowest log.
fn recover_all(is_new: bool, config: &Arc<DiskConfig>) -> Result<Vec<Recovered>, OpenError> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            log_ids(config.shards).map(|log| (log, scope.spawn(move || recover(log, is_new, config)))).collect();
        let mut logs = Vec::with_capacity(threads.len());
        for (log, thread) in threads {
            let recovered = thread.join().unwrap_or_else(|panic| {
                let reason = panic.downcast_ref::<String>().map_or("the storage engine gave up", String::as_str);
                Err(OpenError::Database { log, reason: reason.to_owned() })
            });
            logs.push(recovered?);
        }
        Ok(logs)
    })
}
