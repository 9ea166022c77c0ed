//! Older messages: from the ring when it has them, else from the log.

use std::sync::Arc;

use roomhook_centrifuge::{Error, Format, codes};
use roomhook_room::{MsgSeq, RoomKey};
use roomhook_shard::{ExecuteError, HistoryError, Range};
use tokio::sync::oneshot;

use super::{Deps, Feed, Loaded, ring::Limits};
use crate::realtime::{conn::Conn, encode::Encoded, session::HistoryQuery};

/// Where a history answer goes: a whole reply.
pub(crate) type Reply = oneshot::Sender<Result<Vec<u8>, Error>>;

impl Feed {
    pub(super) fn history(&mut self, key: &RoomKey, conn: &Arc<Conn>, id: u32, query: &HistoryQuery, reply: Reply) {
        let room = self.rooms.get(&key.to_bytes());
        let Some((room, live)) = room.and_then(|room| room.live().map(|live| (room, live))) else {
            let _ = reply.send(Err(codes::error::PERMISSION_DENIED.into()));
            return;
        };
        let (epoch, top) = (live.incarnation.as_str().to_owned(), live.top.0);
        let limits = self.deps.settings.ring;
        if query.since.as_ref().is_some_and(|since| !since.epoch.is_empty() && since.epoch != epoch) {
            let _ = reply.send(Err(codes::error::UNRECOVERABLE_POSITION.into()));
            return;
        }
        let wanted = window(query, top, limits.reply_messages_max as u64);
        let answer = Answer { format: conn.format(), id, epoch, top, newest_first: query.newest_first, limits };
        let Some((low, high)) = wanted else {
            let _ = reply.send(Ok(answer.encode(Vec::new())));
            return;
        };
        if live.ring.first().is_some_and(|first| first <= low) {
            let messages: Vec<_> = live.ring.between(low - 1, high + 1).cloned().collect();
            let _ = reply.send(Ok(answer.encode(messages)));
            return;
        }
        let (deps, key, channel) = (Arc::clone(&self.deps), key.clone(), room.channel().to_owned());
        self.loads.spawn(async move {
            let limit = (high - low + 1) as usize;
            let range = Range::Before(MsgSeq(high + 1));
            let messages = read(&deps, &key, &channel, range, limit).await;
            // Whoever asked may be gone.
            let _ = reply.send(messages.map(|messages| answer.encode(messages)));
            Loaded::Answered
        });
    }
}

/// The first and the last number asked for, in a room whose newest message is `top`; `None` when that is none.
fn window(query: &HistoryQuery, top: u64, cap: u64) -> Option<(u64, u64)> {
    let limit = (query.limit as u64).min(cap);
    let since = query.since.as_ref().map(|since| since.offset);
    let (low, high) = match (query.newest_first, since) {
        (false, Some(since)) => (since.saturating_add(1), top.min(since.saturating_add(limit))),
        // A room's past can be long: from the oldest on means from the oldest that one reply could reach.
        (false, None) => {
            let low = top.saturating_sub(cap) + 1;
            (low, top.min((low + limit).saturating_sub(1)))
        }
        (true, since) => {
            let high = since.map_or(top, |since| top.min(since.saturating_sub(1)));
            (high.saturating_sub(limit) + 1, high)
        }
    };
    let low = low.max(1);
    (limit > 0 && low <= high).then_some((low, high))
}

struct Answer {
    format: Format,
    id: u32,
    epoch: String,
    top: u64,
    newest_first: bool,
    limits: Limits,
}

impl Answer {
    /// As many messages as a reply may hold.
    fn encode(&self, mut messages: Vec<Arc<Encoded>>) -> Vec<u8> {
        if self.newest_first {
            messages.reverse();
        }
        let mut bytes = 0;
        let fits = messages.iter().take_while(|message| {
            bytes += message.element(self.format).len();
            bytes <= self.limits.reply_bytes_max
        });
        let count = fits.count();
        let elements = messages.iter().take(count).map(|message| message.element(self.format));
        let mut out = Vec::new();
        self.format.write_history_reply(&mut out, self.id, &self.epoch, self.top, elements);
        out
    }
}

/// Reads the log, when it is its turn.
pub(super) async fn read(
    deps: &Deps,
    key: &RoomKey,
    channel: &str,
    range: Range,
    limit: usize,
) -> Result<Vec<Arc<Encoded>>, Error> {
    // Closed only with the server.
    let Ok(_turn) = deps.reads.acquire().await else { return Err(codes::error::INTERNAL.into()) };
    deps.metrics.history_reads.inc();
    let history = match deps.router.history(key, range, limit).await {
        Ok(history) => history,
        Err(HistoryError::View(error)) => return Err(unavailable(&error)),
        Err(error) => {
            tracing::error!(room = %key, %error, "older messages cannot be read");
            return Err(codes::error::INTERNAL.into());
        }
    };
    let messages = history.ok_or_else(|| Error::from(codes::error::UNKNOWN_CHANNEL))?.messages;
    Ok(messages.iter().map(|message| Arc::new(Encoded::new(channel, message))).collect())
}

/// Why a shard did not answer, in the protocol's words: try again.
pub(super) fn unavailable(error: &ExecuteError) -> Error {
    match error {
        ExecuteError::Busy => codes::error::TOO_MANY_REQUESTS.into(),
        ExecuteError::Rejected(_) | ExecuteError::Unavailable(_) | ExecuteError::Unknown(_) => {
            codes::error::INTERNAL.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::session::Resume;

    fn asked(limit: usize, since: Option<u64>, newest_first: bool) -> Option<(u64, u64)> {
        let since = since.map(|offset| Resume { epoch: String::new(), offset, or_error: true });
        window(&HistoryQuery { limit, since, newest_first }, 100, 30)
    }

    #[test]
    fn the_window_is_what_the_protocol_says() {
        assert_eq!(asked(5, Some(90), false), Some((91, 95)));
        assert_eq!(asked(50, Some(95), false), Some((96, 100)));
        assert_eq!(asked(5, Some(90), true), Some((85, 89)));
        assert_eq!(asked(5, Some(3), true), Some((1, 2)));
        assert_eq!(asked(5, None, true), Some((96, 100)));
        assert_eq!(asked(5, None, false), Some((71, 75)));
        assert_eq!(asked(usize::MAX, None, false), Some((71, 100)));
        assert_eq!(asked(0, None, false), None);
        assert_eq!(asked(5, Some(100), false), None);
        assert_eq!(asked(5, Some(u64::MAX), false), None);
        assert_eq!(asked(5, Some(1), true), None);
    }
}
