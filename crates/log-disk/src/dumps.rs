//! The dumps of a store: which there are, which stay, and one in the making.
//!
//! ```text
//! <store>/dumps/00000000000000012345.dump    all rows as of that position of the journal
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use roomhook_mirror::{Dump, DumpError, Mirror, Stand, write_dump};

use crate::durable::sync_folder;

const SUFFIX: &str = ".dump";
/// The newest ones stay: should one turn out to be damaged, there is another.
const KEPT: usize = 2;

/// The store's dumps.
pub(crate) struct Dumps {
    folder: PathBuf,
    store: u64,
    /// Oldest first.
    kept: Vec<Stand>,
    making: Option<JoinHandle<Result<Option<Stand>, DumpError>>>,
}

/// Positions of the dumps in `folder`, newest first.
pub(crate) fn positions(folder: &Path) -> io::Result<Vec<u64>> {
    let mut positions: Vec<u64> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        positions.extend(name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse::<u64>().ok()));
    }
    positions.sort_unstable();
    positions.reverse();
    Ok(positions)
}

/// Of the journal, before which everything is in a dump.
fn position(stand: &Stand) -> u64 {
    let [position, ..] = stand.place;
    position
}

pub(crate) fn path(folder: &Path, position: u64) -> PathBuf {
    folder.join(format!("{position:020}{SUFFIX}"))
}

/// Dumps that are whole, newest first. What is damaged is told, and not used.
pub(crate) fn whole(folder: &Path, store: u64) -> io::Result<Vec<Dump>> {
    let mut dumps = Vec::new();
    for position in positions(folder)? {
        match Dump::open(&path(folder, position), store) {
            Ok(dump) => dumps.push(dump),
            Err(error) => tracing::error!(%error, "a dump cannot be used; an older one may do"),
        }
    }
    Ok(dumps)
}

impl Dumps {
    /// `kept` are those that were found, newest first.
    pub(crate) fn new(folder: PathBuf, store: u64, mut kept: Vec<Stand>) -> Self {
        kept.reverse();
        Self { folder, store, kept, making: None }
    }

    /// What every kept dump covers; `None` without any.
    pub(crate) fn covered(&self) -> Option<&Stand> {
        self.kept.first()
    }

    /// Begins one, unless one is in the making.
    pub(crate) fn begin(&mut self, mirror: &Arc<Mirror>) {
        if self.making.is_some() {
            return;
        }
        let (mirror, folder, store) = (Arc::clone(mirror), self.folder.clone(), self.store);
        let making = thread::Builder::new()
            .name("dump".to_owned())
            .spawn(move || write_dump(&mirror, store, &folder, |stand| path(&folder, position(stand))));
        match making {
            Ok(making) => self.making = Some(making),
            Err(error) => tracing::warn!(%error, "no dump was made: retention waits for the next one"),
        }
    }

    /// Takes in what was in the making, if it is done, or waits for it.
    pub(crate) fn finish(&mut self, wait: bool) {
        let Some(making) = self.making.take_if(|making| wait || making.is_finished()) else { return };
        match making.join() {
            Ok(Ok(Some(stand))) => self.made(stand),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "no dump was made: retention waits for the next one"),
            Err(_) => tracing::error!("making a dump panicked: retention waits for the next one"),
        }
    }

    fn made(&mut self, stand: Stand) {
        if self.kept.last().is_none_or(|newest| newest.place < stand.place) {
            self.kept.push(stand);
        }
        self.keep(KEPT);
    }

    /// Removes all but the newest `count`.
    pub(crate) fn keep(&mut self, count: usize) {
        while self.kept.len() > count {
            let stand = self.kept.remove(0);
            let path = path(&self.folder, position(&stand));
            if let Err(error) = fs::remove_file(&path).and_then(|()| sync_folder(&self.folder)) {
                tracing::warn!(path = %path.display(), %error, "an old dump could not be removed");
            }
        }
    }
}
