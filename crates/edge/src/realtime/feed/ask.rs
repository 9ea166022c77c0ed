//! What connections ask of a feed, and what becomes of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use roomhook_centrifuge::{Error, ReplyBody, codes};
use roomhook_room::RoomKey;
use roomhook_shard::{Range, shard_of};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    ASKS_MAX, Feed, Loaded, history, presence,
    room::{self, Admission, Effect},
};
use crate::realtime::{
    conn::{Conn, ConnId},
    lane::Job,
    session::{HistoryQuery, Join},
};

/// Something asked of a feed. One channel for all, so that a join after a leave is taken after it.
#[derive(Debug)]
pub(crate) enum Ask {
    Join { key: RoomKey, waiter: Waiter },
    Leave { key: RoomKey, conn: ConnId },
    Members { key: RoomKey, reply: oneshot::Sender<Result<ReplyBody, Error>> },
    Count { key: RoomKey, reply: oneshot::Sender<Result<ReplyBody, Error>> },
    History { key: RoomKey, conn: Arc<Conn>, id: u32, query: HistoryQuery, reply: history::Reply },
}

/// Somebody who wants to be in a room.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) conn: Arc<Conn>,
    pub(crate) join: Join,
    pub(crate) done: oneshot::Sender<Result<(), Error>>,
}

impl Waiter {
    pub(super) fn refuse(self, error: impl Into<Error>) {
        // Whoever is gone needs no answer.
        let _ = self.done.send(Err(error.into()));
    }
}

/// The way to the feeds of all shards.
#[derive(Clone, Debug)]
pub(crate) struct Feeds(Arc<[mpsc::Sender<Ask>]>);

impl Feeds {
    pub(crate) fn new(shards: u16) -> (Self, Vec<mpsc::Receiver<Ask>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel(ASKS_MAX)).unzip();
        (Self(senders.into()), receivers)
    }

    /// Asks the feed of the room's shard and waits for its answer, for so long in all.
    ///
    /// # Errors
    /// What the feed says, or 111 when it did not take the question or answer it in time: then nothing comes of it any more.
    /// Cancel safe in the same way: a feed notices that nobody listens.
    pub(crate) async fn ask<T>(
        &self,
        room: &RoomKey,
        ask: Ask,
        mut answer: oneshot::Receiver<Result<T, Error>>,
        within: Duration,
    ) -> Result<T, Error> {
        let asked = async {
            self.tell(room, ask).await?;
            (&mut answer).await.unwrap_or_else(|_gone| Err(codes::error::INTERNAL.into()))
        };
        match tokio::time::timeout(within, asked).await {
            Ok(answered) => answered,
            Err(_late) => {
                // From here on none can come; one that came just now is as good as one in time.
                answer.close();
                answer.try_recv().unwrap_or_else(|_none| Err(codes::error::TOO_MANY_REQUESTS.into()))
            }
        }
    }

    /// Tells the feed of the room's shard something; waits while too much waits there. `Err`: the server is stopping. Cancel
    /// safe: what was not taken is not told.
    pub(crate) async fn tell(&self, room: &RoomKey, ask: Ask) -> Result<(), Error> {
        let shards = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        let feed = self.0.get(usize::from(shard_of(room, shards).0));
        let feed = feed.ok_or_else(|| Error::from(codes::error::INTERNAL))?;
        feed.send(ask).await.map_err(|_| codes::error::INTERNAL.into())
    }
}

impl Feed {
    pub(super) async fn take_ask(&mut self, ask: Ask) {
        match ask {
            // Whoever gave up costs a feed that is behind nothing more.
            Ask::Join { waiter, .. } if waiter.done.is_closed() => {}
            Ask::Join { key, waiter } => {
                let log_key = key.to_bytes();
                let deps = Arc::clone(&self.deps);
                let admission = self.room_mut(&key).admit(waiter, &deps, false);
                self.settle(&log_key, admission).await;
            }
            Ask::Leave { key, conn } => self.leave(&key.to_bytes(), conn, None).await,
            Ask::Members { key, reply } => {
                let answer =
                    self.answer(&key, |room, deps| presence::members(room, deps.settings.presence_members_max));
                let _ = reply.send(answer);
            }
            Ask::Count { key, reply } => {
                let answer = self.answer(&key, |room, _| Ok(presence::count(room)));
                let _ = reply.send(answer);
            }
            Ask::History { key, conn, id, query, reply } => self.history(&key, &conn, id, &query, reply),
        }
    }

    /// Only members ask, so the room is in memory unless it just ended.
    fn answer(
        &self,
        key: &RoomKey,
        answer: impl FnOnce(&super::Room, &super::Deps) -> Result<ReplyBody, Error>,
    ) -> Result<ReplyBody, Error> {
        match self.rooms.get(&key.to_bytes()) {
            Some(room) => answer(room, &self.deps),
            None => Err(codes::error::PERMISSION_DENIED.into()),
        }
    }

