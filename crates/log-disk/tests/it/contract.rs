//! The suite every backend passes.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use roomhook_log::{Claim, Log, Lsn, contract};
use roomhook_log_disk::DiskLog;
use tempfile::TempDir;

use crate::store::{copy, small};

#[derive(Default)]
struct Journal {
    /// The store in use and the folders of all: what trait objects do not tell.
    current: Mutex<Option<Arc<DiskLog>>>,
    folders: Mutex<Vec<TempDir>>,
}

impl Journal {
    fn current(&self) -> Arc<DiskLog> {
        self.current.lock().clone().expect("a store was created")
    }

    fn open(&self) -> Arc<dyn Log> {
        let folders = self.folders.lock();
        let folder = folders.last().expect("a store was created").path();
        let store = DiskLog::open(small(folder)).expect("open");
        *self.current.lock() = Some(Arc::clone(&store));
        store
    }

    async fn close(&self) {
        let current = self.current.lock().take();
        if let Some(store) = current {
            store.shutdown().await;
        }
    }
}

#[async_trait]
impl contract::Factory for Journal {
    async fn create(&self) -> Arc<dyn Log> {
        self.close().await;
        self.folders.lock().push(tempfile::tempdir().expect("tempdir"));
        self.open()
    }

    async fn reopen(&self, store: Arc<dyn Log>) -> Arc<dyn Log> {
        drop(store);
        self.close().await;
        self.open()
    }

    /// A copy of the files as they are, with nothing of the mirror: all that was written behind the answers is lost.
    async fn crash(&self, store: Arc<dyn Log>) -> Arc<dyn Log> {
        let left = copy(self.folders.lock().last().expect("a store was created").path());
        drop(store);
        self.close().await;
        std::fs::remove_dir_all(left.path().join("mirror")).expect("the mirror");
        self.folders.lock().push(left);
        self.open()
    }

    async fn trim(&self, store: &Arc<dyn Log>, claim: &Claim, up_to: Lsn) {
        store.trim(claim, up_to).await.expect("trim");
        self.current().retain().await.expect("retain");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_keeps_the_contract() {
    let factory = Journal::default();
    contract::all(&factory).await;
    factory.close().await;
}
