//! Opens a whole store: the lock, what was fixed at its creation, all logs at once.

use std::{sync::Arc, thread};

use roomhook_log::LogId;

use crate::{
    config::DiskConfig,
    durable,
    error::OpenError,
    lock::Lock,
    newborn,
    recover::{Believe, How, Recovered, log_folder, recover},
    store_file::StoreFile,
};

const SHARDS_MAX: u16 = 1_000;

/// All logs of a store.
pub(crate) fn log_ids(shards: u16) -> impl Iterator<Item = LogId> {
    (0..shards).map(LogId).chain([LogId::DIRECTORY])
}

pub(crate) fn open(config: &Arc<DiskConfig>, believe: Believe) -> Result<(Lock, Vec<Recovered>), OpenError> {
    let path = &config.path;
    check_shards(config)?;
    // For its owner alone: messages and secrets of endpoints lie in it as they are. The rights of a folder that is there
    // already are whoever made it's to choose.
    durable::create_folder(path, 0o700).map_err(OpenError::io("creating", path))?;
    let lock = Lock::acquire(path)?;
    let is_new = !is_there(config)?;
    if is_new {
        newborn::begin(path)?;
    }
    let how = if is_new { How::Make } else { How::Open(believe) };
    let logs = recover_all(how, config)?;
    if is_new {
        for log in log_ids(config.shards) {
            durable::settle(&log_folder(path, log)).map_err(OpenError::unsynced)?;
        }
        durable::sync_folder(path).map_err(OpenError::io("syncing", path))?;
        StoreFile { shards: config.shards }.write(path)?;
    }
    newborn::end(path)?;
    Ok((lock, logs))
}

pub(crate) fn check_shards(config: &DiskConfig) -> Result<(), OpenError> {
    match config.shards {
        1..=SHARDS_MAX => Ok(()),
        other => Err(OpenError::ShardsRange(other)),
    }
}

/// Whether the store was made, with as many shards as are configured.
pub(crate) fn is_there(config: &DiskConfig) -> Result<bool, OpenError> {
    let stored = StoreFile::read(&config.path)?;
    match stored {
        Some(stored) if stored.shards != config.shards => {
            let path = config.path.clone();
            Err(OpenError::ShardCount { path, stored: stored.shards, configured: config.shards })
        }
        stored => Ok(stored.is_some()),
    }
}

/// One thread per log: recovery reads journals, and a start should take as long as its slowest log.
fn recover_all(how: How, config: &Arc<DiskConfig>) -> Result<Vec<Recovered>, OpenError> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            log_ids(config.shards).map(|log| (log, scope.spawn(move || recover(log, how, config)))).collect();
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
