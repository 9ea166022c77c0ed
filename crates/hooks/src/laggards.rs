//! Reads one shard's log for the rooms that are off its main path, one room at a time: a few records of whichever room has
//! least in memory. So they share what there is, and none waits for another.

use std::sync::Arc;

use roomhook_log::{Key, LogId, Lsn, ReadError, Record};

use crate::{
    engine::LaneWork,
    plan,
    reader::{FAILED_WAIT, Stopped},
    shared::Shared,
};

/// Records read at once to see what retention has left.
const COUNT_RECORDS: usize = 1_000;

pub(crate) struct Laggards {
    shared: Arc<Shared>,
    shard: u16,
}

impl Laggards {
    pub(crate) fn new(shared: Arc<Shared>, shard: u16) -> Self {
        Self { shared, shard }
    }

    /// Reads until the log is closed. Cancel safe: what was not handed to the engine is read again.
    pub(crate) async fn run(self) {
        loop {
            match self.step().await {
                Ok(()) => {}
                Err(Stopped::Log(ReadError::Closed)) => return,
                Err(stopped) => {
                    tracing::error!(shard = self.shard, error = %stopped, "webhooks cannot read a room's records, trying again");
                    tokio::time::sleep(FAILED_WAIT).await;
                }
            }
        }
    }

    async fn step(&self) -> Result<(), Stopped> {
        let work = self.shared.core().engine.lane_work(self.shard);
        let Some(work) = work else {
            if let Some(called) = self.shared.lanes.get(usize::from(self.shard)) {
                called.notified().await;
                return Ok(());
            }
            return Err(ReadError::NoSuchLog(LogId(self.shard)).into());
        };
        let records = self.records(&work, work.from, work.limit).await?;
        if let Some(last) = records.last() {
            self.shared.world.rows.until_ours(LogId(self.shard), last.epoch).await;
        }
        // Looked at after reading: what was dropped before or meanwhile is known by now.
        let first = self.shared.world.log.bounds(LogId(self.shard)).await?.first;
        if first > work.from {
            return self.trimmed(&work, first).await;
        }
        self.load(&work, &records)
    }

    async fn records(&self, work: &LaneWork, from: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.shared.world.log.of_key(LogId(self.shard), &Key(work.room.clone()), from, work.below, limit).await
    }

    fn load(&self, work: &LaneWork, records: &[Record]) -> Result<(), Stopped> {
        let settings = self.shared.settings.load_full();
        let switches = self.shared.core().engine.switches(self.shard);
        let mut owed = Vec::new();
        for record in records {
            let Some(switches) = switches.at(record.lsn) else { continue };
            let of_record = plan::owed(record, settings.endpoint.app.0, switches, settings.style, plan::afresh);
            owed.append(&mut of_record.map_err(|error| Stopped::Record { at: record.lsn, error })?);
        }
        let next = match records.last() {
            Some(last) if records.len() >= work.limit => last.lsn.next(),
            _ => work.below,
        };
        let wakes = self.shared.core().engine.load_lane(self.shard, work, owed, next);
        self.shared.wake(wakes);
        Ok(())
    }

    /// Retention was faster than the room. What it took is what is not there any more.
    async fn trimmed(&self, work: &LaneWork, first: Lsn) -> Result<(), Stopped> {
        let app = self.shared.settings.load().endpoint.app.0;
        let switches = self.shared.core().engine.switches(self.shard);
        let (mut next, mut left) = (first, 0);
        while next < work.below {
            let records = self.records(work, next, COUNT_RECORDS).await?;
            for record in &records {
                let Some(switches) = switches.at(record.lsn) else { continue };
                let owed = plan::count(record, app, switches);
                left += owed.map_err(|error| Stopped::Record { at: record.lsn, error })? as u64;
            }
            match records.last() {
                Some(last) if records.len() >= COUNT_RECORDS => next = last.lsn.next(),
                _ => break,
            }
        }
        self.shared.core().engine.lane_trimmed(self.shard, work, first, left);
        let endpoint = &self.shared.settings.load().endpoint;
        tracing::error!(
            app = endpoint.app.0, endpoint = endpoint.id.0, shard = self.shard, %first,
            "retention dropped records of a room that is sent more than this endpoint takes; what was owed of them is expired"
        );
        Ok(())
    }
}
