//! What may wait or be lost: questions in shadow mode, and reports of messages that were not sent.

use std::sync::Arc;

use roomhook_room::{Draft, RoomKey};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::moderator::{About, Core};
use crate::settings::Letter;

pub(super) enum Errand {
    /// Ask, record, do not act.
    Watch { room: RoomKey, room_type: String, draft: Box<Draft> },
    /// `Group.CallbackSendMsgException`.
    Report(Letter),
}

/// Runs errands, a number of them at a time, until nobody can bring any more.
pub(super) async fn run(core: Arc<Core>, mut waiting: mpsc::Receiver<Errand>, at_once_max: usize) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            // Both are cancel safe: nothing is taken from the queue or the set by the arm that does not end first.
            Some(_) = running.join_next(), if !running.is_empty() => {}
            errand = waiting.recv(), if running.len() < at_once_max => {
                let Some(errand) = errand else { break };
                core.metrics.errands.dec();
                running.spawn(one(core.clone(), errand));
            }
        }
    }
    running.join_all().await;
}

async fn one(core: Arc<Core>, errand: Errand) {
    match errand {
        Errand::Watch { room, room_type, draft } => {
            let live = core.live();
            let until = Instant::now() + core.wait_max();
            core.ask(&live, &About { room: &room, room_type: &room_type, draft: &draft }, until, true).await;
        }
        Errand::Report(letter) => core.report(letter).await,
    }
}
