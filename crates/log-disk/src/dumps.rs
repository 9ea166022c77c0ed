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

use crate::{
    config::Durability,
    durable::{self, sync_folder},
    journal,
    open::Folders,
};

const SUFFIX: &str = ".dump";
/// The newest ones stay: should one turn out to be damaged, there is another.
const KEPT: usize = 2;

/// The store's dumps.
pub(crate) struct Dumps {
    folder: PathBuf,
    journal: PathBuf,
    /// Segments before this one are durable. `None` if all are, because nothing is mirrored before it is.
    unsynced: Option<u32>,
    store: u64,
    /// Oldest first.
    kept: Vec<Stand>,
    making: Option<JoinHandle<Made>>,
}

/// Where the new dump stands, and the newest segment of which all before that is durable.
type Made = Result<Option<(Stand, Option<u32>)>, DumpError>;

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

/// Where those stand that are whole, newest first. Those of an end that is gone, which lie beyond `end`, are removed: the journal will
/// come to where they stand with something else.
pub(crate) fn without_lost(folder: &Path, store: u64, end: u64) -> io::Result<Vec<Stand>> {
    let mut stands = Vec::new();
    for dump in whole(folder, store)? {
        if position(&dump.stand) <= end {
            stands.push(dump.stand);
        } else {
            durable::remove_file(&path(folder, position(&dump.stand)))?;
        }
    }
    Ok(stands)
}

impl Dumps {
    /// `kept` are those that were found, newest first.
    pub(crate) fn new(folders: &Folders, store: u64, durability: Durability, mut kept: Vec<Stand>) -> Self {
        kept.reverse();
        let (folder, journal) = (folders.dumps.clone(), folders.journal.clone());
        let unsynced = (durability == Durability::Os).then_some(0);
        Self { folder, journal, unsynced, store, kept, making: None }
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
        let (journal, unsynced) = (self.journal.clone(), self.unsynced);
        let making = thread::Builder::new().name("dump".to_owned()).spawn(move || {
            let stand = write_dump(&mirror, store, &folder, |stand| path(&folder, position(stand)))?;
            // A dump of what the journal may yet lose is of no use, and an older one goes for it.
            let newest = unsynced.map(|number| journal::sync_from(&journal, number)).transpose();
            let newest = newest.map_err(|source| DumpError::Io { path: journal, source })?;
            Ok(stand.map(|stand| (stand, newest)))
        });
        match making {
            Ok(making) => self.making = Some(making),
            Err(error) => tracing::warn!(%error, "no dump was made: retention waits for the next one"),
        }
    }

    /// Takes in what was in the making, if it is done, or waits for it.
    pub(crate) fn finish(&mut self, wait: bool) {
        let Some(making) = self.making.take_if(|making| wait || making.is_finished()) else { return };
        match making.join() {
            Ok(Ok(Some((stand, newest)))) => {
                self.unsynced = newest;
                self.made(stand);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "no dump was made: retention waits for the next one"),
            Err(_) => tracing::error!("making a dump panicked: retention waits for the next one"),
        }
    }

    fn made(&mut self, stand: Stand) {
        match self.kept.last_mut() {
            // Of the same place, but of newer rows and what owners gave up with them: it has taken the older one's file.
            Some(newest) if newest.place == stand.place => *newest = stand,
            Some(newest) if newest.place > stand.place => {}
            _ => self.kept.push(stand),
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
