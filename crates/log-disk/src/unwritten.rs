//! What the mirror could not take in when it failed. The store takes nothing more then, but whoever asks still gets all that was
//! answered: owners put their rooms back to what is durable, webhooks look up where they are, and people read.
//!
//! It holds what was on its way to the mirror, so it is bounded as that is.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use roomhook_log::{Key, LogId, Lsn, ReadError, Record, Row};
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
    owner: Rows,
    hooks: Rows,
    /// Each log's, dense.
    records: BTreeMap<LogId, Vec<Record>>,
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
    /// Keeps what the mirror did not take, in order.
    pub(crate) fn keep(&self, batches: Vec<Applied>) {
        let mut kept = self.0.lock();
        for entry in batches.into_iter().flat_map(|applied| applied.entries) {
            let log = entry.log;
            let named = |Row { key, value }| ((log, key), value);
            kept.owner.extend(entry.owner_rows.into_iter().map(named));
            kept.hooks.extend(entry.hook_rows.into_iter().map(named));
            if !entry.records.is_empty() {
                kept.records.entry(log).or_default().extend(entry.records.iter().cloned());
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

    /// A stretch of records: `of_mirror` reads what it has of it, the rest is here. As short as the mirror's if it has any.
    pub(crate) fn stretch(
        &self,
        log: LogId,
        Range { start, end }: Range<Lsn>,
        of_mirror: impl FnOnce(Lsn) -> Result<Arc<[Record]>, ReadError>,
    ) -> Result<Arc<[Record]>, ReadError> {
        let here: Vec<Record> = {
            let kept = self.0.lock();
            let Some(records) = kept.records.get(&log) else {
                drop(kept);
                return of_mirror(end);
            };
            match records.first() {
                Some(first) if start < first.lsn => {
                    let known = end.min(first.lsn);
                    drop(kept);
                    return of_mirror(known);
                }
                _ => records.iter().filter(|record| (start..end).contains(&record.lsn)).cloned().collect(),
            }
        };
        Ok(here.into())
    }

    /// The oldest `limit` records of a key in a stretch.
    pub(crate) fn of_key(
        &self,
        log: LogId,
        key: &Key,
        Range { start, end }: Range<Lsn>,
        limit: usize,
        of_mirror: impl FnOnce(Lsn) -> Result<Vec<Record>, ReadError>,
    ) -> Result<Vec<Record>, ReadError> {
        let (known, here) = self.of(log, key, start..end);
        let mut found = of_mirror(known)?;
        found.extend(here);
        found.truncate(limit);
        Ok(found)
    }

    /// The newest `limit` records of a key before a position, oldest first.
    pub(crate) fn last(
        &self,
        log: LogId,
        key: &Key,
        before: Lsn,
        limit: usize,
        of_mirror: impl FnOnce(Lsn, usize) -> Result<Vec<Record>, ReadError>,
    ) -> Result<Vec<Record>, ReadError> {
        let (known, mut here) = self.of(log, key, Lsn(0)..before);
        here.drain(..here.len().saturating_sub(limit));
        let mut found = match limit - here.len() {
            0 => Vec::new(),
            more => of_mirror(known, more)?,
        };
        found.append(&mut here);
        Ok(found)
    }

    /// Up to where the mirror has to be asked, and the records of a key that are here.
    fn of(&self, log: LogId, key: &Key, within: Range<Lsn>) -> (Lsn, Vec<Record>) {
        let kept = self.0.lock();
        let Some(records) = kept.records.get(&log) else { return (within.end, Vec::new()) };
        let known = records.first().map_or(within.end, |first| within.end.min(first.lsn));
        let of_key = records.iter().filter(|record| record.key == *key && within.contains(&record.lsn));
        (known, of_key.cloned().collect())
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

        unwritten.keep(vec![applied(7, &[("a1", None), ("a2", Some("x")), ("b1", Some("x"))])]);
        unwritten.keep(vec![applied(8, &[("a2", Some("new")), ("a25", Some("new"))])]);
        assert_eq!(page(&unwritten, None, 3), "a2=new a25=new a3=old ");
        assert_eq!(page(&unwritten, Some(b"a25"), 9), "a3=old a4=old a5=old ");
        assert_eq!(unwritten.row(Whose::Owner, LOG, b"a1"), Some(None), "deleted");
        assert_eq!(unwritten.row(Whose::Owner, LOG, b"a3"), None);
        assert_eq!(unwritten.row(Whose::Hooks, LOG, b"a1"), None, "another's");
    }

    fn numbers(records: &[Record]) -> Vec<u64> {
        records.iter().map(|record| record.lsn.0).collect()
    }

    /// The mirror knows the records 1 to 6, the rest is here.
    #[test]
    fn records_are_found_as_if_the_mirror_knew_them() {
        let unwritten = Unwritten::default();
        let record = |lsn| applied(lsn, &[]).entries[0].records[0].clone();
        let known = |from: u64, below: Lsn| (from..below.0.min(7)).map(record).collect::<Vec<_>>();
        let key = Key(Bytes::from_static(b"room"));
        let stretch = |unwritten: &Unwritten, from, below| {
            let found = unwritten.stretch(LOG, Lsn(from)..Lsn(below), |below| Ok(known(from, below).into()));
            numbers(&found.expect("read"))
        };
        let of_key = |unwritten: &Unwritten, from, below, limit| {
            let found = unwritten.of_key(LOG, &key, Lsn(from)..Lsn(below), limit, |below| {
                Ok(known(from, below).into_iter().take(limit).collect())
            });
            numbers(&found.expect("read"))
        };
        let last = |unwritten: &Unwritten, before, limit| {
            let found = unwritten.last(LOG, &key, Lsn(before), limit, |before, limit| {
                let all = known(1, before);
                Ok(all[all.len().saturating_sub(limit)..].to_vec())
            });
            numbers(&found.expect("read"))
        };
        assert_eq!(stretch(&unwritten, 3, 6), [3, 4, 5], "it has all");
        unwritten.keep(vec![applied(7, &[]), applied(8, &[])]);
        unwritten.keep(vec![applied(9, &[])]);
        assert_eq!(stretch(&unwritten, 3, 6), [3, 4, 5]);
        assert_eq!(stretch(&unwritten, 5, 9), [5, 6], "the next stretch begins behind it");
        assert_eq!(stretch(&unwritten, 7, 9), [7, 8]);
        assert_eq!(of_key(&unwritten, 5, 10, 9), [5, 6, 7, 8, 9]);
        assert_eq!(of_key(&unwritten, 5, 10, 3), [5, 6, 7]);
        assert_eq!(of_key(&unwritten, 8, 9, 3), [8]);
        assert_eq!(last(&unwritten, 100, 2), [8, 9]);
        assert_eq!(last(&unwritten, 9, 4), [5, 6, 7, 8]);
        assert_eq!(last(&unwritten, 6, 2), [4, 5]);
        let other = Key(Bytes::from_static(b"other"));
        let none = unwritten.of_key(LOG, &other, Lsn(7)..Lsn(9), 9, |_| Ok(Vec::new()));
        assert!(none.expect("read").is_empty());
    }
}
