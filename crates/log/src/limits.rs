//! What one append may hold. Every backend refuses the same things, so that a record accepted on one machine can be
//! moved to a store of another kind.

use crate::{
    error::AppendError,
    types::{Key, NewRecord, Row},
};

/// Payload of one record, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Records of one append.
pub const APPEND_RECORDS_MAX: usize = 4_096;
/// Keys, payloads and rows of one append together, in bytes: with what frames it, less than [`ENTRY_BYTES_MAX`].
pub const APPEND_BYTES_MAX: usize = 6 << 20;
/// One append as an entry: the largest message that a stream of entries takes.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;
/// Key of one row, in bytes.
pub const ROW_KEY_BYTES_MAX: usize = 1 << 10;
/// Value of one row, in bytes.
pub const ROW_VALUE_BYTES_MAX: usize = 4 << 20;
/// What each row counts beside key and value: there may be many, and small ones.
pub const ROW_FRAME_BYTES: usize = 6;

/// What a stream hands out at once, in bytes of keys and payloads, unless a single record is larger.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// What a stream hands out at once, in records.
pub const BATCH_RECORDS_MAX: usize = 4_096;

/// Checks an append against the limits.
///
/// # Errors
/// [`AppendError::Refused`] naming the limit.
pub fn check_append(records: &[NewRecord], rows: &[Row]) -> Result<(), AppendError> {
    if records.len() > APPEND_RECORDS_MAX {
        return refused(format!("{} records in one append, at most {APPEND_RECORDS_MAX}", records.len()));
    }
    check_rows(rows)?;
    for record in records {
        let (key, payload) = (record.key.0.len(), record.payload.len());
        if key == 0 {
            return refused("an empty key is for the log's own records".to_owned());
        }
        if key > Key::BYTES_MAX {
            return refused(format!("key of {key} bytes, at most {}", Key::BYTES_MAX));
        }
        if payload > PAYLOAD_BYTES_MAX {
            return refused(format!("payload of {payload} bytes, at most {PAYLOAD_BYTES_MAX}"));
        }
    }
    check_bytes(bytes_of(records, rows))
}

/// What counts towards [`APPEND_BYTES_MAX`].
#[must_use]
pub fn bytes_of(records: &[NewRecord], rows: &[Row]) -> usize {
    let value = |row: &Row| row.value.as_ref().map_or(0, bytes::Bytes::len);
    let records: usize = records.iter().map(|record| record.key.0.len() + record.payload.len()).sum();
    records + rows.iter().map(|row| row.key.len() + value(row) + ROW_FRAME_BYTES).sum::<usize>()
}

/// Checks rows that are put without records.
///
/// # Errors
/// [`AppendError::Refused`] naming the limit.
pub fn check_put(rows: &[Row]) -> Result<(), AppendError> {
    check_rows(rows)?;
    check_bytes(bytes_of(&[], rows))
}

fn check_rows(rows: &[Row]) -> Result<(), AppendError> {
    for row in rows {
        let (key, value) = (row.key.len(), row.value.as_ref().map_or(0, bytes::Bytes::len));
        if key == 0 || key > ROW_KEY_BYTES_MAX {
            return refused(format!("row key of {key} bytes, allowed are 1 to {ROW_KEY_BYTES_MAX}"));
        }
        if value > ROW_VALUE_BYTES_MAX {
            return refused(format!("row value of {value} bytes, at most {ROW_VALUE_BYTES_MAX}"));
        }
    }
    Ok(())
}

fn check_bytes(bytes: usize) -> Result<(), AppendError> {
    if bytes > APPEND_BYTES_MAX {
        return refused(format!("{bytes} bytes in one append, at most {APPEND_BYTES_MAX}"));
    }
    Ok(())
}

fn refused<T>(why: String) -> Result<T, AppendError> {
    Err(AppendError::Refused(why))
}
