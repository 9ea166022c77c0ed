//! Reading pieces of the journal, for the mirror.

use std::{collections::HashMap, fs::File, io, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use roomhook_mirror::{Chunks, Location};

use crate::journal;

/// Segments whose files stay open for the next read.
const OPEN_FILES_MAX: usize = 64;

/// The files of the journal, opened when they are read.
#[derive(Debug)]
pub(crate) struct JournalChunks {
    folder: PathBuf,
    files: Mutex<HashMap<u32, Arc<File>>>,
}

impl JournalChunks {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, files: Mutex::default() }
    }

    fn file(&self, segment: u32) -> io::Result<Arc<File>> {
        if let Some(file) = self.files.lock().get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(journal::path(&self.folder, segment))?);
        let mut files = self.files.lock();
        if files.len() >= OPEN_FILES_MAX {
            // Readers go through segments one after the other: the oldest is least likely to be asked for again.
            let oldest = files.keys().min().copied();
            oldest.and_then(|oldest| files.remove(&oldest));
        }
        files.insert(segment, Arc::clone(&file));
        Ok(file)
    }
}

impl Chunks for JournalChunks {
    fn chunk(&self, at: Location) -> io::Result<Bytes> {
        let mut bytes = vec![0; at.bytes as usize];
        self.file(at.segment)?.read_exact_at(&mut bytes, u64::from(at.offset))?;
        Ok(bytes.into())
    }
}
