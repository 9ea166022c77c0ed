//! Connections of an app's gate that wait for the next question.

use std::{
    future::poll_fn,
    sync::Weak,
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::http::Channel;

/// At most as many as questions may be asked at the same time.
#[derive(Debug, Default)]
pub(super) struct Idle {
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// The one that was used last is taken first, so that those which are not needed grow old.
    kept: Vec<Kept>,
    /// Wakes whoever watches.
    watcher: Option<Waker>,
}

#[derive(Debug)]
struct Kept {
    channel: Box<dyn Channel>,
    since: Instant,
}

impl Kept {
    /// Looks whether the other side has closed it. If not, the context hears of it when it does.
    fn is_closed(&mut self, cx: &mut Context<'_>) -> bool {
        self.channel.closed().as_mut().poll(cx).is_ready()
    }
}

impl Idle {
    /// The connection that was used last.
    pub(super) fn take(&self) -> Option<Box<dyn Channel>> {
        self.shelf.lock().kept.pop().map(|kept| kept.channel)
    }

    /// Keeps a connection for the next question, unless there are `max` already.
    pub(super) fn put(&self, channel: Box<dyn Channel>, max: usize) {
        let mut shelf = self.shelf.lock();
        let Shelf { kept, watcher } = &mut *shelf;
        if kept.len() >= max {
            return;
        }
        let mut newest = Kept { channel, since: Instant::now() };
        // It is looked at here, in the watcher's name: to wake the watcher for each question would cost more.
        let mut cx = Context::from_waker(watcher.as_ref().unwrap_or(Waker::noop()));
        if !newest.is_closed(&mut cx) {
            kept.push(newest);
        }
    }

    /// Lets go of what the other side closes, as soon as it does.
    fn look(&self, cx: &mut Context<'_>) {
        let mut shelf = self.shelf.lock();
        shelf.watcher = Some(cx.waker().clone());
        shelf.kept.retain_mut(|kept| !kept.is_closed(cx));
    }

    /// Lets go of what nobody has used for so long, and says when to look again.
    fn tidy(&self, age_max: Duration) -> Instant {
        let now = Instant::now();
        let mut shelf = self.shelf.lock();
        shelf.kept.retain(|kept| kept.since + age_max > now);
        shelf.kept.first().map_or(now, |oldest| oldest.since) + age_max
    }
}

/// Closes connections that the other side closes, and those that were idle for `age_max`, as long as there is a gate.
pub(super) async fn watch(idle: Weak<Idle>, age_max: Duration) {
    loop {
        let Some(due) = idle.upgrade().map(|idle| idle.tidy(age_max)) else { return };
        let looked = poll_fn(|cx| match idle.upgrade() {
            Some(idle) => {
                idle.look(cx);
                Poll::<()>::Pending
            }
            None => Poll::Ready(()),
        });
        tokio::select! {
            biased;
            () = looked => return,
            () = sleep_until(due) => {}
        }
    }
}
