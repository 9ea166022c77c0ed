//! The same events by asking: what an endpoint is owed after a cursor, for a receiver that catches up by itself.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use roomhook_log::{Bounds, LogId, Lsn, ReadError};

use crate::{
    engine::DeliveryId,
    handle::{Handle, HandleError},
    plan::{self, Command},
    settings::Settings,
    supervisor::EndpointName,
};

/// Records looked at for one answer, whatever is found in them. Reading goes by batches, so that a few more may be read.
pub const PULL_RECORDS_MAX: usize = 20_000;
/// Bytes of records looked at for one answer, and of bodies in it. The event that passes the limit is still in it.
const SCAN_BYTES_MAX: usize = 16 << 20;
const BODY_BYTES_MAX: usize = 4 << 20;

/// A place in the logs of all shards, as text: `12.40.7.9~2`. The last number says which shard is read first, so that a
/// busy one does not keep the others from being read. Where logs lost their ends, `@` and the number of losses of all of them follow:
/// positions mean other records then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCursor {
    next: Vec<Lsn>,
    first: u16,
    losses: u64,
}

fn losses(bounds: &[Bounds]) -> u64 {
    bounds.iter().map(|bounds| u64::from(bounds.epoch.losses())).sum()
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shard, lsn) in self.next.iter().enumerate() {
            if shard > 0 {
                f.write_str(".")?;
            }
            write!(f, "{lsn}")?;
        }
        if self.first > 0 {
            write!(f, "~{}", self.first)?;
        }
        if self.losses > 0 { write!(f, "@{}", self.losses) } else { Ok(()) }
    }
}

impl FromStr for EventCursor {
    type Err = HandleError;

    fn from_str(text: &str) -> Result<Self, HandleError> {
        let (text, losses) = text.split_once('@').unwrap_or((text, "0"));
        let (places, first) = text.split_once('~').unwrap_or((text, "0"));
        let next = places.split('.').map(|place| place.parse().map(Lsn).map_err(|_| HandleError::Cursor));
        Ok(Self {
            next: next.collect::<Result<_, _>>()?,
            first: first.parse().map_err(|_| HandleError::Cursor)?,
            losses: losses.parse().map_err(|_| HandleError::Cursor)?,
        })
    }
}

/// An event as its webhook would carry it.
#[derive(Clone, Debug)]
pub struct Pulled {
    pub id: DeliveryId,
    pub command: Command,
    pub room: Bytes,
    pub seq: u64,
    pub at: u64,
    /// The POST body.
    pub body: Bytes,
}

/// Some events, and where to go on.
#[derive(Clone, Debug)]
pub struct EventPage {
    pub events: Vec<Pulled>,
    pub next: EventCursor,
    /// Nothing more was in the logs when they were read. If not, there may be more right now, although this page may be empty.
    pub at_end: bool,
}

/// What may still be done for one answer.
struct Budget {
    events: usize,
    records: usize,
    scan_bytes: usize,
    body_bytes: usize,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.events == 0 || self.records == 0 || self.scan_bytes == 0 || self.body_bytes == 0
    }
}

impl Handle {
    /// The end of all logs as of now, for a receiver that wants what comes after.
    ///
    /// # Errors
    /// When a log cannot be read. Cancel safe.
    pub async fn end(&self) -> Result<EventCursor, HandleError> {
        let losses = losses(&self.all_bounds().await?);
        let mut next = Vec::with_capacity(usize::from(self.world.shards));
        for shard in 0..self.world.shards {
            next.push(self.world.log.end(LogId(shard)).await?);
        }
        Ok(EventCursor { next, first: 0, losses })
    }

