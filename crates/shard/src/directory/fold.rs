//! The directory out of its log.
//!
//! Every event has a row, written with its record: the newest events of all things are the state, and a restart reads
//! rows instead of the log. `APPLIED` names the last record they contain; what lies after it is folded on top.

use std::collections::BTreeMap;

use bytes::Bytes;
use roomhook_log::{Claim, Expect, Lsn, ReadError};
use roomhook_room::{
    CodecError, UnixMillis, decode_directory_record,
    directory::{Event, State, fold},
    encode_directory_record,
};

use crate::{error::StartError, life::Deps, replay::Reader, rows};

/// Rows read at once.
const PAGE_ROWS: usize = 4_096;

/// The log, claimed, and its fold.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) claim: Claim,
    pub(super) folded: Folded,
}

/// What the log and its rows say.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub(super) state: State,
    pub(super) last_at: UnixMillis,
    pub(super) replayed: u64,
    /// Rows of things whose newest record came without them (an append of unknown outcome), or that a crash left older: they
    /// go with the next append, because that one says that everything before it has its row.
    pub(super) unwritten: BTreeMap<Bytes, Bytes>,
}

/// Claims the log and reads what it holds.
pub(super) async fn open(deps: &Deps, expect: Expect) -> Result<Opened, StartError> {
    let claim = deps.claim(expect).await?;
    let folded = fold_up_to(&deps.reader, claim.next).await?;
    Ok(Opened { claim, folded })
}

/// Reads rows and log; what is in the log ends at `end`.
pub(super) async fn fold_up_to(reader: &Reader, end: Lsn) -> Result<Folded, StartError> {
    let (store, log) = (&reader.store, reader.log);
    let unreadable = |source: ReadError| StartError::Read { log, source };
    let mut folded = Folded::default();
    let row_error = |row: &[u8], source| StartError::Row { log, row: String::from_utf8_lossy(row).into(), source };
    let mut after: Option<Bytes> = None;
    loop {
        let page = store.state_scan(log, rows::THING, after.as_deref(), PAGE_ROWS).await.map_err(unreadable)?;
        for (key, value) in &page {
            fold_all(&mut folded.state, value).map_err(|source| row_error(key, source))?;
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => break,
        }
    }
    let mut next = match store.state(log, rows::APPLIED).await.map_err(unreadable)? {
        Some(value) => rows::position(&value).map_err(|source| row_error(rows::APPLIED, source))?.next(),
        None => Lsn::FIRST,
    };
    let mut stream = store.read(log, next).map_err(unreadable)?;
    while next < end {
        for record in stream.next_batch().await.map_err(unreadable)?.iter() {
            (next, folded.last_at) = (record.lsn.next(), folded.last_at.max(UnixMillis(record.at_ms)));
            folded.replayed += 1;
            if !record.key.0.is_empty() {
                let unknown = |source| StartError::Record { log, lsn: record.lsn, source };
                for event in decode_directory_record(&record.payload).map_err(unknown)? {
                    fold(&mut folded.state, &event);
                    let (key, value) = thing_row(&event);
                    folded.unwritten.insert(key, value);
                }
            }
        }
    }
    Ok(folded)
}

/// The newest value of one thing, as a row.
pub(super) fn thing_row(event: &Event) -> (Bytes, Bytes) {
    (rows::thing_key(&event.row_key()), encode_directory_record(std::slice::from_ref(event)))
}

fn fold_all(state: &mut State, payload: &Bytes) -> Result<(), CodecError> {
    decode_directory_record(payload)?.iter().for_each(|event| fold(state, event));
    Ok(())
}