    /// Carries out what a room said about a join.
    async fn settle(&mut self, log_key: &Bytes, admission: Admission) {
        match admission {
            Admission::Waits => {}
            Admission::Refused(waiter, error) => waiter.refuse(error),
            Admission::ReadLog { before } => {
                let Some(room) = self.rooms.get(log_key) else { return };
                let (no, key, channel) = (room.no(), room.key().clone(), room.channel().to_owned());
                let (deps, log_key) = (Arc::clone(&self.deps), log_key.clone());
                self.loads.spawn(async move {
                    let limit = deps.settings.ring.reply_messages_max;
                    let messages = history::read(&deps, &key, &channel, Range::Before(before), limit).await;
                    Loaded::Older { key: log_key, no, messages: messages.unwrap_or_default() }
                });
            }
            Admission::In(job, waiter) => {
                let lane = waiter.conn.lane();
                self.to_lane(lane, job).await;
                self.tell_coming(log_key, &waiter.conn).await;
                if waiter.done.send(Ok(())).is_err() {
                    // It gave up before it could hear that it is in: it must not be in, and is to try again.
                    self.leave(log_key, waiter.conn.id(), Some(codes::unsubscribe::INSUFFICIENT_STATE)).await;
                }
            }
        }
    }

    async fn leave(&mut self, log_key: &Bytes, conn: ConnId, told: Option<codes::UnsubscribeCode>) {
        let Some(room) = self.rooms.get_mut(log_key) else { return };
        let Some(member) = room.remove(conn, Instant::now(), &self.deps.metrics) else { return };
        let farewell = told.map(|code| room.farewell(code));
        let job = Job::Leave { room: room.no(), conn, farewell };
        self.to_lane(member.lane(), job).await;
        self.tell_going(log_key, &member).await;
    }

    pub(super) async fn take_loaded(&mut self, loaded: Loaded) {
        let deps = Arc::clone(&self.deps);
        match loaded {
            Loaded::Answered => {}
            Loaded::View { key, no, view } => {
                let Some(room) = self.rooms.get_mut(&key).filter(|room| room.no() == no) else { return };
                let refusal = match *view {
                    Ok(Some(view)) => {
                        let (waiters, effect) = room.loaded(view, &self.held, &deps);
                        if effect == Effect::Unsent {
                            // Nobody is there yet who could get them; they are in the ring.
                            room.take_unsent();
                        }
                        if let Effect::Ended(code) = effect {
                            let closed = code == room::ROOM_CLOSED;
                            let error =
                                if closed { codes::error::UNKNOWN_CHANNEL } else { codes::error::TOO_MANY_REQUESTS };
                            waiters.into_iter().for_each(|waiter| waiter.refuse(error));
                            return self.end(&key, code).await;
                        }
                        return self.settle_all(&key, waiters, false).await;
                    }
                    Ok(None) => codes::error::UNKNOWN_CHANNEL.into(),
                    Err(error) => error,
                };
                room.abandon().into_iter().for_each(|waiter| waiter.refuse(refusal.clone()));
                if let Some(room) = self.rooms.remove(&key) {
                    room.forgotten(&deps.metrics);
                }
            }
            Loaded::Older { key, no, messages } => {
                let Some(room) = self.rooms.get_mut(&key).filter(|room| room.no() == no) else { return };
                let waiters = room.older(messages);
                self.settle_all(&key, waiters, true).await;
            }
        }
    }

    async fn settle_all(&mut self, key: &Bytes, waiters: Vec<Waiter>, log_was_read: bool) {
        let deps = Arc::clone(&self.deps);
        for waiter in waiters {
            let Some(room) = self.rooms.get_mut(key) else { return waiter.refuse(codes::error::UNKNOWN_CHANNEL) };
            let admission = if waiter.done.is_closed() {
                Admission::Refused(waiter, codes::error::INTERNAL.into())
            } else {
                room.admit(waiter, &deps, log_was_read)
            };
            self.settle(key, admission).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use roomhook_room::{AppId, RoomId};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(4);

    fn lobby() -> RoomKey {
        RoomKey { app: AppId(1), room: RoomId::new("lobby").unwrap() }
    }

    async fn count(feeds: &Feeds) -> Result<ReplyBody, Error> {
        let (reply, answer) = oneshot::channel();
        let (key, question) = (lobby(), Ask::Count { key: lobby(), reply });
        tokio::time::timeout(2 * WITHIN, feeds.ask(&key, question, answer, WITHIN)).await.expect("an answer in time")
    }

    fn try_again() -> Result<ReplyBody, Error> {
        Err(codes::error::TOO_MANY_REQUESTS.into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_that_takes_or_answers_nothing_costs_an_asker_the_time_limit_and_no_more() {
        let (feeds, mut inboxes) = Feeds::new(1);
        let asked_at = Instant::now();
        assert_eq!(count(&feeds).await, try_again(), "taken, never answered");
        assert_eq!(asked_at.elapsed(), WITHIN);
        let Ask::Count { reply, .. } = inboxes[0].try_recv().unwrap() else { panic!("another question") };
        assert!(reply.is_closed(), "the feed can tell that nobody waits any more");

        for conn in 0..ASKS_MAX as u64 {
            feeds.tell(&lobby(), Ask::Leave { key: lobby(), conn: ConnId(conn) }).await.unwrap();
        }
        let asked_at = Instant::now();
        assert_eq!(count(&feeds).await, try_again(), "not even taken");
        assert_eq!(asked_at.elapsed(), WITHIN);
        assert_eq!(inboxes[0].len(), ASKS_MAX, "nothing of it is left behind");
    }

    #[tokio::test]
    async fn a_server_that_stops_answers_at_once() {
        let (feeds, inboxes) = Feeds::new(1);
        drop(inboxes);
        assert_eq!(count(&feeds).await, Err(codes::error::INTERNAL.into()));
    }
}
