//! The operators' door: open before anything else is, and the last one to close.

use std::{net::SocketAddr, sync::Arc};

use roomhook_edge::{admin, listener::Listener};
use roomhook_log_disk::OnReading;
use tokio::task::JoinSet;

use super::stop;

/// It says what the server waits for until all of it is there.
pub(super) struct Operators {
    pub(super) addr: SocketAddr,
    pub(super) door: admin::Opening,
    stopper: stop::Stopper,
    /// Serves until it is told to stop; cut off when this is dropped.
    serving: JoinSet<()>,
}

impl Operators {
    pub(super) fn start(listener: Listener) -> anyhow::Result<Self> {
        let addr = listener.local_addr()?;
        let door = admin::Opening::new(of_store("is being opened".to_owned()));
        let (stopper, stop) = stop::by_hand();
        let mut serving = JoinSet::new();
        let opened = door.clone();
        serving.spawn(async move {
            listener.serve(opened, stop.wait()).await;
        });
        Ok(Self { addr, door, stopper, serving })
    }

    /// Lets whoever watches know how far a store is that takes long to open.
    pub(super) fn on_reading(&self) -> OnReading {
        let door = self.door.clone();
        Arc::new(move |done, all| {
            let message = format!("makes its mirror anew: {} of {} MiB of the journal are read", done >> 20, all >> 20);
            door.waits_for(of_store(message));
        })
    }

    pub(super) async fn stop(mut self) {
        self.stopper.stop();
        self.serving.join_next().await;
    }
}

fn of_store(message: String) -> admin::Reason {
    admin::Reason { part: "store".to_owned(), message }
}
