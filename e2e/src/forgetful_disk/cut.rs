//! What a power cut leaves: anything that a disk may keep of what was not synced. Pure; chance is an argument.

use fastrand::Rng;

use super::content::{Change, Content, PAGE_BYTES, SECTOR_BYTES};
use super::files::{File, Files, Kind, Moment};

/// What is left of what was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Data {
    Lost,
    Kept,
    /// What was written up to a moment, the last write up to some byte.
    Torn,
    /// Each page of 4 KiB as it was at one of some moments.
    Pages,
    /// Each sector of 512 bytes so.
    Sectors,
    /// Each sector so, or it holds what nobody wrote.
    Garbage,
    /// Each file in one of these ways.
    Mixed,
}

/// What is left of names that were made, changed or removed in folders that were not synced since. A rename happened or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Names {
    Lost,
    Kept,
    /// Up to a moment.
    InOrder,
    Any,
}

/// How the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cut {
    /// Of files.
    pub data: Data,
    /// Of folders.
    pub names: Names,
}

impl Cut {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        let data = [Data::Lost, Data::Kept, Data::Torn, Data::Pages, Data::Sectors, Data::Garbage, Data::Mixed];
        let names = [Names::Lost, Names::Kept, Names::InOrder, Names::Any];
        data.into_iter().flat_map(move |data| names.into_iter().map(move |names| Self { data, names }))
    }
}

/// What is there when the power is back.
pub(super) fn after(mut files: Files, cut: Cut, random: &mut Rng) -> Files {
    let open = files.open_moments();
    // One disk that goes by the order of things does so for bytes and names.
    let end = random.u64(open.start..=open.end);
    let names = std::mem::take(&mut files.names);
    let kept = match cut.names {
        Names::Lost => Vec::new(),
        Names::Kept => names,
        Names::InOrder => names.into_iter().filter(|(moment, _)| *moment < end).collect(),
        Names::Any => names.into_iter().filter(|_| random.bool()).collect(),
    };
    files.store_names(kept);
    for node in files.nodes_mut() {
        if let Kind::File(file) = &mut node.kind
            && !file.changes.is_empty()
        {
            file.stored = left(file, cut.data, end, random);
        }
    }
    files.forget_the_rest();
    files
}

fn left(file: &File, data: Data, end: Moment, random: &mut Rng) -> Content {
    match data {
        Data::Lost => file.stored.clone(),
        Data::Kept => as_of(file, Moment::MAX),
        Data::Torn => torn(file, end, random),
        Data::Pages => patchwork(file, PAGE_BYTES, false, random),
        Data::Sectors => patchwork(file, SECTOR_BYTES, false, random),
        Data::Garbage => patchwork(file, SECTOR_BYTES, true, random),
        Data::Mixed => {
            let ways = [Data::Lost, Data::Kept, Data::Torn, Data::Pages, Data::Sectors, Data::Garbage];
            left(file, ways[random.usize(..ways.len())], end, random)
        }
    }
}

fn as_of(file: &File, end: Moment) -> Content {
    let mut content = file.stored.clone();
    for (_, change) in file.changes.iter().take_while(|(moment, _)| *moment < end) {
        content.apply(change);
    }
    content
}

fn torn(file: &File, end: Moment, random: &mut Rng) -> Content {
    let mut content = as_of(file, end);
    if let Some((_, Change::Write { offset, data })) = file.changes.iter().find(|(moment, _)| *moment >= end) {
        content.write(*offset, &data[..random.usize(..=data.len())]);
    }
    content
}

/// Pieces of `bytes` from before all changes, after all, or from a moment between; those with garbage among them only where
/// something was written.
fn patchwork(file: &File, bytes: usize, with_garbage: bool, random: &mut Rng) -> Content {
    let between = file.changes[random.usize(..file.changes.len())].0;
    let versions = [file.stored.clone(), as_of(file, between), as_of(file, Moment::MAX)];
    let mut content = versions[random.usize(..versions.len())].clone();
    for piece in touched(file, bytes) {
        let mut left = versions[random.usize(..versions.len())].piece(piece, bytes);
        if with_garbage && random.u8(..4) == 0 {
            let (old, new) = (versions[0].piece(piece, bytes), versions[2].piece(piece, bytes));
            for ((byte, old), new) in left.iter_mut().zip(old).zip(new) {
                // What the disk had already does not go bad because its neighbour is written.
                if old != new {
                    *byte = random.u8(..);
                }
            }
        }
        content.set_piece(piece, &left);
    }
    content
}