    /// What an endpoint is owed after a cursor (`None`: from the oldest record there is), by its present switches, with the cursor
    /// to go on with. In order within each room. About `limit` events at most: a record's events stay together. The work for
    /// one answer is bounded ([`PULL_RECORDS_MAX`]), so that a page may be empty although there is more: see
    /// [`EventPage::at_end`].
    ///
    /// Whoever passes each page's cursor to the next call gets each event once, across restarts of the server.
    ///
    /// # Errors
    /// [`HandleError::CursorExpired`] when retention dropped records after the cursor, [`HandleError::CursorLost`] when a log lost its
    /// end since the cursor was given out; or when there is no such endpoint, the
    /// cursor was not given out by this server, or a log cannot be read. Cancel safe.
    pub async fn events(
        &self,
        name: &EndpointName,
        after: Option<&EventCursor>,
        limit: usize,
    ) -> Result<EventPage, HandleError> {
        let settings = self.shared(name)?.settings.load_full();
        let mut bounds = self.all_bounds().await?;
        if let Some(after) = after {
            self.catch_up(after, &mut bounds).await?;
        }
        let mut cursor = match after {
            None => {
                let next = bounds.iter().map(|bounds| bounds.first).collect();
                EventCursor { next, first: 0, losses: losses(&bounds) }
            }
            Some(after) if after.losses < losses(&bounds) && after.next.len() == bounds.len() => {
                return Err(self.lost(after, &bounds).await?);
            }
            Some(after) => checked(after, &bounds)?,
        };
        let mut budget = Budget {
            events: limit.max(1),
            records: PULL_RECORDS_MAX,
            scan_bytes: SCAN_BYTES_MAX,
            body_bytes: BODY_BYTES_MAX,
        };
        let mut events = Vec::new();
        let shards = u16::try_from(cursor.next.len()).unwrap_or(u16::MAX).max(1);
        let first = cursor.first;
        for shard in (0..shards).map(|step| (first + step) % shards) {
            let at = usize::from(shard);
            let (Some(next), Some(end)) = (cursor.next.get_mut(at), bounds.get(at).map(|bounds| bounds.next)) else {
                continue;
            };
            *next = self.pull(&settings, shard, *next, end, &mut budget, &mut events).await?;
            if budget.is_spent() {
                cursor.first = (shard + 1) % shards;
                break;
            }
        }
        let at_end = cursor.next.iter().zip(&bounds).all(|(next, bounds)| *next >= bounds.next);
        Ok(EventPage { events, next: cursor, at_end })
    }

    /// Takes events of one shard from `next` on, below `end`; returns where to go on.
    async fn pull(
        &self,
        settings: &Settings,
        shard: u16,
        mut next: Lsn,
        end: Lsn,
        budget: &mut Budget,
        events: &mut Vec<Pulled>,
    ) -> Result<Lsn, HandleError> {
        let app = settings.endpoint.app.0;
        while next < end && !budget.is_spent() {
            let batch = match self.world.log.read(LogId(shard), next)?.next_batch().await {
                // Retention is faster than this call. What is lost is told when the cursor comes back.
                Err(ReadError::Trimmed { .. }) => return Ok(next),
                batch => batch?,
            };
            for record in batch.iter().take_while(|record| record.lsn < end) {
                if budget.is_spent() {
                    return Ok(next);
                }
                for owed in plan::owed(record, app, &settings.switches, settings.style, plan::afresh)? {
                    budget.events = budget.events.saturating_sub(1);
                    budget.body_bytes = budget.body_bytes.saturating_sub(owed.content.body.len());
                    events.push(Pulled {
                        id: DeliveryId { shard, pos: owed.pos },
                        command: owed.content.command,
                        room: owed.room,
                        seq: owed.seq,
                        at: owed.at,
                        body: owed.content.body,
                    });
                }
                budget.records = budget.records.saturating_sub(1);
                budget.scan_bytes = budget.scan_bytes.saturating_sub(record.payload.len());
                next = record.lsn.next();
            }
            // A log in memory never waits; others get their turn all the same.
            tokio::task::yield_now().await;
        }
        Ok(next)
    }

    /// What to say of a cursor that was given out before a log lost its end: where to go on, so that nothing is left out.
    async fn lost(&self, after: &EventCursor, bounds: &[Bounds]) -> Result<HandleError, HandleError> {
        let mut next = Vec::with_capacity(bounds.len());
        for ((shard, at), bounds) in (0..).zip(&after.next).zip(bounds) {
            let sure = self.sure(LogId(shard), *bounds).await?;
            next.push((*at).min(sure).max(bounds.first));
        }
        Ok(HandleError::CursorLost { next: EventCursor { next, first: 0, losses: losses(bounds) } })
    }

