//! The first start is cut off, at whatever moment: the next one makes the store. What may have been a store is never taken for
//! such a leftover.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use roomhook_log::{Expect, LogAppend, LogId, NodeId};
use roomhook_log_disk::{DiskLog, OpenError, Rehearsal};

use crate::store::{copy, in_memory, read_all, record, rehearse, small, written};

const CHILD: &str = "ROOMHOOK_FIRST_START_CHILD";

async fn starts_and_stores(path: &Path, what: &str) {
    let store = DiskLog::open(small(path)).unwrap_or_else(|error| panic!("{what}: {error}"));
    for log in [LogId(0), LogId(1), LogId::DIRECTORY] {
        let mut claim =
            store.claim(log, NodeId(1), Expect::Anyone).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        store.append(&mut claim, vec![record("room", "a")], vec![]).await.expect("append");
    }
    store.shutdown().await;
    let store = DiskLog::open(small(path)).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    assert_eq!(read_all(&store, LogId(0)).await.expect("read").len(), 2, "{what}");
    store.shutdown().await;
}

/// All that a folder holds, in the order in which a store is made; folders before what is in them.
fn in_order(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<(std::time::SystemTime, PathBuf)>) {
        for entry in fs::read_dir(folder).expect("read_dir") {
            let (path, metadata) =
                entry.map(|entry| (entry.path(), entry.metadata().expect("metadata"))).expect("entry");
            found.push((metadata.created().or(metadata.modified()).expect("a time"), path.clone()));
            if metadata.is_dir() {
                walk(&path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// What is there after the first `count` of them were made; the last file only as far as `part` of it.
fn partly_made(whole: &Path, order: &[PathBuf], count: usize, part: f64) -> tempfile::TempDir {
    let cut = in_memory();
    for (number, path) in order.iter().take(count).enumerate() {
        let to = cut.path().join(path.strip_prefix(whole).expect("below"));
        if path.is_dir() {
            fs::create_dir_all(&to).expect("create");
            continue;
        }
        fs::create_dir_all(to.parent().expect("a parent")).expect("create");
        let length = fs::metadata(path).expect("metadata").len();
        let length = if number + 1 == count { (length as f64 * part) as u64 } else { length };
        let copied = Command::new("cp").arg("--sparse=always").arg(path).arg(&to).status().expect("cp");
        assert!(copied.success());
        fs::OpenOptions::new().write(true).open(&to).and_then(|file| file.set_len(length)).expect("cut");
    }
    cut
}

/// All that is made before the STORE file is, and every part of each file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_first_start_had_made_the_next_one_starts() {
    let folder = in_memory();
    DiskLog::open(small(folder.path())).expect("open").shutdown().await;
    for gone in ["STORE", "LOCK"] {
        fs::remove_file(folder.path().join(gone)).expect("remove");
    }
    fs::remove_dir_all(folder.path().join("mirror")).expect("remove");
    // What the orderly stop wrote into the segment came later.
    let segment = folder.path().join("journal/00000001.segment");
    let mut bytes = fs::read(&segment).expect("read");
    bytes[512..].fill(0);
    fs::write(&segment, bytes).expect("write");

    let order = in_order(folder.path());
    assert_eq!(order.len(), 3, "two folders and a segment: {order:?}");
    for count in 0..=order.len() {
        for part in [0.0, 0.01, 0.5, 1.0] {
            let cut = partly_made(folder.path(), &order, count, part);
            let what = format!("{part} of {:?}, number {count}", order.get(count.saturating_sub(1)));
            let found = rehearse(small(cut.path()));
            assert!(matches!(found, Ok(Rehearsal::Unfinished)) == (count > 0), "{what}: {found:?}");
            starts_and_stores(cut.path(), &what).await;
        }
    }
    // Before it had its name.
    let cut = partly_made(folder.path(), &order, order.len(), 1.0);
    let draft = cut.path().join("journal/00000001.segment.new");
    fs::rename(cut.path().join("journal/00000001.segment"), &draft).expect("rename");
    starts_and_stores(cut.path(), "a segment without its name").await;
    assert!(!draft.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_killed_at_random_moments_is_followed_by_one_that_works() {
    // How far it gets by the kill is up to the machine; each moment has its turn in the test above.
    for round in 0..20 {
        let folder = in_memory();
        let path = folder.path().join("store");
        let mut child = Command::new(std::env::current_exe().expect("current_exe"))
            .args(["--exact", "first_start::starter", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawn");
        // From when it has begun.
        while !path.join("LOCK").exists() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..4_000)));
        child.kill().expect("kill");
        child.wait().expect("wait");
        starts_and_stores(&path, &format!("round {round}")).await;
    }
}

/// Not a test of its own: the process that is killed.
#[test]
fn starter() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let _store = DiskLog::open(small(Path::new(&path))).expect("open");
    std::thread::sleep(Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_a_store_is_refused_and_stays_as_it_is() {
    let folder = in_memory();
    written(folder.path(), 2).await;
    let lost = copy(folder.path());
    fs::remove_file(lost.path().join("STORE")).expect("remove");
    // Also when everything else that it had is lost as well.
    let bare = copy(lost.path());
    fs::remove_dir_all(bare.path().join("mirror")).expect("remove");
    for damaged in [&lost, &bare] {
        assert!(matches!(rehearse(small(damaged.path())), Err(OpenError::StoreFileMissing { .. })));
        assert!(matches!(DiskLog::open(small(damaged.path())), Err(OpenError::StoreFileMissing { .. })));
        fs::copy(folder.path().join("STORE"), damaged.path().join("STORE")).expect("copy");
        let store = DiskLog::open(small(damaged.path())).expect("the file was all that could not be made anew");
        assert_eq!(read_all(&store, LogId(0)).await.expect("read").len(), 21);
        store.shutdown().await;
    }

    // A stranger's folder that is called as one of ours.
    for name in ["journal", "mirror", "dumps"] {
        let strange = in_memory();
        let diary = strange.path().join(name).join("diary");
        fs::create_dir(diary.parent().expect("a parent")).expect("create");
        fs::write(&diary, "dear diary").expect("write");
        let refused = DiskLog::open(small(strange.path())).expect_err("it is not ours");
        assert!(refused.to_string().contains(&diary.display().to_string()), "{refused}");
        assert!(diary.exists());
    }

    // Anything else in the folder is nobody's business.
    let shared = in_memory();
    fs::create_dir(shared.path().join("lost+found")).expect("create");
    starts_and_stores(shared.path(), "a folder with something else in it").await;
}