/// Numbers of the pieces of a file in which something was done.
fn touched(file: &File, bytes: usize) -> Vec<u64> {
    let mut pieces: Vec<u64> = Vec::new();
    for (_, change) in &file.changes {
        if let Change::Write { offset, data } = change
            && !data.is_empty()
        {
            let bytes = bytes as u64;
            pieces.extend(offset / bytes..=(offset + data.len() as u64 - 1) / bytes);
        }
    }
    pieces.sort_unstable();
    pieces.dedup();
    pieces
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::super::content::Change;
    use super::super::files::{Folder, Ino, Name, No, ROOT};
    use super::*;

    fn write(files: &mut Files, ino: Ino, offset: u64, data: &[u8]) {
        files.change(ino, Change::Write { offset, data: data.into() }).expect("write");
    }

    fn file(files: &mut Files, folder: Ino, name: &str) -> Ino {
        files.make(folder, OsStr::new(name), 0o600, Kind::File(File::default())).expect("create")
    }

    fn name(folder: Ino, name: &str) -> Name {
        Name { folder, name: name.into() }
    }

    fn read(files: &Files, path: &str) -> Result<Vec<u8>, No> {
        let ino = path.split('/').try_fold(ROOT, |folder, name| files.lookup(folder, OsStr::new(name)))?;
        Ok(files.file(ino)?.seen.read(0, 1 << 20))
    }

    fn every_way(files: &Files) -> impl Iterator<Item = (Cut, Files)> {
        let cuts = Cut::all().flat_map(|cut| (0..30).map(move |seed| (cut, seed)));
        cuts.map(|(cut, seed)| (cut, after(files.clone(), cut, &mut Rng::with_seed(seed))))
    }

    #[test]
    fn what_was_synced_with_its_name_is_there_whatever_happens() {
        let mut files = Files::default();
        let folder = files.make(ROOT, OsStr::new("a"), 0o700, Kind::Folder(Folder::default())).expect("mkdir");
        let ino = file(&mut files, folder, "b");
        write(&mut files, ino, 0, b"synced");
        files.sync(ino).expect("sync");
        assert!(every_way(&files).any(|(_, left)| read(&left, "a/b").is_err()), "its name is not safe yet");
        files.sync_folder(folder).expect("sync");
        assert!(every_way(&files).any(|(_, left)| read(&left, "a/b").is_err()), "nor is that of its folder");
        files.sync_folder(ROOT).expect("sync");
        write(&mut files, ino, 6, b" and more");
        for (cut, left) in every_way(&files) {
            let bytes = read(&left, "a/b").expect("it is there");
            assert!(bytes.starts_with(b"synced"), "{cut:?}: {bytes:?}");
            match cut.data {
                Data::Lost => assert_eq!(bytes, b"synced"),
                Data::Kept => assert_eq!(bytes, b"synced and more"),
                _ => assert!(bytes.len() <= 15),
            }
        }
    }

    #[test]
    fn sectors_are_old_or_new_and_garbage_only_where_something_is_new() {
        let mut files = Files::default();
        let ino = file(&mut files, ROOT, "a");
        files.sync_folder(ROOT).expect("sync");
        write(&mut files, ino, 0, &[1; 4_096]);
        files.sync(ino).expect("sync");
        write(&mut files, ino, 512, &[2; 1_024]);
        let (mut mixed, mut strange) = (0, 0);
        for (cut, left) in every_way(&files) {
            let bytes = read(&left, "a").expect("it is there");
            assert_eq!((bytes.len(), &bytes[..512], &bytes[1_536..]), (4_096, &[1; 512][..], &[1; 2_560][..]));
            mixed += u32::from(cut.data == Data::Sectors && bytes[512] != bytes[1_024]);
            let known = |sector: &[u8]| sector == [1; 512] || sector == [2; 512];
            let is_strange = !known(&bytes[512..1_024]) || !known(&bytes[1_024..1_536]);
            strange += u32::from(is_strange);
            assert!(!is_strange || matches!(cut.data, Data::Garbage | Data::Torn | Data::Mixed), "{cut:?}");
        }
        assert!(mixed > 10 && strange > 10, "{mixed} {strange}");
    }

    #[test]
    fn a_rename_happened_or_did_not() {
        let mut files = Files::default();
        for (text, at) in [("old", "file"), ("new", "draft")] {
            let ino = file(&mut files, ROOT, at);
            write(&mut files, ino, 0, text.as_bytes());
            files.sync(ino).expect("sync");
        }
        files.sync_folder(ROOT).expect("sync");
        files.rename(name(ROOT, "draft"), name(ROOT, "file")).expect("rename");
        let mut seen = [0, 0];
        for (_, left) in every_way(&files) {
            let bytes = read(&left, "file").expect("one of both");
            let happened = bytes == b"new";
            assert_eq!(read(&left, "draft").is_err(), happened);
            seen[usize::from(happened)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
    }

    #[test]
    fn a_failed_sync_takes_what_it_was_to_write() {
        let mut files = Files::default();
        let ino = file(&mut files, ROOT, "a");
        files.sync_folder(ROOT).expect("sync");
        write(&mut files, ino, 0, b"first");
        files.sync(ino).expect("sync");
        write(&mut files, ino, 0, b"other");
        files.fail_sync(ino).expect("a failure");
        files.sync(ino).expect("the next one says that all is well");
        assert_eq!(read(&files, "a").expect("it is there"), b"first");
    }
}
