//! A line for each sender: one message at a time is asked about and handed on, the others wait in the order they came.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ahash::AHashMap;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use roomhook_room::UserId;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

/// Why a message does not get its turn. Whoever is the cause has to bear it: a sender who floods is refused, so that he
/// cannot push messages past a moderator that answers well; what a slow or broken endpoint holds up goes by its
/// failure policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stuck {
    BySender,
    ByEndpoint,
}

/// How long lines may get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// In all lines of the app.
    pub(super) waiting_max: usize,
    pub(super) sender_waiting_max: usize,
    pub(super) wait_max: Duration,
}

/// The lines of one app.
#[derive(Debug)]
pub(super) struct Lines {
    bounds: Bounds,
    open: Mutex<Open>,
    /// Shows how many there are.
    gauge: Gauge,
    /// Whether the last question failed: then nobody blames senders.
    pub(super) endpoint_fails: AtomicBool,
}

#[derive(Debug, Default)]
struct Open {
    lines: AHashMap<UserId, Arc<Line>>,
    /// In all lines, heads included.
    people: usize,
}

#[derive(Debug, Default)]
struct Line {
    /// Fair: whoever asked first gets it first.
    turns: Arc<Turns<()>>,
    /// Changed under the lock of [`Open`] only.
    people: AtomicU64,
    /// Messages that had their turn.
    served: AtomicU64,
}

/// A place at the head of a line. Dropping it lets the next one go.
#[derive(Debug)]
pub(super) struct Place {
    _standing: Standing,
    _turn: OwnedMutexGuard<()>,
}

/// A place in a line, left on drop.
#[derive(Debug)]
struct Standing {
    lines: Arc<Lines>,
    line: Arc<Line>,
    user: UserId,
}

impl Lines {
    pub(super) fn new(bounds: Bounds, gauge: Gauge) -> Self {
        Self { bounds, open: Mutex::default(), gauge, endpoint_fails: AtomicBool::new(false) }
    }

    /// Waits for the head of the sender's line. Cancel safe: leaves the line.
    pub(super) async fn wait(self: &Arc<Self>, user: &UserId) -> Result<Place, Stuck> {
        let standing = self.join(user)?;
        let served = standing.line.served.load(Ordering::Relaxed);
        match tokio::time::timeout(self.bounds.wait_max, standing.line.turns.clone().lock_owned()).await {
            Ok(turn) => {
                standing.line.served.fetch_add(1, Ordering::Relaxed);
                Ok(Place { _turn: turn, _standing: standing })
            }
            // One question took all that time: that is not the sender's doing.
            Err(_) if standing.line.served.load(Ordering::Relaxed) == served => Err(Stuck::ByEndpoint),
            Err(_) => Err(self.blame()),
        }
    }

    fn join(self: &Arc<Self>, user: &UserId) -> Result<Standing, Stuck> {
        let mut open = self.open.lock();
        if open.people >= self.bounds.waiting_max {
            return Err(Stuck::ByEndpoint);
        }
        let line = open.lines.entry(user.clone()).or_default().clone();
        if line.people.load(Ordering::Relaxed) >= self.bounds.sender_waiting_max as u64 {
            return Err(self.blame());
        }
        line.people.fetch_add(1, Ordering::Relaxed);
        open.people += 1;
        self.gauge.inc();
        Ok(Standing { lines: self.clone(), line, user: user.clone() })
    }

    fn blame(&self) -> Stuck {
        if self.endpoint_fails.load(Ordering::Relaxed) { Stuck::ByEndpoint } else { Stuck::BySender }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let mut open = self.lines.open.lock();
        open.people -= 1;
        self.lines.gauge.dec();
        if self.line.people.fetch_sub(1, Ordering::Relaxed) == 1 {
            open.lines.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(waiting_max: usize, sender_waiting_max: usize) -> Arc<Lines> {
        let wait_max = Duration::from_secs(1);
        Arc::new(Lines::new(Bounds { waiting_max, sender_waiting_max, wait_max }, Gauge::default()))
    }

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("user")
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_goes_one_by_one_in_order_and_others_do_not_wait() {
        let lines = lines(100, 100);
        let first = lines.wait(&user("ann")).await.expect("an empty line");
        let _other = lines.wait(&user("bob")).await.expect("another line");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..10 {
            let (lines, order) = (lines.clone(), order.clone());
            waiting.spawn(async move {
                let _place = lines.wait(&user("ann")).await.expect("a turn");
                order.lock().push(number);
            });
            // Each joins before the next is spawned.
            tokio::task::yield_now().await;
        }
        assert_eq!(lines.gauge.get(), 12);
        drop(first);
        waiting.join_all().await;
        assert_eq!(*order.lock(), (0..10).collect::<Vec<_>>());
        assert_eq!(lines.gauge.get(), 1, "only bob is left");
        assert_eq!(lines.open.lock().lines.len(), 1, "an empty line is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_the_senders_and_a_full_house_the_endpoints() {
        let lines = lines(3, 2);
        let _head = lines.wait(&user("ann")).await.expect("a place");
        let second = tokio::spawn({
            let lines = lines.clone();
            async move { lines.wait(&user("ann")).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!(lines.wait(&user("ann")).await.err(), Some(Stuck::BySender));
        lines.endpoint_fails.store(true, Ordering::Relaxed);
        assert_eq!(lines.wait(&user("ann")).await.err(), Some(Stuck::ByEndpoint), "no flood: the endpoint is broken");
        lines.endpoint_fails.store(false, Ordering::Relaxed);
        let _bob = lines.wait(&user("bob")).await.expect("the last place");
        assert_eq!(lines.wait(&user("cat")).await.err(), Some(Stuck::ByEndpoint));
        assert_eq!(second.await.expect("task"), Err(Stuck::ByEndpoint), "one question took the whole time");
        assert_eq!(lines.gauge.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_moves_and_is_still_too_long_is_the_senders() {
        let lines = lines(100, 100);
        let head = lines.wait(&user("ann")).await.expect("a place");
        let spawn = |lines: &Arc<Lines>| {
            let lines = lines.clone();
            tokio::spawn(async move { lines.wait(&user("ann")).await })
        };
        let (second, third) = (spawn(&lines), spawn(&lines));
        tokio::time::sleep(Duration::from_millis(600)).await;
        drop(head);
        let second = second.await.expect("task").expect("a turn");
        assert_eq!(third.await.expect("task").err(), Some(Stuck::BySender));
        drop(second);
        assert_eq!(lines.gauge.get(), 0);
    }
}
