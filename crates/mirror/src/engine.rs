//! The database behind a mirror, and how it is tuned.

use std::{
    fs::{self, File},
    io::Write as _,
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode,
    config::{BlockSizePolicy, FilterPolicy},
};

use crate::{
    error::MirrorError,
    keys::{NUMBERS, SEGMENT, STAND, parse_segment_key, segment_key},
    segments::{SegmentIndex, Segments, events_name, index_name},
    stand::{SegmentStart, Stand},
};

/// The smallest journal fjall allows. A start replays at most about two of these.
const JOURNAL_BYTES: u64 = 64 << 20;
const OPEN_FILES: usize = 128;
const BLOCK_BYTES: u32 = 8 << 10;
/// Lies in a mirror while it is opened.
const OPENING: &str = "opening";
/// Written to find out whether that works.
const TRIAL: &str = "trial";
/// More numbers than the engine gives away between two syncs of its journal.
const LOST_NUMBERS_MAX: usize = 64;
/// Memtables of keyspaces that are written to now and then.
const QUIET_MEMTABLE_BYTES: u64 = 2 << 20;

/// How to open a mirror. Sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MirrorConfig {
    /// Cache of blocks.
    pub cache_bytes: u64,
    /// Write buffer of each busy keyspace; there are about three.
    pub memtable_bytes: u64,
}

/// An open mirror. Writing is for one thread, reading for any; all of it blocks.
pub struct Mirror {
    config: MirrorConfig,
    path: PathBuf,
    pub(crate) db: Database,
    pub(crate) meta: Keyspace,
    pub(crate) owner_rows: Keyspace,
    pub(crate) hook_rows: Keyspace,
    pub(crate) segments: Segments,
    /// A read found something that cannot be.
    is_damaged: AtomicBool,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").finish_non_exhaustive()
    }
}

impl Mirror {
    /// Opens what is at `path`, or makes an empty mirror that has no stand.
    ///
    /// # Errors
    /// When it is damaged: remove `path` and open it again.
    pub fn open(path: &Path, config: MirrorConfig) -> Result<Self, MirrorError> {
        let opening = path.join(OPENING);
        if opening.exists() {
            return Err(MirrorError::Damaged("a process ended while it opened it".to_owned()));
        }
        // The engine does not take every damage for one: of some it says that it cannot be, and panics; of a part of these its
        // destructors panic as well, and then the process ends. The next one must not try the same. Best effort: a full disk is told later.
        if path.is_dir() {
            let _ = fs::write(&opening, b"");
        }
        let opened = catch_unwind(|| Self::open_engine(path, config)).unwrap_or_else(|panic| {
            let reason = panic.downcast_ref::<String>().map(String::as_str);
            let reason = reason.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why");
            Err(MirrorError::Damaged(format!("its engine panicked: {reason}")))
        });
        let _ = fs::remove_file(&opening);
        opened
    }

    fn open_engine(path: &Path, config: MirrorConfig) -> Result<Self, MirrorError> {
        let db = Database::builder(path)
            .cache_size(config.cache_bytes)
            .max_journaling_size(JOURNAL_BYTES)
            .max_cached_files(Some(OPEN_FILES))
            .worker_threads(1)
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .open()?;
        let quiet = |name: &str| {
            let memtable = config.memtable_bytes.min(QUIET_MEMTABLE_BYTES);
            db.keyspace(name, || {
                KeyspaceCreateOptions::default().max_memtable_size(memtable).manual_journal_persist(true)
            })
        };
        let (meta, owner_rows, hook_rows) = (quiet("meta")?, quiet("owner")?, quiet("hooks")?);
        let mut mirror = Self {
            config,
            path: path.to_owned(),
            db,
            meta,
            owner_rows,
            hook_rows,
            segments: Segments::default(),
            is_damaged: AtomicBool::new(false),
        };
        mirror.segments = Segments::new(mirror.stored_segments()?);
        match mirror.skip_numbers().and_then(|()| mirror.sweep()) {
            // A full disk is no damage, also if the engine found that out in the background.
            Err(MirrorError::Engine(fjall::Error::Poisoned)) => {
                Err(mirror.try_to_write().map_or_else(fjall::Error::Io, |()| fjall::Error::Poisoned).into())
            }
            done => done.map(|()| mirror),
        }
    }

    /// What is made and deleted gets a number, as every write does, and is durable at once, while the engine goes on behind the
    /// newest number of its journal, whose end a power cut may take. A number that is given away twice hides things in part: the
    /// engine finds a keyspace without its settings, and panics. So numbers that may have been lost are skipped, and
    /// [`Mirror::keep_numbers`] follows whatever makes or deletes.
    fn skip_numbers(&self) -> Result<(), MirrorError> {
        for _ in 0..LOST_NUMBERS_MAX {
            self.meta.insert(NUMBERS, b"")?;
        }
        self.keep_numbers()
    }

    fn keep_numbers(&self) -> Result<(), MirrorError> {
        self.meta.insert(NUMBERS, b"")?;
        Ok(self.db.persist(PersistMode::SyncData)?)
    }

