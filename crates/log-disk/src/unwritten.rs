//! What the mirror could not take in when it failed. The store takes nothing more then, but who asks still gets all that was
//! answered: owners put their rooms back to what is durable, and webhooks look up where they are.
//!
//! It holds what was on its way to the mirror, so it is bounded as that is.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use roomhook_log::{LogId, Lsn, ReadError, Row};
use roomhook_mirror::Applied;

/// Whose rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Owner,
    Hooks,
}

type Rows = BTreeMap<(LogId, Bytes), Option<Bytes>>;

/// Empty as long as the mirror works.
#[derive(Debug, Default)]
pub(crate) struct Unwritten(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    why: String,
    owner: Rows,
    hooks: Rows,
    /// The first record of each log that the mirror does not know.
    from: BTreeMap<LogId, Lsn>,
}

impl Kept {
    fn rows(&self, whose: Whose) -> &Rows {
        match whose {
            Whose::Owner => &self.owner,
            Whose::Hooks => &self.hooks,
        }
    }
}

impl Unwritten {
    /// Keeps what the mirror did not take, in order. `why` says why not.
    pub(crate) fn keep(&self, batches: Vec<Applied>, why: &str) {
        let mut kept = self.0.lock();
        if kept.why.is_empty() {
            why.clone_into(&mut kept.why);
        }
        for entry in batches.into_iter().flat_map(|applied| applied.entries) {
            let log = entry.log;
            let named = |Row { key, value }| ((log, key), value);
            kept.owner.extend(entry.owner_rows.into_iter().map(named));
            kept.hooks.extend(entry.hook_rows.into_iter().map(named));
            if !entry.records.is_empty() {
                kept.from.entry(log).or_insert(entry.first);
            }
        }
    }

    /// A row that the mirror does not have as it is: deleted, or with this value. `None`: ask the mirror.
    pub(crate) fn row(&self, whose: Whose, log: LogId, key: &[u8]) -> Option<Option<Bytes>> {
        let kept = self.0.lock();
        let rows = kept.rows(whose);
        if rows.is_empty() { None } else { rows.get(&(log, Bytes::copy_from_slice(key))).cloned() }
    }

    /// A page of rows: those of the mirror, which `read` fetches up to a number, as they would be.
    pub(crate) fn page(
        &self,
        whose: Whose,
        log: LogId,
        (prefix, after): (&[u8], Option<&[u8]>),
        limit: usize,
        read: impl FnOnce(usize) -> Result<Vec<(Bytes, Bytes)>, ReadError>,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let is_in = |key: &Bytes| key.starts_with(prefix) && after.is_none_or(|after| key[..] > *after);
        let changed: Vec<(Bytes, Option<Bytes>)> = {
            let kept = self.0.lock();
            let of_log = kept.rows(whose).iter().filter(|((other, key), _)| *other == log && is_in(key));
            of_log.map(|((_, key), value)| (key.clone(), value.clone())).collect()
        };
        // As many more as may turn out to be deleted.
        let found = read(limit.saturating_add(changed.len()))?;
        if changed.is_empty() {
            return Ok(found);
        }
        let mut page: BTreeMap<Bytes, Bytes> = found.into_iter().collect();
        for (key, value) in changed {
            match value {
                Some(value) => page.insert(key, value),
                None => page.remove(&key),
            };
        }
        Ok(page.into_iter().take(limit).collect())
    }

    /// The end of what the mirror knows of a log, if that is not all.
    pub(crate) fn known_end(&self, log: LogId) -> Option<Lsn> {
        self.0.lock().from.get(&log).copied()
    }

    /// Whether records below `below` can be found.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, log: LogId, below: Lsn) -> Result<(), ReadError> {
        let kept = self.0.lock();
        match kept.from.get(&log) {
            Some(from) if below > *from => Err(ReadError::Io { log, reason: kept.why.clone() }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use roomhook_log::{Epoch, Key, Record};
    use roomhook_mirror::EntryIndex;

    use super::*;

    const LOG: LogId = LogId(1);

    fn applied(first: u64, rows: &[(&'static str, Option<&'static str>)]) -> Applied {
        let row = |(key, value): &(&'static str, Option<&'static str>)| Row {
            key: Bytes::from_static(key.as_bytes()),
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
        };
        let record = Record {
            lsn: Lsn(first),
            epoch: Epoch(1),
            key: Key(Bytes::from_static(b"room")),
            at_ms: 1,
            payload: Bytes::new(),
        };
        let entry = EntryIndex {
            log: LOG,
            first: Lsn(first),
            segment: 1,
            offset: 0,
            pieces: Vec::new(),
            records: Arc::new([record]),
            owner_rows: rows.iter().map(row).collect(),
            hook_rows: Vec::new(),
        };
        Applied { entries: vec![entry], stand: None }
    }

    fn text(rows: &[(Bytes, Bytes)]) -> String {
        let row = |(key, value): &(Bytes, Bytes)| format!("{}={} ", key.escape_ascii(), value.escape_ascii());
        rows.iter().map(row).collect()
    }

    /// A mirror with the rows a1 to a5 as they were.
    fn mirror(after: Option<&[u8]>, limit: usize) -> Vec<(Bytes, Bytes)> {
        let all = (1..=5).map(|n| (Bytes::from(format!("a{n}")), Bytes::from_static(b"old")));
        all.filter(|(key, _)| after.is_none_or(|after| key[..] > *after)).take(limit).collect()
    }

    #[test]
    fn rows_are_read_as_if_the_mirror_had_taken_them() {
        let unwritten = Unwritten::default();
        let page = |unwritten: &Unwritten, after: Option<&'static [u8]>, limit| {
            let read = |limit| Ok(mirror(after, limit));
            text(&unwritten.page(Whose::Owner, LOG, (b"a", after), limit, read).expect("read"))
        };
        assert_eq!(page(&unwritten, None, 2), "a1=old a2=old ");
        assert_eq!(unwritten.row(Whose::Owner, LOG, b"a1"), None);

        unwritten.keep(vec![applied(7, &[("a1", None), ("a2", Some("x")), ("b1", Some("x"))])], "broken");
        unwritten.keep(vec![applied(8, &[("a2", Some("new")), ("a25", Some("new"))])], "still broken");
        assert_eq!(page(&unwritten, None, 3), "a2=new a25=new a3=old ");
        assert_eq!(page(&unwritten, Some(b"a25"), 9), "a3=old a4=old a5=old ");
        assert_eq!(unwritten.row(Whose::Owner, LOG, b"a1"), Some(None), "deleted");
        assert_eq!(unwritten.row(Whose::Owner, LOG, b"a3"), None);
        assert_eq!(unwritten.row(Whose::Hooks, LOG, b"a1"), None, "another's");
    }

    #[test]
    fn records_that_cannot_be_found_are_told_and_those_before_are_not() {
        let unwritten = Unwritten::default();
        assert!(unwritten.check(LOG, Lsn(100)).is_ok());
        unwritten.keep(vec![applied(7, &[]), applied(8, &[])], "broken");
        assert_eq!(unwritten.known_end(LOG), Some(Lsn(7)));
        assert!(unwritten.check(LOG, Lsn(7)).is_ok() && unwritten.check(LogId(0), Lsn(100)).is_ok());
        let refused = unwritten.check(LOG, Lsn(8)).expect_err("it is not there");
        assert!(refused.to_string().contains("broken"), "{refused}");
    }
}
