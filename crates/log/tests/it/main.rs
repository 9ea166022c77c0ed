//! The memory log keeps the contract, and its faults do what they say.

mod entry;
mod faults;
mod smoke;
mod tail;

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use roomhook_log::{Claim, Log, Lsn, MemoryLog, TailLimits, contract};

struct Memory {
    /// The handles behind the trait objects that were given out, to restart them by name.
    open: Mutex<Vec<MemoryLog>>,
}

impl Memory {
    fn keep(&self, store: MemoryLog) -> Arc<dyn Log> {
        self.open.lock().push(store.clone());
        Arc::new(store)
    }
}

#[async_trait]
impl contract::Factory for Memory {
    async fn create(&self) -> Arc<dyn Log> {
        self.keep(MemoryLog::with_tail(2, TailLimits { bytes_max: 1 << 20, records_max: 20 }))
    }

    async fn reopen(&self, store: Arc<dyn Log>) -> Arc<dyn Log> {
        drop(store);
        let before = self.open.lock().pop().expect("a store was created");
        self.keep(before.restart())
    }

    async fn crash(&self, store: Arc<dyn Log>) -> Arc<dyn Log> {
        drop(store);
        let before = self.open.lock().pop().expect("a store was created");
        self.keep(before.crash(2))
    }

    async fn trim(&self, store: &Arc<dyn Log>, claim: &Claim, up_to: Lsn) {
        store.trim(claim, up_to).await.expect("trim");
    }
}

#[tokio::test]
async fn the_memory_log_keeps_the_contract() {
    contract::all(&Memory { open: Mutex::default() }).await;
}
