//! Opens a store: finds out what its journal holds, and brings the mirror to the same point. Nothing on the disk is changed before
//! the journal was found to be good, but for the mirror, which can be made anew.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use roomhook_log::{LogId, Lsn, entry::Position};
use roomhook_mirror::{Mirror, MirrorConfig, Stand};

use crate::{
    config::DiskConfig,
    dumps, durable,
    error::OpenError,
    follow::{Followed, follow},
    journal::{self, Origin, Segment, Writer},
    keeper::segment_start,
    lock::Lock,
    newborn,
    place::Standing,
    plan::{Floors, Positions},
    rebuild,
    store_file::StoreFile,
};

const SHARDS_MAX: u16 = 1_000;

/// All logs of a store.
pub(crate) fn log_ids(shards: u16) -> impl Iterator<Item = LogId> {
    (0..shards).map(LogId).chain([LogId::DIRECTORY])
}

/// Where the parts of a store lie.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    pub(crate) store: PathBuf,
    pub(crate) journal: PathBuf,
    pub(crate) mirror: PathBuf,
    pub(crate) dumps: PathBuf,
}

impl Folders {
    pub(crate) fn of(store: &Path) -> Self {
        Self {
            store: store.to_owned(),
            journal: store.join("journal"),
            mirror: store.join("mirror"),
            dumps: store.join("dumps"),
        }
    }
}

/// A store that is ready for its committer.
pub(crate) struct Opened {
    pub(crate) lock: Lock,
    pub(crate) store: u64,
    pub(crate) folders: Folders,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) positions: Positions,
    pub(crate) floors: Floors,
    pub(crate) writer: Writer,
    /// Newest first.
    pub(crate) dumps: Vec<Stand>,
}

pub(crate) fn open(config: &DiskConfig) -> Result<Opened, OpenError> {
    let path = &config.path;
    check_shards(config)?;
    // For its owner alone: messages and secrets of endpoints lie in it as they are. The rights of a folder that is there already are for
    // whoever made it to choose.
    durable::create_folder(path, 0o700).map_err(OpenError::io("creating", path))?;
    let lock = Lock::acquire(path)?;
    let folders = Folders::of(path);
    let boot = config.boot;
    let file = match stored(config)? {
        Some(file) => file,
        None => newborn::make(&folders, config, boot)?,
    };
    let origin = Origin { store: file.id, boot };
    let segments = journal::segments(&folders.journal, file.id)?;
    let (mirror, mut followed) = mirrored(&folders, &segments, origin, config)?;
    if followed.is_lost || followed.was_lost {
        // Also a log that has nothing may have had something.
        for log in log_ids(config.shards) {
            let position = followed.positions.entry(log).or_insert(Position::EMPTY);
            position.epoch = position.epoch.after_loss();
        }
    }
    sweep(&folders, &segments).map_err(OpenError::io("clearing", &folders.journal))?;
    let writer = writer(&folders, &segments, &followed, origin, config)?;
    let end = followed.standing.place.position;
    let dumps = dumps::without_lost(&folders.dumps, file.id, end).map_err(OpenError::io("listing", &folders.dumps))?;
    // One without a frame is not known to the mirror.
    if mirror.segments().last().is_none_or(|known| known.number != writer.segment().number) {
        let start = segment_start(writer.segment().number, writer.place().position, &followed.positions);
        mirror.begin_segment(start).map_err(OpenError::mirror(&folders.mirror))?;
    }
    let (mirror, Followed { positions, floors, .. }) = (Arc::new(mirror), followed);
    Ok(Opened { lock, store: file.id, folders, mirror, positions, floors, writer, dumps })
}

/// A number of shards that no store can have is refused before anything is made.
pub(crate) fn check_shards(config: &DiskConfig) -> Result<(), OpenError> {
    match config.shards {
        1..=SHARDS_MAX => Ok(()),
        shards => Err(OpenError::ShardsRange(shards)),
    }
}

/// The STORE file of a store that fits the configuration; `None` when there is none.
pub(crate) fn stored(config: &DiskConfig) -> Result<Option<StoreFile>, OpenError> {
    match StoreFile::read(&config.path)? {
        Some(StoreFile { shards, .. }) if shards != config.shards => {
            Err(OpenError::ShardCount { path: config.path.clone(), stored: shards, configured: config.shards })
        }
        found => Ok(found),
    }
}

/// Lies in the store when the mirror was found to be damaged while it was read.
pub(crate) fn condemnation(folders: &Folders) -> PathBuf {
    folders.mirror.with_extension("damaged")
}

/// Has the next start make the mirror anew.
pub(crate) fn condemn_mirror(folders: &Folders) {
    let path = condemnation(folders);
    if path.exists() {
        return;
    }
    tracing::error!("the mirror is damaged: some history cannot be read until the next start, which makes it anew");
    if let Err(error) = fs::write(&path, b"") {
        let (path, mirror) = (path.display(), folders.mirror.display());
        tracing::error!(%error, "{path} cannot be written: delete {mirror} before the next start");
    }
}

