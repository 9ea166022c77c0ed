//! Looks at the disk and the store.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::sys::statvfs::statvfs;

use super::Finding::{self, Fine, Note, Wrong};
use roomhook_log_disk::{DiskLog, Facts, OpenError, Rehearsal};

use crate::{
    app::disk_settings,
    config::{Config, Durability},
};

const GIB: u64 = 1 << 30;

/// The folder of the store, or what exists of the way to it.
fn existing(store: &Path) -> PathBuf {
    let whole = std::path::absolute(store).unwrap_or_else(|_| store.to_owned());
    whole.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

pub(super) fn space(store: &Path) -> Finding {
    let folder = existing(store);
    let stat = match statvfs(&folder) {
        Ok(stat) => stat,
        Err(error) => {
            return Wrong(format!("cannot look at {}: {error}", folder.display()), "correct storage.path".to_owned());
        }
    };
    let free = stat.blocks_available() * stat.fragment_size();
    let told = format!("{:.1} GiB free at {}", free as f64 / GIB as f64, folder.display());
    if free < GIB / 2 {
        Wrong(told, "make room: writes stop when the disk is nearly full".to_owned())
    } else if free < 5 * GIB {
        Note(told, "make room, or lower storage.retention_max_bytes".to_owned())
    } else {
        Fine(told)
    }
}

/// How long the disk takes to make a small write durable: the lower limit of every acknowledgement.
pub(super) fn sync_time(store: &Path) -> Finding {
    let folder = existing(store);
    let advice = || "give the user of roomhook the right to write there, or correct storage.path".to_owned();
    match fdatasync_median(&folder) {
        Ok(median) if median > Duration::from_millis(20) => Note(
            format!("one fdatasync takes {median:.1?}"),
            "this disk is slow to make writes durable: expect acknowledgements to take at least as long".to_owned(),
        ),
        Ok(median) => Fine(format!("one fdatasync takes {median:.1?}")),
        Err(error) => Wrong(format!("cannot write to {}: {error}", folder.display()), advice()),
    }
}

/// The median of some small writes with `fdatasync`, in a file that is deleted again.
pub(crate) fn fdatasync_median(folder: &Path) -> std::io::Result<Duration> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut times = Vec::with_capacity(64);
    for _ in 0..64 {
        file.write_all(&[0x5a; 512])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

/// Whether a server has the store open.
pub(super) fn is_in_use(config: &Config) -> bool {
    DiskLog::inspect(&config.storage.path).is_ok_and(|facts| facts.in_use)
}

/// Tries a start on a copy of the store.
pub(super) async fn rehearse(config: &Config) -> anyhow::Result<Result<Rehearsal, OpenError>> {
    let settings = disk_settings(config);
    tokio::task::spawn_blocking(move || DiskLog::rehearse(settings, &std::env::temp_dir()))
        .await
        .context("trying a start panicked")
}

/// What a start would say of the store, and what it holds.
pub(super) fn store(config: &Config, rehearsed: &Result<Rehearsal, OpenError>) -> Finding {
    let path = config.storage.path.display();
    match rehearsed {
        Ok(Rehearsal::Nothing) => return Fine(format!("there is none at {path} yet; the first start makes it")),
        Ok(Rehearsal::Unfinished) => {
            let told = format!("making it at {path} was cut off before anything was stored");
            return Note(told, "start the server: it makes it anew".to_owned());
        }
        Ok(Rehearsal::Works(_)) | Err(OpenError::InUse { .. }) => {}
        Err(error @ OpenError::NoCopy { .. }) => return Note(error.to_string(), "run doctor again then".to_owned()),
        Err(error) => {
            let advice = "a start says the same, so do that first; never delete a part of a store".to_owned();
            return Wrong(error.to_string(), advice);
        }
    }
    match DiskLog::inspect(&config.storage.path) {
        Ok(facts) => told(config, &facts),
        Err(error) => Wrong(error.to_string(), "see above; never delete a part of a store".to_owned()),
    }
}

fn told(config: &Config, facts: &Facts) -> Finding {
    if let [first, ..] = facts.problems.as_slice() {
        let all = facts.problems.len();
        return Wrong(
            format!("{all} problem(s), the first: {first}"),
            "stop the server and run doctor again".to_owned(),
        );
    }
    let records = match facts.records {
        Some(records) => format!("{records} records, every byte of the journal checked"),
        None => "in use by a server".to_owned(),
    };
    let told = format!("{} shards, {} MiB, {records}", facts.shards, facts.bytes >> 20);
    match config.storage.durability {
        Durability::Fsync => Fine(told),
        Durability::Os => Note(
            format!("{told}; durability = \"os\""),
            "a power cut may lose the newest acknowledged messages; write \"fsync\" unless that is acceptable"
                .to_owned(),
        ),
    }
}
