//! Reads one shard's log for one endpoint: into the engine's window while there is space, and ahead of it only to keep
//! the numbers right. The backlog of an outage stays where it is, in the log.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{self, Either};
use roomhook_log::{LogId, Lsn, ReadError, Record, RecordStream};
use roomhook_room::{CodecError, Endpoint};
use tokio::sync::watch;

use crate::{engine::Content, plan, shared::Shared};

/// Records handed to the engine at once at most: few, because the senders wait for the engine meanwhile.
const CHUNK_RECORDS: usize = 64;
/// Wait before reading again after the log failed.
pub(crate) const FAILED_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Reader {
    pub(crate) shared: Arc<Shared>,
    pub(crate) shard: u16,
    pub(crate) endpoints: watch::Receiver<Arc<Vec<Arc<Endpoint>>>>,
    load: Option<Stream>,
    ahead: Option<Stream>,
    /// Which of the two streams is asked first when both may have something: they take turns.
    ahead_first: bool,
    /// A batch that is not loaded to its end yet.
    rest: Option<Arc<[Record]>>,
    /// The app has other endpoints that may want the same bodies.
    shares: bool,
}

struct Stream {
    next: Lsn,
    records: Box<dyn RecordStream>,
}

/// Why reading stopped for the moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("record {at} cannot be decoded: {error}")]
    Record { at: Lsn, error: CodecError },
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, shard: u16, endpoints: watch::Receiver<Arc<Vec<Arc<Endpoint>>>>) -> Self {
        let shares = has_siblings(&shared.settings.load().endpoint, &endpoints.borrow());
        Self { shared, shard, endpoints, load: None, ahead: None, ahead_first: false, rest: None, shares }
    }

    /// Reads until the log is closed, or belongs to another process. Cancel safe: what was not handed to the engine is read again.
    pub(crate) async fn run(mut self) {
        loop {
            let Err(stopped) = self.step().await else { continue };
            (self.load, self.ahead, self.rest) = (None, None, None);
            match stopped {
                Stopped::Log(ReadError::Closed) => return,
                Stopped::Log(ReadError::Trimmed { first, .. }) => self.trimmed(first),
                stopped => {
                    tracing::error!(shard = self.shard, error = %stopped, "webhooks cannot read the log, trying again");
                    tokio::time::sleep(FAILED_WAIT).await;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<(), Stopped> {
        let Some((load_from, counted, space)) = self.shared.core().engine.reading(self.shard) else {
            return Err(ReadError::NoSuchLog(LogId(self.shard)).into());
        };
        if space && let Some(batch) = self.rest.take() {
            return self.load_chunk(batch, load_from);
        }
        if space && self.load.as_ref().is_none_or(|stream| stream.next != load_from) {
            self.load = Some(self.open(load_from)?);
        }
        let lags = !space || counted > load_from;
        if !lags {
            self.ahead = None;
        } else if self.ahead.as_ref().is_none_or(|stream| stream.next != counted) {
            self.ahead = Some(self.open(counted)?);
        }
        let Some(free) = self.shared.spaces.get(usize::from(self.shard)) else { return Ok(()) };
        self.ahead_first = !self.ahead_first;
        let load = next(self.load.as_mut().filter(|_| space));
        let ahead = next(self.ahead.as_mut().filter(|_| lags));
        tokio::select! {
            biased;
            read = first_of(load, ahead, self.ahead_first) => match read {
                Read::ToLoad(batch) => {
                    let batch = batch?;
                    until_ours(&self.shared.clone(), self.shard, &batch).await;
                    self.load_chunk(batch, load_from)
                }
                Read::ToCount(batch) => {
                    let batch = batch?;
                    until_ours(&self.shared.clone(), self.shard, &batch).await;
                    self.count(&batch)
                }
            },
            () = free.notified(), if !space => Ok(()),
        }
    }

    fn open(&self, from: Lsn) -> Result<Stream, ReadError> {
        Ok(Stream { next: from, records: self.shared.world.log.read(LogId(self.shard), from)? })
    }

    /// Hands some records of a batch to the engine, and keeps the rest for when there is space. Records are judged without
    /// the lock; if another shard's reader heard of a change of the endpoint meanwhile, they are judged once more, because
    /// the change counts for whatever was not handed over when it was heard of, and so it is told after a restart.
    fn load_chunk(&mut self, batch: Arc<[Record]>, load_from: Lsn) -> Result<(), Stopped> {
        self.follow_endpoint();
        let Some(end) = batch.last().map(|record| record.lsn.next()) else { return Ok(()) };
        if let Some(stream) = &mut self.load {
            // Positions are compared again only when the whole batch is loaded.
            stream.next = end;
        }
        let settings = self.shared.settings.load_full();
        let from = batch.partition_point(|record| record.lsn < load_from);
        let (chunk, judged_by, apart) = {
            let engine = &mut self.shared.core().engine;
            // What surely does not fit need not be made ready.
            let to = batch.len().min(from + engine.space_left(self.shard).min(CHUNK_RECORDS));
            let chunk = batch.get(from..to).unwrap_or_default();
            let lanes = engine.has_lanes(self.shard);
            let apart: Vec<bool> = chunk.iter().map(|record| lanes && engine.is_apart(&record.key.0)).collect();
            (chunk, engine.switches(self.shard), apart)
        };
        let Some(next) = chunk.last().map(|record| record.lsn.next()) else { return Ok(()) };
        let (style, contents) = (settings.style, &self.shared.world.contents);
        let mut owed = Vec::new();
        for (record, apart) in chunk.iter().zip(apart) {
            let Some(switches) = judged_by.at(record.lsn) else { continue };
            let of_record =
                plan::owed(record, settings.endpoint.app.0, switches, style, |pos, make| match (apart, self.shares) {
                    (true, _) => Content::absent(),
                    (false, true) => contents.get(self.shard, pos, style, make),
                    (false, false) => make(),
                });
            owed.append(&mut of_record.map_err(|error| Stopped::Record { at: record.lsn, error })?);
        }
        let (wakes, loaded_to) = {
            let engine = &mut self.shared.core().engine;
            if !engine.switches(self.shard).is_still(&judged_by) {
                self.rest = Some(batch);
                return Ok(());
            }
            (engine.load(self.shard, owed, next), engine.next_load(self.shard))
        };
        self.shared.wake(wakes);
        self.rest = (loaded_to < end).then_some(batch);
        Ok(())
    }

    fn count(&mut self, batch: &[Record]) -> Result<(), Stopped> {
        self.follow_endpoint();
        let Some(last) = batch.last() else { return Ok(()) };
        let app = self.shared.settings.load().endpoint.app.0;
        let judged_by = self.shared.core().engine.switches(self.shard);
        let (mut owed, mut first_at) = (0, None);
        for record in batch {
            let Some(switches) = judged_by.at(record.lsn) else { continue };
            let of_record = plan::count(record, app, switches);
            let of_record = of_record.map_err(|error| Stopped::Record { at: record.lsn, error })?;
            if of_record > 0 {
                first_at.get_or_insert(record.at_ms);
            }
            owed += of_record;
        }
        let next = last.lsn.next();
        {
            let engine = &mut self.shared.core().engine;
            if !engine.switches(self.shard).is_still(&judged_by) {
                // Read again, and judged again.
                self.ahead = None;
                return Ok(());
            }
            engine.count(self.shard, owed as u64, first_at.unwrap_or(0), next);
        }
        if let Some(stream) = &mut self.ahead {
            stream.next = next;
        }
        Ok(())
    }

    /// Looks whether the endpoint was changed, before judging records that may have come after the change.
    fn follow_endpoint(&mut self) {
        if !self.endpoints.has_changed().unwrap_or(false) {
            return;
        }
        self.shares = has_siblings(&self.shared.settings.load().endpoint, &self.endpoints.borrow_and_update());
        self.shared.follow(&self.endpoints);
    }

    fn trimmed(&self, first: Lsn) {
        let (lost, unseen) = self.shared.core().engine.trimmed(self.shard, first);
        let endpoint = &self.shared.settings.load().endpoint;
        tracing::error!(
            app = endpoint.app.0, endpoint = endpoint.id.0, shard = self.shard, %first, records = lost, unseen,
            "retention dropped records before this endpoint got them; what was owed of them is expired, and of those that \
             nobody had looked at (unseen) it is not known"
        );
    }
}

/// Records that another owner wrote are another process's to deliver. Whoever does not know yet that it was deposed sees it by their
/// epoch.
async fn until_ours(shared: &Shared, shard: u16, batch: &[Record]) {
    if let Some(last) = batch.last() {
        shared.world.rows.until_ours(LogId(shard), last.epoch).await;
    }
}

fn has_siblings(own: &Endpoint, endpoints: &[Arc<Endpoint>]) -> bool {
    endpoints.iter().any(|other| other.app == own.app && other.id != own.id)
}

type Batch = Result<Arc<[Record]>, ReadError>;

enum Read {
    ToLoad(Batch),
    ToCount(Batch),
}

/// Whichever is ready first. Both reads are cancel safe by the log's contract, so the other one loses nothing.
async fn first_of(load: impl Future<Output = Batch>, ahead: impl Future<Output = Batch>, ahead_first: bool) -> Read {
    let (load, ahead) = (pin!(load), pin!(ahead));
    if ahead_first {
        match future::select(ahead, load).await {
            Either::Left((batch, _)) => Read::ToCount(batch),
            Either::Right((batch, _)) => Read::ToLoad(batch),
        }
    } else {
        match future::select(load, ahead).await {
            Either::Left((batch, _)) => Read::ToLoad(batch),
            Either::Right((batch, _)) => Read::ToCount(batch),
        }
    }
}

async fn next(stream: Option<&mut Stream>) -> Batch {
    match stream {
        Some(stream) => stream.records.next_batch().await,
        None => std::future::pending().await,
    }
}