/// The mirror, brought to where the journal ends. One that cannot be used is made anew.
fn mirrored(
    folders: &Folders,
    segments: &[Segment],
    origin: Origin,
    config: &DiskConfig,
) -> Result<(Mirror, Followed), OpenError> {
    let mirror_config = MirrorConfig { cache_bytes: config.cache_bytes, memtable_bytes: config.memtable_bytes };
    let condemnation = condemnation(folders);
    if condemnation.exists() {
        let rebuilt = rebuild::rebuild(folders, segments, origin, mirror_config, &config.on_reading)?;
        fs::remove_file(&condemnation).map_err(OpenError::io("removing", &condemnation))?;
        return Ok(rebuilt);
    }
    match open_mirror(folders, segments, mirror_config) {
        Ok(Some((mirror, stand))) => {
            let standing = Standing::of(&stand);
            let machine_stopped = standing.newest.boot != origin.boot && !standing.newest.flags.closing;
            if !standing.newest.flags.synced && machine_stopped {
                tracing::warn!("the machine stopped, and the store was not synced: the mirror is made anew");
            } else {
                match follow(&mirror, segments, &stand, origin, &config.on_reading) {
                    Err(OpenError::Mirror { source, .. }) => {
                        tracing::warn!(error = %source, "the mirror is damaged and is made anew from the journal");
                    }
                    followed => return Ok((mirror, followed?)),
                }
            }
        }
        Ok(None) => {}
        Err(error) => match error.no_room() {
            Ok(error) => return Err(OpenError::NoRoom { at: folders.mirror.display().to_string(), error }),
            Err(error) => tracing::warn!(%error, "the mirror is damaged and is made anew from the journal"),
        },
    }
    rebuild::rebuild(folders, segments, origin, mirror_config, &config.on_reading)
}

/// A mirror that is there and fits the segments that are there.
fn open_mirror(
    folders: &Folders,
    segments: &[Segment],
    config: MirrorConfig,
) -> Result<Option<(Mirror, Stand)>, roomhook_mirror::MirrorError> {
    if !folders.mirror.is_dir() {
        return Ok(None);
    }
    let mirror = Mirror::open(&folders.mirror, config)?;
    let Some(stand) = mirror.stand()? else { return Ok(None) };
    let (oldest, start) = segments.first().map_or((0, 0), |segment| (segment.number, segment.start.position));
    // A file went, and the mirror did not get to disk what it knew of that.
    while mirror.segments().first().is_some_and(|segment| segment.number < oldest) && mirror.segments().len() > 1 {
        mirror.drop_oldest()?;
    }
    // A power cut may take the mirror back to before the dump that let segments go: its rows of an owner would then need records
    // that are gone. The dump has newer ones.
    let needs = |log: LogId| stand.floors.get(&log).map_or(Lsn::FIRST, |floor| Lsn::FIRST.max(*floor));
    if stand.place[0] < start || stand.logs.keys().any(|log| mirror.first(*log) > needs(*log)) {
        tracing::warn!("the mirror is older than what was dropped since: it is made anew from a dump and the journal");
        return Ok(None);
    }
    Ok(Some((mirror, stand)))
}

/// Removes segments that were dropped when a crash came before their files were gone, and those of which all is lost, to the first byte.
fn sweep(folders: &Folders, segments: &[Segment]) -> io::Result<()> {
    let Some(oldest) = segments.first().map(|segment| segment.number) else { return Ok(()) };
    let dropped: Vec<u32> = journal::numbers(&folders.journal)?.into_iter().filter(|number| *number < oldest).collect();
    if !dropped.is_empty() {
        journal::set_oldest(&folders.journal, oldest)?;
    }
    for number in dropped {
        tracing::info!(segment = number, "removing a segment that was dropped before a crash");
        fs::remove_file(journal::path(&folders.journal, number))?;
    }
    durable::sync_folder(&folders.journal)
}

/// Goes on behind the last frame, in its segment if nothing lies behind it, else in a new one; also in a new one, which says so, if
/// something may be lost.
fn writer(
    folders: &Folders,
    segments: &[Segment],
    followed: &Followed,
    origin: Origin,
    config: &DiskConfig,
) -> Result<Writer, OpenError> {
    journal::sweep_drafts(&folders.journal).map_err(OpenError::io("clearing", &folders.journal))?;
    let (folder, bytes_max) = (folders.journal.clone(), config.segment_bytes);
    let at = (followed.standing.place, followed.standing.newest);
    // What is written from now on may be synced, and then says that all before it is.
    if !followed.standing.newest.flags.synced {
        segments.iter().try_for_each(journal::sync).map_err(OpenError::Journal)?;
    }
    let numbers = journal::numbers(&folder).map_err(OpenError::io("listing", &folder))?;
    match segments.last() {
        Some(last) if followed.is_clean && !followed.is_lost && numbers.last() == Some(&last.number) => {
            Writer::go_on(folder, origin, bytes_max, last.clone(), at)
        }
        _ => {
            let number = numbers.last().map_or(1, |number| number + 1);
            Writer::begin(folder, origin, bytes_max, number, at, followed.is_lost)
        }
    }
    .map_err(OpenError::io("opening the end of", &folders.journal))
}
