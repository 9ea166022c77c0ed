//! The SQLite side: idempotent, and durable when it returns.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use roomhook_receiver::event::AfterSendMsg;
use rusqlite::{Connection, params};

/// `MsgSeq` alone does not name a message within a room: a room that was dissolved and made again counts from 1 again. With `MsgId` in
/// the key, the messages of both lives are kept, and a repeat is still recognised.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS message (
        room          TEXT    NOT NULL,
        seq           INTEGER NOT NULL,
        msg_id        TEXT    NOT NULL,
        msg_time      INTEGER NOT NULL, -- Unix seconds
        sender        TEXT    NOT NULL,
        operator      TEXT    NOT NULL,
        body          TEXT    NOT NULL, -- MsgBody as JSON
        custom_data   TEXT    NOT NULL,
        event_time_ms INTEGER NOT NULL,
        PRIMARY KEY (room, seq, msg_id)
    ) WITHOUT ROWID;";

const KEEP: &str =
    "INSERT INTO message (room, seq, msg_id, msg_time, sender, operator, body, custom_data, event_time_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";

const NEWEST: &str = "SELECT room, seq, msg_time FROM (
        SELECT room, seq, msg_time, row_number() OVER (PARTITION BY room ORDER BY msg_time DESC, seq DESC) AS place FROM message
    ) WHERE place = 1 ORDER BY msg_time DESC LIMIT ?1";

/// The mirror's database. Clones share one connection; SQLite has one writer at a time anyway.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

/// The last message of a room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) room: String,
    pub(crate) seq: u64,
    pub(crate) msg_time_secs: u64,
}

impl Store {
    /// Opens the file, making it if it is missing. With the write-ahead log synced at each commit, what `keep` returned survives a power cut.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Keeps a message; does nothing if it is there already. Blocks until it is on disk.
    pub(crate) fn keep(&self, message: &AfterSendMsg) -> Result<()> {
        let body = serde_json::to_string(&message.msg_body)?;
        let msg_id = message.msg_id.clone().unwrap_or_else(|| format!("{}-{}", message.from_account, message.random));
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.prepare_cached(KEEP)?.execute(params![
            message.group_id,
            i64::try_from(message.msg_seq).context("MsgSeq does not fit into SQLite")?,
            msg_id,
            i64::try_from(message.msg_time).context("MsgTime does not fit into SQLite")?,
            message.from_account,
            message.operator_account,
            body,
            message.cloud_custom_data,
            i64::try_from(message.event_time.millis).context("EventTime does not fit into SQLite")?,
        ])?;
        Ok(())
    }

    /// The last message of each of the `rooms_max` rooms that were active last. Reads the whole table: fine for an example, and once.
    pub(crate) fn newest_per_room(&self, rooms_max: usize) -> Result<Vec<Newest>> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare(NEWEST)?;
        let rows = statement.query_map([i64::try_from(rooms_max)?], |row| {
            let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
            Ok(Newest { room: row.get(0)?, seq: number(1)?, msg_time_secs: number(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}
