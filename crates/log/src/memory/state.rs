//! What a memory log holds. Plain data; who may change it when is decided in the parent.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    api::Claim,
    error::{AppendError, ReadError},
    tail::prefix_within_limits,
    types::{Bounds, Epoch, Expect, Key, LogId, Lsn, NewRecord, NodeId, Record, Row},
};

type RowMap = BTreeMap<Bytes, Bytes>;

/// Appends with rows that a crash can take the rows back of.
const OLDER_ROWS_MAX: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct State {
    /// Records `first..first + len`.
    records: VecDeque<Record>,
    first: Lsn,
    /// Positions of each key, ascending.
    positions: HashMap<Key, VecDeque<Lsn>>,
    newest_at_ms: u64,

    pub(super) epoch: Epoch,
    pub(super) owner_rows: RowMap,
    /// What the last appends that wrote `owner_rows` found there, since the owner last gave something up. Oldest first.
    overwritten: VecDeque<Vec<Row>>,
    pub(super) rows: RowMap,
    /// `rows` as a power cut would leave them; `None` when nothing was put since the last append.
    rows_synced: Option<RowMap>,

    pub(super) ambiguous: bool,
    pub(super) poisoned: Option<String>,
    pub(super) closed: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            records: VecDeque::new(),
            first: Lsn::FIRST,
            positions: HashMap::new(),
            newest_at_ms: 0,
            epoch: Epoch(0),
            owner_rows: RowMap::new(),
            overwritten: VecDeque::new(),
            rows: RowMap::new(),
            rows_synced: None,
            ambiguous: false,
            poisoned: None,
            closed: false,
        }
    }
}

