//! Opens a store: finds out what its journal holds, and brings the mirror to the same point. Nothing on the disk is changed before
//! the journal was found to be good, but for the mirror, which can be made anew.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use roomhook_log::LogId;
use roomhook_mirror::{Mirror, MirrorConfig, Stand};

use crate::{
    config::JournalConfig,
    durable::sync_folder,
    error::OpenError,
    follow::{Followed, follow},
    journal::{self, Flags, Newest, Origin, Place, Segment, Writer},
    keeper::segment_start,
    lock::Lock,
    machine::boot_number,
    place::Standing,
    plan::Positions,
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
    pub(crate) journal: PathBuf,
    pub(crate) mirror: PathBuf,
    pub(crate) dumps: PathBuf,
}

impl Folders {
    pub(crate) fn of(store: &Path) -> Self {
        Self { journal: store.join("journal"), mirror: store.join("mirror"), dumps: store.join("dumps") }
    }
}

/// A store that is ready for its committer.
pub(crate) struct Opened {
    pub(crate) lock: Lock,
    pub(crate) store: u64,
    pub(crate) folders: Folders,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) positions: Positions,
    pub(crate) writer: Writer,
    /// Oldest last.
    pub(crate) dumps: Vec<Stand>,
}

pub(crate) fn open(config: &JournalConfig) -> Result<Opened, OpenError> {
    let path = &config.path;
    if config.shards == 0 || config.shards > SHARDS_MAX {
        return Err(OpenError::ShardsRange(config.shards));
    }
    create_folder(path).map_err(OpenError::io("creating", path))?;
    let lock = Lock::acquire(path)?;
    let folders = Folders::of(path);
    let file = match StoreFile::read(path)? {
        Some(file) if file.shards != config.shards => {
            let (stored, configured) = (file.shards, config.shards);
            return Err(OpenError::ShardCount { path: path.clone(), stored, configured });
        }
        Some(file) => file,
        None => create(path, &folders, config)?,
    };
    let origin = Origin { store: file.id, boot: boot_number() };
    let segments = journal::segments(&folders.journal, file.id)?;
    let (mirror, followed) = mirrored(&folders, &segments, origin, config)?;
    sweep(&folders, &mirror).map_err(OpenError::io("clearing", &folders.journal))?;
    let writer = writer(&folders, &segments, &followed, origin, config)?;
    let dumps = rebuild::stands(&folders.dumps, file.id).map_err(OpenError::io("listing", &folders.dumps))?;
    if writer.segment().number != segments.last().map_or(0, |segment| segment.number) {
        let start = segment_start(writer.segment().number, writer.place().position, &followed.positions);
        mirror.begin_segment(start).map_err(OpenError::mirror(&folders.mirror))?;
    }
    Ok(Opened { lock, store: file.id, folders, mirror: Arc::new(mirror), positions: followed.positions, writer, dumps })
}

/// Makes the store's folder, for its owner alone: messages and secrets of endpoints lie in it as they are. The rights of
/// a folder that is there already are for whoever made it to choose.
fn create_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Ok(()) => path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_folder),
        created => created,
    }
}

/// Makes a new store. Its STORE file comes last: without one nothing was ever acknowledged, and what a first start left that was cut
/// short is made anew.
fn create(path: &Path, folders: &Folders, config: &JournalConfig) -> Result<StoreFile, OpenError> {
    if holds_frames(&folders.journal) {
        return Err(OpenError::StoreFileMissing { path: path.to_owned() });
    }
    let file = StoreFile { shards: config.shards, id: draw_id().map_err(OpenError::io("drawing a number for", path))? };
    for folder in [&folders.journal, &folders.mirror, &folders.dumps] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::io("removing", folder)(error));
            }
            _ => {}
        }
    }
    for folder in [&folders.journal, &folders.dumps] {
        fs::create_dir(folder).map_err(OpenError::io("creating", folder))?;
    }
    file.write(path)?;
    Ok(file)
}

