//! What every backend must do, as tests. A backend passes when `contract::all(&factory).await` returns.
//!
//! ```no_run
//! # async fn test(my_factory: impl roomhook_log::contract::Factory) {
//! roomhook_log::contract::all(&my_factory).await;
//! # }
//! ```

mod claims;
mod ends;
mod order;
mod reads;
mod restarts;
mod rows;
mod story;

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    api::{Claim, Log},
    types::{LogId, Lsn},
};

/// Makes stores for the suite. They have logs 0, 1 and [`LogId::DIRECTORY`], small segments (if any; a few dozen
/// records), and a small tail, so that a hundred records cross every seam.
#[async_trait]
pub trait Factory: Send + Sync {
    /// A new, empty store.
    async fn create(&self) -> Arc<dyn Log>;

    /// Ends the process that has `store` open and opens again what it left.
    async fn reopen(&self, store: Arc<dyn Log>) -> Arc<dyn Log>;

    /// Ends the process that has `store` open in the middle of what it does behind its answers, and opens again what it left:
    /// rows of the owner come back older, if they ever do.
    async fn crash(&self, store: Arc<dyn Log>) -> Arc<dyn Log>;

    /// Calls `trim(claim, up_to)` and waits until the backend has dropped what it may. Something must have been
    /// dropped if `up_to` is a few hundred records from the start.
    async fn trim(&self, store: &Arc<dyn Log>, claim: &Claim, up_to: Lsn);
}

/// The log most tests use.
const LOG: LogId = LogId(0);

/// Runs every test of the suite, each on a store of its own.
///
/// # Panics
/// When the backend breaks the contract; the message says which rule.
pub async fn all(factory: &dyn Factory) {
    order::all(factory).await;
    claims::all(factory).await;
    rows::all(factory).await;
    reads::all(factory).await;
    ends::all(factory).await;
    restarts::all(factory).await;
}
