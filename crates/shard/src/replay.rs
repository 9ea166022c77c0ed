//! From rows and log back to rooms.

use std::sync::Arc;

use bytes::Bytes;
use roomhook_log::{AppendError, Claim, Epoch, Expect, Key, Log, LogId, Lsn, NodeId, ReadError, Record};
use roomhook_room::{Room, RoomKey, UnixMillis, decode_record, fold, invariants::continues};

use crate::{
    cache::{Cache, Slot},
    error::StartError,
    rows,
};

/// A shard's log, claimed, with every room in memory that its rows do not cover.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) claim: Claim,
    pub(crate) cache: Cache,
    /// Time of the newest record: the shard's time does not go back behind it.
    pub(crate) last_at: UnixMillis,
    pub(crate) replayed: u64,
    pub(crate) replay_from: Lsn,
}

/// Reads and folds for one log.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) store: Arc<dyn Log>,
    pub(crate) log: LogId,
}

impl Reader {
    /// Claims the log. An earlier claim of this node whose outcome nobody knew is no reason to think that somebody else came.
    ///
    /// Not cancel safe: a dropped claim may have fenced others.
    pub(crate) async fn claim(&self, node: NodeId, expect: Expect) -> Result<Claim, StartError> {
        let log = self.log;
        let claimed = match self.store.claim(log, node, expect).await {
            Err(AppendError::Fenced { current, .. }) if self.claimant_of(current).await? == Some(node) => {
                self.store.claim(log, node, Expect::Epoch(current)).await
            }
            claimed => claimed,
        };
        claimed.map_err(|source| StartError::Claim { log, source })
    }

    /// Who began the present epoch; `None` when it is another one already, or retention dropped its claim.
    async fn claimant_of(&self, present: Epoch) -> Result<Option<NodeId>, StartError> {
        let newest = async {
            let end = self.store.end(self.log).await?;
            self.store.reached(self.log, end).await?;
            self.store.last(self.log, &Key::CLAIMS, end, 1).await
        };
        let newest = newest.await.map_err(|source| self.unreadable(source))?;
        Ok(newest.first().filter(|record| record.epoch == present).and_then(Record::claimant))
    }

    /// Folds what no snapshot covers of a log that was claimed.
    pub(crate) async fn open(&self, claim: Claim) -> Result<Opened, StartError> {
        let replay_from = match self.row(rows::REPLAY_FROM).await? {
            Some(value) => self.understood(rows::REPLAY_FROM, rows::position(&value))?,
            None => Lsn::FIRST,
        };
        let log = self.log;
        let mut opened = Opened { claim, cache: Cache::default(), last_at: UnixMillis(0), replayed: 0, replay_from };
        let mut stream = self.store.read(log, replay_from).map_err(|source| self.unreadable(source))?;
        // The claim's own record is the last one, so this ends.
        let mut next = replay_from;
        while next < opened.claim.next {
            let records = stream.next_batch().await.map_err(|source| self.unreadable(source))?;
            for record in records.iter() {
                next = record.lsn.next();
                self.replay(&mut opened, record).await?;
            }
        }
        Ok(opened)
    }

    async fn replay(&self, opened: &mut Opened, record: &Record) -> Result<(), StartError> {
        opened.replayed += 1;
        opened.last_at = opened.last_at.max(UnixMillis(record.at_ms));
        if record.key.0.is_empty() {
            return Ok(());
        }
        let (log, lsn) = (self.log, record.lsn);
        let room = RoomKey::from_bytes(&record.key.0).ok_or(StartError::Key { log, lsn })?;
        if !opened.cache.contains(&room) {
            let (covers, state) = self.room(&record.key.0).await?;
            opened.cache.insert(room.clone(), Slot::clean(record.key.clone(), state, covers));
        }
        let Some(slot) = opened.cache.get_mut(&room) else { return Ok(()) };
        if lsn > slot.covers {
            self.fold(&mut slot.room, record)?;
            opened.cache.folded(&room, lsn);
        }
        Ok(())
    }

    /// A room as its row has it: the whole truth unless the room is dirty.
    pub(crate) async fn room(&self, key: &[u8]) -> Result<(Lsn, Room), StartError> {
        let key = rows::room_key(key);
        match self.row(&key).await? {
            Some(value) => self.understood(&key, rows::parse_room(&value)),
            None => Ok((Lsn(0), Room::absent())),
        }
    }

    /// A room as its row and the records after it have it, without anything from `before` on. There are at most
    /// `records` of those.
    pub(crate) async fn dirty_room(&self, key: &Key, before: Lsn, records: usize) -> Result<Room, StartError> {
        let (covers, mut room) = self.room(&key.0).await?;
        let records = self.store.last(self.log, key, before, records).await;
        for record in records.map_err(|source| self.unreadable(source))? {
            if record.lsn > covers {
                self.fold(&mut room, &record)?;
            }
        }
        Ok(room)
    }

    fn fold(&self, room: &mut Room, record: &Record) -> Result<(), StartError> {
        let (log, lsn) = (self.log, record.lsn);
        let unknown = |source| StartError::Record { log, lsn, source };
        for event in decode_record(&record.payload).map_err(unknown)? {
            if !continues(room, &event) {
                return Err(StartError::Hole { log, lsn });
            }
            fold(room, &event);
        }
        Ok(())
    }

    /// How many records from `expected` on were written under `epoch`. Only its owner writes under an epoch, one append
    /// at a time, so these are the records of that append. `end` is after the claim that ended the epoch, whoever's that is.
    pub(crate) async fn written(&self, epoch: Epoch, expected: Lsn, end: Lsn) -> Result<usize, ReadError> {
        let mut stream = self.store.read(self.log, expected)?;
        let mut written = 0;
        let mut next = expected;
        while next < end {
            for record in stream.next_batch().await?.iter().filter(|record| record.lsn < end) {
                next = record.lsn.next();
                if record.epoch != epoch {
                    return Ok(written);
                }
                written += 1;
            }
        }
        Ok(written)
    }

    async fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StartError> {
        self.store.state(self.log, key).await.map_err(|source| self.unreadable(source))
    }

    fn understood<T>(&self, row: &[u8], parsed: Result<T, roomhook_room::CodecError>) -> Result<T, StartError> {
        let row = || String::from_utf8_lossy(row).into_owned();
        parsed.map_err(|source| StartError::Row { log: self.log, row: row(), source })
    }

    fn unreadable(&self, source: ReadError) -> StartError {
        StartError::Read { log: self.log, source }
    }
}

/// Whether another try may go better.
pub(crate) fn may_heal(error: &StartError) -> bool {
    match error {
        StartError::Stopping { .. } => false,
        StartError::Claim { source, .. } => matches!(source, AppendError::Ambiguous { .. } | AppendError::Full(_)),
        StartError::Read { source, .. } => matches!(source, ReadError::Io { .. }),
        StartError::Record { .. } | StartError::Hole { .. } | StartError::Key { .. } | StartError::Row { .. } => false,
    }
}