fn draw_id() -> io::Result<u64> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Whether anything was ever written into a journal whose store is not known.
fn holds_frames(folder: &Path) -> bool {
    let Ok(numbers) = journal::numbers(folder) else { return false };
    !numbers.is_empty()
}

/// Lies in the store when the mirror was found to be damaged while it was read.
fn condemnation(folders: &Folders) -> PathBuf {
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
    config: &JournalConfig,
) -> Result<(Mirror, Followed), OpenError> {
    let mirror_config = MirrorConfig { cache_bytes: config.cache_bytes, memtable_bytes: config.memtable_bytes };
    let condemnation = condemnation(folders);
    if condemnation.exists() {
        let rebuilt = rebuild::rebuild(folders, segments, origin, mirror_config)?;
        fs::remove_file(&condemnation).map_err(OpenError::io("removing", &condemnation))?;
        return Ok(rebuilt);
    }
    match open_mirror(folders, segments, mirror_config) {
        Ok(Some((mirror, stand))) => {
            let standing = Standing::of(&stand);
            let machine_stopped = standing.newest.boot != origin.boot && !standing.newest.flags.closing;
            if standing.newest.flags.synced || !machine_stopped {
                let followed = follow(&mirror, segments, &stand, origin)?;
                return Ok((mirror, followed));
            }
            tracing::warn!("the machine stopped, and the store was not synced: the mirror is made anew");
            drop(mirror);
        }
        Ok(None) => {}
        Err(error) if error.is_no_room() => return Err(OpenError::mirror(&folders.mirror)(error)),
        Err(error) => tracing::warn!(%error, "the mirror is damaged and is made anew from the journal"),
    }
    rebuild::rebuild(folders, segments, origin, mirror_config)
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
    let oldest = segments.first().map_or(0, |segment| segment.number);
    // A file went, and the mirror did not get to disk what it knew of that.
    while mirror.segments().first().is_some_and(|segment| segment.number < oldest) && mirror.segments().len() > 1 {
        mirror.drop_oldest()?;
    }
    Ok(Some((mirror, stand)))
}

/// Removes segments that were dropped when a crash came before their files were gone.
fn sweep(folders: &Folders, mirror: &Mirror) -> io::Result<()> {
    let Some(oldest) = mirror.segments().first().map(|segment| segment.number) else { return Ok(()) };
    for number in journal::numbers(&folders.journal)?.into_iter().filter(|number| *number < oldest) {
        tracing::info!(segment = number, "removing a segment that was dropped before a crash");
        fs::remove_file(journal::path(&folders.journal, number))?;
    }
    sync_folder(&folders.journal)
}

/// Goes on behind the last frame, in its segment if nothing lies behind it, else in a new one.
fn writer(
    folders: &Folders,
    segments: &[Segment],
    followed: &Followed,
    origin: Origin,
    config: &JournalConfig,
) -> Result<Writer, OpenError> {
    journal::sweep_drafts(&folders.journal).map_err(OpenError::io("clearing", &folders.journal))?;
    let (folder, bytes_max) = (folders.journal.clone(), config.segment_bytes);
    let at = (followed.standing.place, followed.standing.newest);
    let numbers = journal::numbers(&folder).map_err(OpenError::io("listing", &folder))?;
    match segments.last() {
        Some(last) if followed.is_clean && numbers.last() == Some(&last.number) => {
            Writer::go_on(folder, origin, bytes_max, last.clone(), at)
        }
        _ => Writer::begin(folder, origin, bytes_max, numbers.last().map_or(1, |number| number + 1), at),
    }
    .map_err(OpenError::io("opening the end of", &folders.journal))
}

/// Where a store stands that has nothing.
pub(crate) fn nothing(origin: Origin) -> Stand {
    let newest = Newest { position: 0, boot: origin.boot, flags: Flags { synced: true, closing: true } };
    Standing { place: Place::START, newest }.stand(&BTreeMap::new())
}
