//! Messages of a room that were sent earlier.

use roomhook_log::ReadError;
use roomhook_room::{CodecError, Event, Message, MsgSeq, RoomKey, decode_record};

use crate::{error::ExecuteError, request::RoomView, router::Router};

/// Records that one question may look at. Whoever wants older ones asks again from where the answer ends.
const SCAN_RECORDS_MAX: usize = 20_000;
/// Records read at once.
const PAGE_RECORDS: usize = 256;

/// Which messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The newest ones below this number.
    Before(MsgSeq),
    /// The oldest ones above this number.
    After(MsgSeq),
}

/// Messages and the room they were read from.
#[derive(Clone, Debug)]
pub struct History {
    pub room: RoomView,
    /// In order of `MsgSeq`, without a hole.
    pub messages: Vec<Message>,
    /// Whether every message that was asked for is here, up to the limit. False when some have been dropped by
    /// retention or lie too far back.
    pub complete: bool,
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    View(#[from] ExecuteError),
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    #[error("a record cannot be understood")]
    Record(#[from] CodecError),
}

impl Router {
    /// At most `limit` messages of the room's present life; `None` when there is no such room.
    ///
    /// # Errors
    /// [`HistoryError`]. Cancel safe.
    pub async fn history(&self, room: &RoomKey, range: Range, limit: usize) -> Result<Option<History>, HistoryError> {
        let Some(view) = self.view(room.clone()).await? else { return Ok(None) };
        let mut walk = Walk::new(range, limit, view.top);
        let mut before = view.at.next();
        // The view is the owner's, who may be elsewhere and ahead of what can be read here.
        self.tail().reached(self.tail().shard_of(room), before).await?;
        let mut scanned = 0;
        while !walk.is_done() && scanned < SCAN_RECORDS_MAX {
            let records = self.tail().last(room, before, PAGE_RECORDS).await?;
            let Some(oldest) = records.first().map(|record| record.lsn) else { break };
            if oldest >= before {
                let reason = format!("records before {before} were asked for");
                return Err(ReadError::Corrupt { log: self.tail().shard_of(room), at: oldest, reason }.into());
            }
            before = oldest;
            scanned += records.len();
            for record in records.iter().rev() {
                decode_record(&record.payload)?.into_iter().rev().for_each(|event| walk.take(event));
            }
        }
        let (messages, complete) = walk.finish();
        Ok(Some(History { room: view, messages, complete }))
    }
}

/// Goes back through a room's events and keeps what was asked for.
#[derive(Debug)]
struct Walk {
    /// Wanted numbers: `low..=high`.
    low: u64,
    high: u64,
    /// Newest first.
    messages: Vec<Message>,
    begun: bool,
}

impl Walk {
    fn new(range: Range, limit: usize, top: MsgSeq) -> Self {
        let limit = limit as u64;
        let (low, high) = match range {
            Range::Before(before) => {
                let high = top.0.min(before.0.saturating_sub(1));
                (high.saturating_sub(limit).saturating_add(1), high)
            }
            Range::After(after) => (after.0.saturating_add(1), top.0.min(after.0.saturating_add(limit))),
        };
        Self { low: low.max(1), high, messages: Vec::new(), begun: false }
    }

    /// Everything is here, or the room's beginning was reached.
    fn is_done(&self) -> bool {
        self.begun || self.is_complete()
    }

    fn is_complete(&self) -> bool {
        self.low > self.high || self.messages.last().is_some_and(|message| message.seq.0 == self.low)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::RoomCreated { .. } | Event::RoomDestroyed { .. } => self.begun = true,
            Event::MessageSent(message) if !self.begun && (self.low..=self.high).contains(&message.seq.0) => {
                self.messages.push(message);
            }
            Event::MessageSent(_) => {}
        }
    }

    fn finish(mut self) -> (Vec<Message>, bool) {
        let complete = self.is_complete();
        self.messages.reverse();
        (self.messages, complete)
    }
}
