//! What every life of an owner needs, and how it ends.

use std::sync::Arc;

use roomhook_log::{Claim, Epoch, Expect};
use tokio::sync::watch;

use crate::{
    config::{Clock, Config},
    error::StartError,
    reign::Seat,
    replay::{Opened, Reader},
    supervisor::Health,
    telemetry::ShardMetrics,
};

/// What every life of an owner needs.
#[derive(Clone)]
pub(crate) struct Deps {
    pub(crate) reader: Reader,
    pub(crate) seat: Seat,
    /// How many logs of rooms there are.
    pub(crate) shards: u16,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) metrics: ShardMetrics,
    pub(crate) health: Arc<Health>,
    /// True once the server stops.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Deps {
    /// Claims the log; from now on this process owns it.
    ///
    /// Not cancel safe: a dropped claim may have fenced others.
    pub(crate) async fn claim(&self, expect: Expect) -> Result<Claim, StartError> {
        let claim = self.reader.claim(self.config.node, expect).await?;
        self.seat.claimed(claim.epoch);
        Ok(claim)
    }

    /// Claims a shard's log and replays it. Not cancel safe either.
    pub(crate) async fn open(&self, expect: Expect) -> Result<Opened, StartError> {
        let claim = self.claim(expect).await?;
        self.reader.open(claim).await
    }

    /// What whoever was the owner may expect when it comes back: nobody else. Before the first claim there was none.
    pub(crate) fn own(&self) -> Expect {
        Expect::Epoch(self.seat.epoch().unwrap_or_default())
    }
}

/// How an owner's life ended.
#[derive(Debug)]
pub(crate) enum Exit {
    /// The inbox is closed and empty.
    Stopped,
    /// What it holds in memory can no longer be trusted: open the log again.
    Reopen(String),
    /// Another process claimed the log: what is in memory is the past.
    Deposed { by: Epoch },
}

/// What callers are told of an owner that is none any more.
pub(crate) fn deposed(by: Epoch) -> String {
    format!("another process has claimed the log, with epoch {by}")
}
