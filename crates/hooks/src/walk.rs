//! Going backwards through a room, page by page, never holding more than one.

use roomhook_log::{Key, LogId, LogRead, Lsn, ReadError, Record};
use roomhook_room::{CodecError, Event, RoomKey, decode_record};

use crate::handle::HandleError;

/// Records of one page. At their largest that is a few megabytes.
const PAGE_RECORDS: usize = 256;

/// A place in the messages of a room's newest life (numbers begin again with each room of the name).
#[derive(Debug)]
pub(crate) struct RoomWalk<'a> {
    log: &'a dyn LogRead,
    id: LogId,
    key: Key,
    before: Lsn,
    met_beginning: bool,
    records: usize,
}

/// Some messages.
#[derive(Debug)]
pub(crate) struct Page {
    /// Newest first.
    pub(crate) messages: Vec<Found>,
}

#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) record: Record,
    /// Of the event within the record.
    pub(crate) index: u32,
    pub(crate) seq: u64,
}

/// Why the way back ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalkError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("a record cannot be decoded: {0}")]
    Record(#[from] CodecError),
}

impl From<WalkError> for HandleError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Log(error) => Self::Log(error),
            WalkError::Record(error) => Self::Record(error),
        }
    }
}

impl<'a> RoomWalk<'a> {
    /// Begins with the newest record before `before`.
    pub(crate) fn new(log: &'a dyn LogRead, id: LogId, room: &RoomKey, before: Lsn) -> Self {
        Self { log, id, key: Key(room.to_bytes()), before, met_beginning: false, records: 0 }
    }

    /// The next page has the newest records before this.
    pub(crate) fn before(&self) -> Lsn {
        self.before
    }

    /// Whether the record that began this life of the room was met: there is nothing before it.
    pub(crate) fn met_beginning(&self) -> bool {
        self.met_beginning
    }

    /// Records passed so far.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// The next page backwards; `None`: that was all.
    ///
    /// # Errors
    /// When the log cannot be read. Cancel safe.
    pub(crate) async fn back(&mut self) -> Result<Option<Page>, WalkError> {
        if self.met_beginning {
            return Ok(None);
        }
        let records = self.log.last(self.id, &self.key, self.before, PAGE_RECORDS).await?;
        let Some(first) = records.first() else { return Ok(None) };
        let (before, passed) = (first.lsn, records.len());
        let mut messages = Vec::with_capacity(records.len());
        'page: for record in records.into_iter().rev() {
            let events = decode_record(&record.payload)?;
            for (index, event) in events.iter().enumerate().rev() {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                match event {
                    Event::MessageSent(message) => {
                        messages.push(Found { record: record.clone(), index, seq: message.seq.0 });
                    }
                    Event::RoomCreated { .. } => {
                        self.met_beginning = true;
                        break 'page;
                    }
                    Event::RoomDestroyed { .. } => {}
                }
            }
        }
        (self.before, self.records) = (before, self.records + passed);
        Ok(Some(Page { messages }))
    }
}