    /// Everything before this is in it; `None` for one that was just made.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn stand(&self) -> Result<Option<Stand>, MirrorError> {
        let Some(stored) = self.meta.get(STAND)? else { return Ok(None) };
        Stand::decode(&stored)
            .map(Some)
            .ok_or_else(|| MirrorError::Damaged("where it stands cannot be read".to_owned()))
    }

    /// Whether a read found something that cannot be. It is to be made anew then, at the next start.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn note_damage(&self) {
        self.is_damaged.store(true, Ordering::Relaxed);
    }

    /// What a person should know of an error. What the engine does in the background it does not tell the causes of, but to its log;
    /// so it is tried whether writing fails.
    #[must_use]
    pub fn why(&self, error: &MirrorError) -> String {
        if !matches!(error, MirrorError::Engine(fjall::Error::Poisoned)) {
            return error.to_string();
        }
        let background = "its engine could not write in the background";
        match self.try_to_write() {
            Err(error) => format!("{background}, and it still cannot: {error}"),
            Ok(()) => format!("{background}; its line in the log says why"),
        }
    }

    fn try_to_write(&self) -> std::io::Result<()> {
        let path = self.path.join(TRIAL);
        let write = |mut file: File| file.write_all(&[1; BLOCK_BYTES as usize]).and_then(|()| file.sync_all());
        let written = File::create(&path).and_then(write);
        let _ = fs::remove_file(&path);
        written
    }

    /// The segments it knows, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<Arc<SegmentStart>> {
        self.segments.all().iter().map(|segment| Arc::clone(&segment.start)).collect()
    }

    /// First readable position of a log.
    #[must_use]
    pub fn first(&self, log: roomhook_log::LogId) -> roomhook_log::Lsn {
        self.segments.first(log)
    }

    /// What follows lies in a new segment of the log's files.
    ///
    /// # Errors
    /// As the engine says.
    pub fn begin_segment(&self, start: SegmentStart) -> Result<(), MirrorError> {
        let index = self.open_segment(start)?;
        self.meta.insert(segment_key(index.number()), index.start.encode())?;
        self.keep_numbers()?;
        // Nothing more comes for the old one: writing out its memtables now frees memory and journals.
        if let Some(before) = self.segments.all().last() {
            for keyspace in [&before.events, &before.index, &self.meta, &self.owner_rows, &self.hook_rows] {
                keyspace.rotate_memtable()?;
            }
        }
        self.segments.push(index);
        Ok(())
    }

    /// Forgets the oldest segment, unless it is the only one. Its row goes first: keyspaces without a row are swept up at the
    /// next start.
    ///
    /// # Errors
    /// As the engine says.
    pub fn drop_oldest(&self) -> Result<(), MirrorError> {
        let Some(segment) = self.segments.take_oldest() else { return Ok(()) };
        self.meta.remove(segment_key(segment.number()))?;
        self.db.delete_keyspace(segment.events)?;
        self.db.delete_keyspace(segment.index)?;
        self.keep_numbers()
    }

    /// Hands everything to the operating system and waits for the disk. Only for an orderly stop: a mirror need not be durable.
    ///
    /// # Errors
    /// As the engine says.
    pub fn close(&self) -> Result<(), MirrorError> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn stored_segments(&self) -> Result<Vec<SegmentIndex>, MirrorError> {
        let mut segments = Vec::new();
        for entry in self.meta.prefix(SEGMENT) {
            let (key, value) = entry.into_inner()?;
            let start = parse_segment_key(&key).and_then(|number| SegmentStart::decode(number, &value));
            let start = start.ok_or_else(|| MirrorError::Damaged("the row of a segment cannot be read".to_owned()))?;
            if !self.db.keyspace_exists(&events_name(start.number))
                || !self.db.keyspace_exists(&index_name(start.number))
            {
                return Err(MirrorError::Damaged(format!("the index of segment {} is missing", start.number)));
            }
            segments.push(self.open_segment(start)?);
        }
        Ok(segments)
    }

    fn open_segment(&self, start: SegmentStart) -> Result<SegmentIndex, MirrorError> {
        // Entries of both are found by range or are known to be there: filters would only cost memory.
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(self.config.memtable_bytes)
                .manual_journal_persist(true)
                .filter_policy(FilterPolicy::disabled())
                .expect_point_read_hits(true)
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        };
        let events = self.db.keyspace(&events_name(start.number), options)?;
        let index = self.db.keyspace(&index_name(start.number), options)?;
        Ok(SegmentIndex { start: Arc::new(start), events, index })
    }

    /// Deletes keyspaces that a crash left without a row.
    fn sweep(&self) -> Result<(), MirrorError> {
        let known = self.segments.all();
        for name in self.db.list_keyspace_names() {
            let number =
                name.strip_prefix("ev").or_else(|| name.strip_prefix("ix")).and_then(|number| number.parse().ok());
            let Some(number) = number.filter(|number: &u32| known.iter().all(|segment| segment.number() != *number))
            else {
                continue;
            };
            tracing::info!(segment = number, "removing an index that a crash left behind");
            self.db.delete_keyspace(self.db.keyspace(&name, KeyspaceCreateOptions::default)?)?;
            self.keep_numbers()?;
        }
        Ok(())
    }
}
