//! What a start does about damage: what can be made anew is made anew, what cannot is refused with file and place, and nothing is made
//! worse.

use std::{fs, path::Path};

use roomhook_log::{Expect, LogAppend, LogId, LogRead, NodeId, ReadError, Record, Rows};
use roomhook_log_disk::{DiskLog, OpenError};

use crate::store::{copy, files, read_all, record, row, small};

const LOG: LogId = LogId(0);

/// What a store says of itself, in all its parts.
#[derive(Debug, PartialEq)]
struct Content {
    records: Vec<Vec<Record>>,
    of_room: Vec<Record>,
    cursor: Option<bytes::Bytes>,
}

async fn content(store: &DiskLog) -> Result<Content, ReadError> {
    let mut records = Vec::new();
    for log in [LOG, LogId(1), LogId::DIRECTORY] {
        records.push(read_all(store, log).await?);
    }
    let key = roomhook_log::Key(b"room"[..].into());
    let of_room = store.last(LOG, &key, roomhook_log::Lsn(u64::MAX), 10_000).await?;
    let cursor = store.get(LOG, b"cursor").await?;
    Ok(Content { records, of_room, cursor })
}

/// A closed store of many segments, with dumps, of which the oldest segments are gone.
async fn written(path: &Path) -> Content {
    let store = DiskLog::open(small(path)).expect("open");
    let mut claim = store.claim(LOG, NodeId(1), Expect::Anyone).await.expect("claim");
    let mut other = store.claim(LogId(1), NodeId(1), Expect::Anyone).await.expect("claim");
    for number in 0..60 {
        let records = (0..10).map(|n| record("room", format!("{number}/{n} {}", "x".repeat(100)))).collect();
        store.append(&mut claim, records, vec![row("top", &number.to_string())]).await.expect("append");
        store.append(&mut other, vec![record("quiet", format!("{number}"))], vec![]).await.expect("append");
        store.put(LOG, claim.epoch, vec![row("cursor", &number.to_string())]).await.expect("put");
        if number == 30 {
            store.trim(&claim, roomhook_log::Lsn(150)).await.expect("trim");
            store.trim(&other, roomhook_log::Lsn(15)).await.expect("trim");
            store.retain().await.expect("retain");
        }
    }
    let content = content(&store).await.expect("a healthy store");
    store.shutdown().await;
    content
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_is_lost_is_made_anew() {
    let folder = tempfile::tempdir().expect("tempdir");
    let before = written(folder.path()).await;
    assert!(before.records[0][0].lsn > roomhook_log::Lsn(1), "something was dropped before");
    fs::remove_dir_all(folder.path().join("mirror")).expect("remove");
    let store = DiskLog::open(small(folder.path())).expect("it is made anew");
    assert_eq!(content(&store).await.expect("read"), before);
    store.shutdown().await;

    // Without a dump nobody can tell what the rows were before the oldest segment.
    fs::remove_dir_all(folder.path().join("mirror")).expect("remove");
    fs::remove_dir_all(folder.path().join("dumps")).expect("remove");
    fs::create_dir(folder.path().join("dumps")).expect("create");
    assert!(matches!(DiskLog::open(small(folder.path())), Err(OpenError::NoDump { .. })));
}

/// Flips single bits in every kind of file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the seed of a failed run is wanted")]
async fn one_flipped_bit_is_healed_or_refused_and_never_believed() {
    let flips = std::env::var("ROOMHOOK_FLIPS").map_or(30, |flips| flips.parse().expect("a number"));
    let seed =
        std::env::var("ROOMHOOK_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("tempdir");
    let before = written(folder.path()).await;
    let all = files(folder.path());
    let (mut healed, mut refused) = (0, 0);
    for _ in 0..flips {
        let damaged = copy(folder.path());
        let path = &all[random.usize(..all.len())];
        let name = path.strip_prefix(folder.path()).expect("inside");
        let target = damaged.path().join(name);
        let mut bytes = fs::read(&target).expect("read");
        if bytes.is_empty() {
            continue;
        }
        let (at, bit) = (random.usize(..bytes.len()), random.u8(..8));
        bytes[at] ^= 1 << bit;
        fs::write(&target, &bytes).expect("write");
        let told = format!("bit {bit} of byte {at} of {}", name.display());
        match DiskLog::open(small(damaged.path())) {
            Ok(store) => {
                match content(&store).await {
                    Ok(content) => {
                        healed += 1;
                        assert_eq!(content, before, "{told}: other content");
                    }
                    // Tables of the mirror are checked when they are read, and the next start makes it anew.
                    Err(_) if name.starts_with("mirror") => {
                        healed += 1;
                        store.shutdown().await;
                        let store = DiskLog::open(small(damaged.path())).expect("open");
                        assert_eq!(content(&store).await.expect("it was made anew"), before, "{told}");
                        store.shutdown().await;
                        continue;
                    }
                    // A start reads what its mirror has not seen. What lies before is checked when somebody reads it.
                    Err(ReadError::Corrupt { reason, .. }) => {
                        refused += 1;
                        assert!(name.starts_with("journal") && reason.contains("segment"), "{told}: {reason}");
                    }
                    Err(error) => panic!("{told}: {error}"),
                }
                store.shutdown().await;
            }
            Err(error) => {
                refused += 1;
                let sentence = error.to_string();
                let file = name.file_name().and_then(|name| name.to_str()).expect("a name");
                assert!(sentence.contains(file), "{told}: the file is not named: {sentence}");
                assert!(!name.starts_with("mirror"), "{told}: a mirror is made anew: {sentence}");
                bytes[at] ^= 1 << bit;
                fs::write(&target, &bytes).expect("write");
                let store =
                    DiskLog::open(small(damaged.path())).unwrap_or_else(|error| panic!("{told}, undone: {error}"));
                assert_eq!(content(&store).await.expect("read"), before, "{told}: undoing it brings everything back");
                store.shutdown().await;
            }
        }
    }
    println!("{healed} healed or harmless, {refused} refused");
}

#[tokio::test]
async fn a_store_without_its_store_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("tempdir");
    written(folder.path()).await;
    let file = folder.path().join("STORE");
    let content = fs::read(&file).expect("read");
    fs::remove_file(&file).expect("remove");
    assert!(matches!(DiskLog::open(small(folder.path())), Err(OpenError::StoreFileMissing { .. })));
    fs::write(&file, content).expect("write");
    DiskLog::open(small(folder.path())).expect("as before").shutdown().await;
}

#[tokio::test]
async fn a_doctor_finds_damage_that_a_start_need_not_look_at_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("tempdir");
    written(folder.path()).await;
    let journal = folder.path().join("journal");
    let mut segments: Vec<_> =
        fs::read_dir(&journal).expect("read_dir").map(|entry| entry.expect("entry").path()).collect();
    segments.sort();
    let (first, middle) = (&segments[0], &segments[segments.len() / 2]);
    let bytes = fs::read(middle).expect("read");

    let mut changed = bytes.clone();
    changed[700] ^= 1;
    fs::write(middle, &changed).expect("write");
    told(folder.path(), middle);
    fs::write(middle, &bytes).expect("write");

    fs::remove_file(middle).expect("remove");
    told(folder.path(), middle);
    fs::write(middle, &bytes).expect("write");

    let head = fs::read(first).expect("read");
    let mut changed = head.clone();
    changed[8] = 9;
    fs::write(first, &changed).expect("write");
    told(folder.path(), first);
    fs::write(first, &head).expect("write");
    assert_eq!(DiskLog::inspect(folder.path()).expect("inspect").problems, Vec::<String>::new());
}

fn told(store: &Path, file: &Path) {
    let before: Vec<_> = files(store).into_iter().map(|path| fs::read(path).expect("read")).collect();
    let problems = DiskLog::inspect(store).expect("inspect").problems;
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(problems.iter().any(|problem| problem.contains(name)), "{name}: {problems:?}");
    let after: Vec<_> = files(store).into_iter().map(|path| fs::read(path).expect("read")).collect();
    assert!(before == after, "it only looks");
}