    /// The end of what a log has from before it ever lost its end. Epochs never go back, so it is found in the manner of a dictionary.
    async fn sure(&self, log: LogId, Bounds { first, next, epoch }: Bounds) -> Result<Lsn, HandleError> {
        let (mut sure, mut unsure) = if epoch.losses() == 0 { (next.0, next.0) } else { (first.0, next.0) };
        while sure < unsure {
            let middle = sure + (unsure - sure) / 2;
            match self.world.log.record(log, Lsn(middle)).await? {
                Some(record) if record.epoch.losses() > 0 => unsure = middle,
                // Retention may have dropped it meanwhile.
                _ => sure = middle + 1,
            }
        }
        Ok(Lsn(sure))
    }

    /// A cursor may come from a machine that is ahead of what can be read here: that much is waited for.
    async fn catch_up(&self, after: &EventCursor, bounds: &mut [Bounds]) -> Result<(), HandleError> {
        for ((shard, next), bounds) in (0..).zip(&after.next).zip(bounds) {
            let log = LogId(shard);
            if *next > bounds.next && *next <= self.world.log.end(log).await? {
                self.world.log.reached(log, *next).await?;
                *bounds = self.world.log.bounds(log).await?;
            }
        }
        Ok(())
    }

    async fn all_bounds(&self) -> Result<Vec<Bounds>, HandleError> {
        let mut all = Vec::with_capacity(usize::from(self.world.shards));
        for shard in 0..self.world.shards {
            all.push(self.world.log.bounds(LogId(shard)).await?);
        }
        Ok(all)
    }
}

/// A cursor that names a place in these logs; nothing after it was dropped.
fn checked(after: &EventCursor, bounds: &[Bounds]) -> Result<EventCursor, HandleError> {
    let fits =
        after.next.len() == bounds.len() && usize::from(after.first) < bounds.len() && after.losses == losses(bounds);
    // Whatever lies beyond the end was never given out: it is another store's, or this store lost its end.
    if !fits || after.next.iter().zip(bounds).any(|(next, bounds)| *next > bounds.next) {
        return Err(HandleError::Cursor);
    }
    if after.next.iter().zip(bounds).all(|(next, bounds)| *next >= bounds.first) {
        return Ok(after.clone());
    }
    let next = after.next.iter().zip(bounds).map(|(next, bounds)| (*next).max(bounds.first)).collect();
    Err(HandleError::CursorExpired { next: EventCursor { next, ..after.clone() } })
}

#[cfg(test)]
mod tests {
    use roomhook_log::Epoch;

    use super::*;

    #[test]
    fn cursors_read_back_and_nonsense_is_refused() {
        for text in ["1", "12.40.7.9", "12.40.7.9~2", "12.40.7.9~2@3", "1.2@1"] {
            assert_eq!(text.parse::<EventCursor>().expect("a cursor").to_string(), text);
        }
        for text in ["", "x", "1..2", "1.2~", "1.2~x", "-1", "1.2~1~1", "1@", "1@x", "1@2~1"] {
            assert!(text.parse::<EventCursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_cursor_of_another_store_or_from_before_retention_is_told_apart() {
        let of = |first, next| Bounds { first: Lsn(first), next: Lsn(next), epoch: Epoch(3) };
        let bounds = [of(5, 9), of(1, 4)];
        let check = |text: &str| checked(&text.parse().expect("a cursor"), &bounds).map(|fine| fine.to_string());
        assert_eq!(check("5.4~1").expect("fine"), "5.4~1");
        for text in ["5", "5.4.1", "5.5", "10.1", "5.4~2"] {
            assert!(matches!(check(text), Err(HandleError::Cursor)), "{text}");
        }
        let expired = check("4.2~1").expect_err("expired");
        assert!(matches!(&expired, HandleError::CursorExpired { next } if next.to_string() == "5.2~1"), "{expired}");
    }
}
