//! A start is tried on a copy: it says what a start would, whatever is wrong, and changes nothing.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    mem::discriminant,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use roomhook_log::{LogAppend, LogId};
use roomhook_log_disk::{DiskConfig, DiskLog, OpenError, Rehearsal};

use crate::store::{copy, files, in_memory, read_all, rehearse, small, written};

/// What a rehearsal says, after making sure that it changed nothing and that a start says the same.
fn refusal(config: &DiskConfig) -> OpenError {
    let before = content(&config.path);
    let rehearsed = rehearse(config.clone());
    assert!(content(&config.path) == before, "it changed something");
    let Err(told) = rehearsed else { panic!("it says that a start works: {rehearsed:?}") };
    match DiskLog::open(config.clone()) {
        Ok(_) => panic!("a start works, and it said: {told}"),
        Err(refused) if discriminant(&refused) == discriminant(&told) => {
            assert_eq!(refused.to_string(), told.to_string());
        }
        Err(refused) => panic!("a start says {refused}, and it said {told}"),
    }
    told
}

/// All files, and what is in them.
fn content(store: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let read = |path: std::path::PathBuf| {
        let file = fs::File::open(&path).expect("open");
        // Journals are made at full length, which takes no room on the disk.
        let on_disk = file.metadata().expect("metadata").blocks() * 512;
        let mut bytes = Vec::new();
        file.take(on_disk).read_to_end(&mut bytes).expect("read");
        let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(length);
        (path, bytes)
    };
    files(store).into_iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_whole_store_it_knows_all_and_changes_nothing() {
    let folder = in_memory();
    assert!(matches!(rehearse(small(&folder.path().join("none"))), Ok(Rehearsal::Nothing)));
    assert!(matches!(rehearse(small(folder.path())), Ok(Rehearsal::Nothing)), "an empty folder");
    written(folder.path(), 14).await;
    let before = content(folder.path());
    let Ok(Rehearsal::Works(opened)) = rehearse(small(folder.path())) else { panic!("a start works") };
    assert_eq!(read_all(&opened.log(), LogId(0)).await.expect("read").len(), 141);
    let top = opened.log().state(LogId(0), b"top").await;
    assert_eq!(top.expect("state").as_deref(), Some(&b"13"[..]));
    opened.close().await.expect("close");
    assert!(content(folder.path()) == before);

    let store = DiskLog::open(small(folder.path())).expect("open");
    assert!(matches!(rehearse(small(folder.path())), Err(OpenError::InUse { .. })));
    store.shutdown().await;
}

/// Something done to the files of a store.
type Damage = fn(&Path);

fn segments(store: &Path) -> Vec<std::path::PathBuf> {
    let mut found = files(&store.join("journal"));
    found.retain(|file| file.extension().is_some_and(|extension| extension == "segment"));
    found
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("remove");
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("read");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_not_start_is_named_before_the_start() {
    let folder = in_memory();
    written(folder.path(), 40).await;
    assert!(segments(folder.path()).len() > 3);
    let strange: [(&str, Damage); 12] = [
        ("STORE is lost", |store| remove(&store.join("STORE"))),
        ("STORE is empty", |store| fs::write(store.join("STORE"), "").expect("write")),
        ("STORE is of a later version", |store| {
            fs::write(store.join("STORE"), "roomhook store\nformat = 9\nshards = 2\n").expect("write");
        }),
        ("more shards", |store| {
            let said = fs::read_to_string(store.join("STORE")).expect("read");
            fs::write(store.join("STORE"), said.replace("shards = 2", "shards = 3")).expect("write");
        }),
        ("of another store", |store| {
            let said = fs::read_to_string(store.join("STORE")).expect("read");
            fs::write(store.join("STORE"), said.replace("id = ", "id = f")).expect("write");
        }),
        ("no journal", |store| fs::remove_dir_all(store.join("journal")).expect("remove")),
        ("an empty journal", |store| segments(store).iter().for_each(|segment| remove(segment))),
        ("the first segment is lost", |store| remove(&segments(store)[0])),
        ("a segment is lost", |store| remove(&segments(store)[1])),
        ("the last segment is lost", |store| remove(segments(store).last().expect("some"))),
        ("a damaged head", |store| flip(&segments(store)[1], 40)),
        ("a lost end", |store| {
            let last = segments(store).pop().expect("some");
            let bytes = fs::read(&last).expect("read");
            let end = bytes.iter().rposition(|byte| *byte != 0).expect("something");
            fs::write(&last, [&bytes[..end - 600], &vec![0; bytes.len() + 600 - end][..]].concat()).expect("write");
        }),
    ];
    for (what, damage) in strange {
        let damaged = copy(folder.path());
        damage(damaged.path());
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| refusal(&small(damaged.path()))));
        let told = told.unwrap_or_else(|_| panic!("{what}")).to_string();
        assert!(told.contains("restore") || told.contains("use ") || told.contains("set it"), "{what}: {told}");
        assert!(!told.contains("roomhook-doctor-"), "of the store, not of the copy: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stderr, reason = "that nothing was tried must be in the output")]
async fn what_may_not_be_written_is_named() {
    if fs::metadata("/proc/self").expect("a process").uid() == 0 {
        eprintln!("SKIPPED: root may write everything");
        return;
    }
    let folder = in_memory();
    written(folder.path(), 1).await;
    for name in ["LOCK", "journal/00000001.segment", "journal"] {
        let path = folder.path().join(name);
        let rights = fs::metadata(&path).expect("metadata").permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).expect("chmod");
        assert!(matches!(refusal(&small(folder.path())), OpenError::Io { .. }), "{name}");
        fs::set_permissions(&path, rights).expect("chmod");
    }
}
