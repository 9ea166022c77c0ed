//! Reading rows. All of this blocks.

use std::ops::Bound;

use bytes::Bytes;
use fjall::Keyspace;
use roomhook_log::{LogId, ReadError};

use crate::{engine::Mirror, keys::row_key};

impl Mirror {
    /// A row of the log's owner.
    ///
    /// # Errors
    /// As [`ReadError`] names them.
    pub fn owner_row(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.get(&self.owner_rows, log, key)
    }

    /// Rows of the log's owner whose key starts with `prefix`, in order, from the first key above `after`; at most `limit`.
    ///
    /// # Errors
    /// As [`ReadError`] names them.
    pub fn owner_rows(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.scan(&self.owner_rows, log, prefix, after, limit)
    }

    /// A row of webhooks.
    ///
    /// # Errors
    /// As [`ReadError`] names them.
    pub fn hook_row(&self, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.get(&self.hook_rows, log, key)
    }

    /// Rows of webhooks, as [`Mirror::owner_rows`].
    ///
    /// # Errors
    /// As [`ReadError`] names them.
    pub fn hook_rows(
        &self,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.scan(&self.hook_rows, log, prefix, after, limit)
    }

    fn get(&self, rows: &Keyspace, log: LogId, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(rows.get(row_key(log, key)).map_err(|error| self.failed(log, &error))?.map(Bytes::from))
    }

    fn scan(
        &self,
        rows: &Keyspace,
        log: LogId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(row_key(log, after)),
            _ => Bound::Included(row_key(log, prefix)),
        };
        let whole_prefix = row_key(log, prefix);
        let mut found = Vec::new();
        for entry in rows.range::<Bytes, _>((start, Bound::Unbounded)).take(limit) {
            let (key, value) = entry.into_inner().map_err(|error| self.failed(log, &error))?;
            if !key.starts_with(&whole_prefix) {
                break;
            }
            found.push((Bytes::from(key).slice(2..), value.into()));
        }
        Ok(found)
    }

    fn failed(&self, log: LogId, error: &fjall::Error) -> ReadError {
        self.note_damage();
        ReadError::Io { log, reason: error.to_string() }
    }
}