impl State {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds { first: self.first, next: Lsn(self.first.0 + self.records.len() as u64), epoch: self.epoch }
    }

    /// What a restart finds: the data; poison and doubt are gone, a new claim starts over.
    pub(super) fn after_restart(&self) -> Self {
        Self { ambiguous: false, poisoned: None, closed: false, overwritten: VecDeque::new(), ..self.clone() }
    }

    /// What a crash may leave of the owner's rows: as they were before the last so many appends that changed them.
    pub(super) fn with_older_rows(mut self, of: &Self, appends: usize) -> Self {
        for overwritten in of.overwritten.iter().rev().take(appends) {
            apply(&mut self.owner_rows, overwritten.clone());
        }
        self
    }

    /// What is left when records from `end` on are lost. The owner's rows may come back older, never newer: here none does.
    pub(super) fn after_loss(&self, end: Lsn) -> Self {
        let mut kept = self.after_restart();
        kept.records.truncate(usize::try_from(end.0.saturating_sub(kept.first.0)).unwrap_or(usize::MAX));
        kept.positions.values_mut().for_each(|positions| positions.retain(|position| *position < end));
        kept.owner_rows = RowMap::new();
        kept.epoch = kept.records.back().map_or(kept.epoch, |record| record.epoch).after_loss();
        kept
    }

    /// What a power cut leaves.
    pub(super) fn after_power_loss(&self) -> Self {
        let mut kept = self.after_restart();
        if let Some(synced) = kept.rows_synced.take() {
            kept.rows = synced;
        }
        kept
    }

    // === writing ===

    pub(super) fn check_writable(&self, log: LogId) -> Result<(), AppendError> {
        if self.closed {
            return Err(AppendError::Closed);
        }
        match &self.poisoned {
            Some(reason) => Err(AppendError::Poisoned { log, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn check_epoch(&self, log: LogId, ours: Epoch) -> Result<(), AppendError> {
        self.check_writable(log)?;
        match self.epoch {
            current if current != ours => Err(AppendError::Fenced { log, current, ours }),
            _ => Ok(()),
        }
    }

    pub(super) fn check_claim(&self, log: LogId, expect: Expect) -> Result<(), AppendError> {
        match expect {
            Expect::Anyone => self.check_writable(log),
            Expect::Epoch(epoch) => self.check_epoch(log, epoch),
        }
    }

    pub(super) fn check_writer(&self, claim: &Claim) -> Result<(), AppendError> {
        self.check_epoch(claim.log, claim.epoch)?;
        if self.ambiguous || claim.next != self.bounds().next {
            let reason = "an earlier append of this claim has an unknown outcome".to_owned();
            return Err(AppendError::Ambiguous { expected: claim.next, reason });
        }
        Ok(())
    }

    pub(super) fn claim(&mut self, who: NodeId) -> Arc<[Record]> {
        self.epoch.0 += 1;
        self.ambiguous = false;
        self.append(self.epoch, vec![NewRecord::claim(who, self.newest_at_ms)])
    }

    pub(super) fn append(&mut self, epoch: Epoch, records: Vec<NewRecord>) -> Arc<[Record]> {
        let next = self.bounds().next.0;
        let durable: Arc<[Record]> = (next..)
            .zip(records)
            .map(|(lsn, NewRecord { key, at_ms, payload })| Record { lsn: Lsn(lsn), epoch, key, at_ms, payload })
            .collect();
        for record in durable.iter() {
            self.newest_at_ms = self.newest_at_ms.max(record.at_ms);
            self.positions.entry(record.key.clone()).or_default().push_back(record.lsn);
            self.records.push_back(record.clone());
        }
        durable
    }

    /// The owner's rows, with an append: that syncs everything put before it.
    pub(super) fn put_synced(&mut self, rows: Vec<Row>) {
        if !rows.is_empty() {
            if self.overwritten.len() >= OLDER_ROWS_MAX {
                self.overwritten.pop_front();
            }
            let found = |row: &Row| Row { key: row.key.clone(), value: self.owner_rows.get(&row.key).cloned() };
            self.overwritten.push_back(rows.iter().map(found).collect());
        }
        apply(&mut self.owner_rows, rows);
        self.rows_synced = None;
    }

    pub(super) fn put_unsynced(&mut self, rows: Vec<Row>) {
        if self.rows_synced.is_none() {
            self.rows_synced = Some(self.rows.clone());
        }
        apply(&mut self.rows, rows);
    }

    /// The owner needs nothing before `up_to`: by its rows as they are now, so they do not come back older than that.
    pub(super) fn give_up(&mut self, up_to: Lsn) {
        self.overwritten.clear();
        self.trim(up_to);
    }

    pub(super) fn trim(&mut self, up_to: Lsn) {
        while self.first < up_to
            && let Some(record) = self.records.pop_front()
        {
            self.first = self.first.next();
            if let Some(positions) = self.positions.get_mut(&record.key) {
                positions.pop_front();
                if positions.is_empty() {
                    self.positions.remove(&record.key);
                }
            }
        }
    }

    // === reading ===

    pub(super) fn check_open(&self) -> Result<(), ReadError> {
        if self.closed { Err(ReadError::Closed) } else { Ok(()) }
    }

    pub(super) fn record(&self, lsn: Lsn) -> Option<&Record> {
        self.records.get(usize::try_from(lsn.0.checked_sub(self.first.0)?).ok()?)
    }

    pub(super) fn read(&self, log: LogId, from: Lsn, below: Lsn) -> Result<Arc<[Record]>, ReadError> {
        self.check_open()?;
        let Bounds { first, next, .. } = self.bounds();
        if from < first {
            return Err(ReadError::Trimmed { log, wanted: from, first });
        }
        let end = Lsn(below.0.min(next.0).min(from.0 + crate::limits::BATCH_RECORDS_MAX as u64));
        let records: Vec<Record> = (from.0..end.0).filter_map(|lsn| self.record(Lsn(lsn))).cloned().collect();
        let within = prefix_within_limits(&records);
        Ok(records.into_iter().take(within).collect())
    }

    pub(super) fn last(&self, key: &Key, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.check_open()?;
        let Some(positions) = self.positions.get(key) else { return Ok(Vec::new()) };
        let end = positions.partition_point(|lsn| *lsn < before);
        let wanted = positions.range(end.saturating_sub(limit)..end);
        Ok(wanted.filter_map(|lsn| self.record(*lsn)).cloned().collect())
    }

    pub(super) fn of_key(&self, key: &Key, from: Lsn, below: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.check_open()?;
        let Some(positions) = self.positions.get(key) else { return Ok(Vec::new()) };
        let start = positions.partition_point(|lsn| *lsn < from);
        let wanted = positions.range(start..).take_while(|lsn| **lsn < below).take(limit);
        Ok(wanted.filter_map(|lsn| self.record(*lsn)).cloned().collect())
    }
}

fn apply(map: &mut RowMap, rows: Vec<Row>) {
    for Row { key, value } in rows {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

pub(super) fn scan(map: &RowMap, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<(Bytes, Bytes)> {
    // Keys up to `after` are skipped; a page boundary below the prefix starts at the prefix.
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    map.range::<[u8], _>((start, Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(prefix))
        .take(limit)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
