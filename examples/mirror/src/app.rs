//! What the mirror does with each webhook.

use anyhow::Result;
use roomhook_receiver::axum::Handler;
use roomhook_receiver::{Event, Notice, Received};

use crate::store::Store;

/// The handler. Cheap to clone: clones write through one connection.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    store: Store,
}

impl Mirror {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }
}

impl Handler for Mirror {
    type Error = anyhow::Error;

    async fn handle(&self, received: Received) -> Result<()> {
        let Event::AfterSendMsg(message) = received.into_event() else {
            return Ok(()); // Other events are taken and left alone.
        };
        let store = self.store.clone();
        // The write waits for the disk, which is nothing for an async thread. If the sender hangs up meanwhile, the write ends all the
        // same; the next attempt then finds the message in place.
        tokio::task::spawn_blocking(move || store.keep(&message)).await?
    }

    fn notice(&self, notice: Notice) {
        match notice {
            Notice::GapOpened { room, seqs } => tracing::warn!(%room, ?seqs, "messages are missing"),
            Notice::GapFilled { room, seq, still_missing } => {
                tracing::info!(%room, seq, still_missing, "a missing message came")
            }
            Notice::RoomRestarted { room, former_top } => tracing::info!(%room, former_top, "the room was made again"),
            other => tracing::info!(notice = ?other, "no longer waiting for missing messages"),
        }
    }
}
