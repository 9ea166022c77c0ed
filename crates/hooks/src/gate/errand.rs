//! What may wait or be lost: questions in shadow mode, and reports of messages that were not sent. Each kind has a queue
//! of its own, so that a flood of bad messages does not push questions out.

use std::{future::Future, sync::Arc};

use roomhook_room::{Draft, RoomKey};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::moderator::{About, Core};
use crate::settings::Letter;

/// To ask, to record, and not to act.
pub(super) struct Watch {
    pub(super) room: RoomKey,
    pub(super) room_type: String,
    pub(super) draft: Draft,
}

/// Asks until nobody can bring any more questions.
pub(super) async fn watch(core: Arc<Core>, waiting: mpsc::Receiver<Watch>) {
    run(core, waiting, Core::concurrency, |core, watch| async move {
        let Watch { room, room_type, draft } = watch;
        let (live, until) = (core.live(), Instant::now() + core.wait_max());
        core.ask(&live, &About { room: &room, room_type: &room_type, draft: &draft }, until, true).await;
    })
    .await;
}

/// Sends reports (`Group.CallbackSendMsgException`) until nobody can bring any more, a few at a time: bad messages must
/// not keep the endpoint from judging good ones.
pub(super) async fn report(core: Arc<Core>, waiting: mpsc::Receiver<Letter>) {
    let at_once = |core: &Core| (core.concurrency() / REPORTS_SHARE).max(1);
    run(core, waiting, at_once, |core, letter| async move { core.report(letter).await }).await;
}

/// One in so many of the endpoint's connections is for reports, on top of those for questions.
const REPORTS_SHARE: usize = 8;

async fn run<T, F>(
    core: Arc<Core>,
    mut waiting: mpsc::Receiver<T>,
    at_once: impl Fn(&Core) -> usize,
    one: impl Fn(Arc<Core>, T) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            // Both are cancel safe: nothing is taken from the queue or the set by the arm that does not end first.
            Some(_) = running.join_next(), if !running.is_empty() => {}
            errand = waiting.recv(), if running.len() < at_once(&core) => {
                let Some(errand) = errand else { break };
                core.metrics.errands.dec();
                running.spawn(one(core.clone(), errand));
            }
        }
    }
    running.join_all().await;
}
