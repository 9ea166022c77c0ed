//! The task that owns the directory.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use roomhook_log::{AppendError, Epoch, Key, LogId, Lsn, NewRecord, ReadError, Row, limits};
use roomhook_room::{
    Endpoint, Positions,
    directory::{Command, Event, ImportAccount, decide, fold},
    encode_directory_record,
};
use tokio::{
    sync::{OwnedMutexGuard, mpsc},
    time::{Duration, Instant},
};

use super::{
    fold::{Opened, fold_up_to, open, thing_row},
    view::View,
};
use crate::{
    error::ExecuteError,
    inbox::{Refuse, Reply},
    life::{Deps, Exit, deposed},
    rows,
    supervisor::stopped,
};

/// Commands of one append, and what they weigh together as far as the last one may exceed it: what they write is written twice, as
/// records and as rows.
const BATCH_COMMANDS: usize = 64;
const BATCH_BYTES_MAX: usize = limits::APPEND_BYTES_MAX / 12;
/// Rows that a crash left older and that go with one append, in bytes: those of its own need room beside them.
const ROWS_BYTES_MAX: usize = limits::APPEND_BYTES_MAX / 3;
/// After an append that found no room, changes are refused unseen for so long: taking them back means reading everything.
const TRY_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    /// Whether anything changed.
    pub(super) reply: Reply<bool>,
    /// Of whoever changes an endpoint: the next one's turn comes when this was answered.
    pub(super) turn: Option<OwnedMutexGuard<()>>,
}

/// What a command weighs while it waits, in bytes.
pub(super) fn weight_of(command: &Command) -> usize {
    let texts: usize = match command {
        Command::Import { accounts, .. } => accounts.iter().map(weight_of_account).sum(),
        Command::PutEndpoint(endpoint) => weight_of_endpoint(endpoint),
        Command::TakeFirstValue { value, .. } => value.as_ref().map_or(0, |value| weight_of_endpoint(&value.endpoint)),
        Command::DeleteEndpoint { .. } => 0,
    };
    // The caller's side of the answer is some 256 bytes.
    size_of::<Request>() + 256 + texts
}

fn weight_of_endpoint(endpoint: &Endpoint) -> usize {
    let Endpoint { url, commands, extra_roots_pem, client_cert_pem, client_key_pem, .. } = endpoint;
    let texts = [url, extra_roots_pem, client_cert_pem, client_key_pem].into_iter().chain(commands);
    size_of::<Endpoint>() + texts.map(String::len).sum::<usize>()
}

fn weight_of_account(account: &ImportAccount) -> usize {
    let ImportAccount { user, nick, face_url } = account;
    let texts = [nick, face_url].into_iter().flatten().map(String::len).sum::<usize>();
    size_of::<ImportAccount>() + user.as_str().len() + texts
}

impl Refuse for Request {
    fn refuse(self, error: ExecuteError) {
        self.reply.send(Err(error));
    }
}

/// The state of the directory, in the hands of one task.
pub(super) struct Owner {
    deps: Deps,
    view: Arc<View>,
    inbox: OwnedMutexGuard<mpsc::Receiver<Request>>,
    waiting: Vec<Request>,
    opened: Opened,
    /// When an append found no room, and what it was told.
    refused: Option<(Instant, String)>,
}

/// Decided, not yet durable.
#[derive(Default)]
struct Batch {
    records: Vec<NewRecord>,
    /// The newest row of each thing.
    rows: BTreeMap<Bytes, Bytes>,
    events: Vec<Event>,
    answers: Vec<Answer>,
}

struct Answer {
    reply: Reply<bool>,
    changed: bool,
    turn: Option<OwnedMutexGuard<()>>,
    /// Records that must be durable before this may be told.
    needs: usize,
}

impl Owner {
    pub(super) fn new(
        deps: Deps,
        view: Arc<View>,
        inbox: OwnedMutexGuard<mpsc::Receiver<Request>>,
        opened: Opened,
    ) -> Self {
        Self { deps, view, inbox, waiting: Vec::new(), opened, refused: None }
    }

    /// Decides, appends, answers, until the inbox is closed and empty.
    pub(super) async fn run(mut self) -> Exit {
        loop {
            while self.waiting.is_empty() {
                tokio::select! {
                    biased;
                    // Both arms are cancel safe: nothing is taken from the inbox unless this arm is the one that ends.
                    taken = self.inbox.recv_many(&mut self.waiting, BATCH_COMMANDS) => {
                        if taken == 0 {
                            return Exit::Stopped;
                        }
                    }
                    () = stopped(&mut self.deps.stop), if !self.inbox.is_closed() => self.inbox.close(),
                }
            }
            let ends = self.ends().await;
            let batch = self.decide(&ends);
            if let Err(exit) = self.settle(batch).await {
                return exit;
            }
        }
    }

    /// The requests of the next batch.
    fn take(&mut self) -> Vec<Request> {
        let mut bytes = 0;
        let fits = |request: &&Request| {
            let before = bytes;
            bytes += weight_of(&request.command);
            before < BATCH_BYTES_MAX
        };
        let count = self.waiting.iter().take_while(fits).count();
        self.waiting.drain(..count).collect()
    }

    /// Where the shards' logs end now, which is behind everything that was acknowledged before the commands came. Asked
    /// only for commands that need it.
    async fn ends(&self) -> Result<Positions, ReadError> {
        let mut ends = Positions::default();
        if self.waiting.iter().any(|request| needs_ends(&request.command)) {
            for shard in 0..self.deps.shards {
                ends.0.push(self.deps.reader.store.end(LogId(shard)).await?.0);
            }
        }
        Ok(ends)
    }

    fn decide(&mut self, ends: &Result<Positions, ReadError>) -> Batch {
        let requests = self.take();
        let folded = &mut self.opened.folded;
        let refused = self.refused.as_ref().filter(|(at, _)| at.elapsed() < TRY_AGAIN).map(|(_, reason)| reason);
        // Records are in order of time whatever the clock does.
        let now = (self.deps.clock)();
        folded.last_at = folded.last_at.max(now);
        let mut batch = Batch::default();
        for Request { command, reply, turn } in requests {
            let app = match &command {
                Command::Import { app, .. }
                | Command::DeleteEndpoint { app, .. }
                | Command::TakeFirstValue { app, .. } => *app,
                Command::PutEndpoint(endpoint) => endpoint.app,
            };
            let ends = match ends {
                Ok(ends) => ends,
                Err(error) if needs_ends(&command) => {
                    reply.send(Err(ExecuteError::Unavailable(error.to_string())));
                    continue;
                }
                Err(_) => &Positions::default(),
            };
            let events = decide(&folded.state, command, now, ends);
            let changed = !events.is_empty();
            if let Some(reason) = refused.filter(|_| changed) {
                reply.send(Err(ExecuteError::Unavailable(reason.clone())));
                continue;
            }
            if changed {
                let key = Key(Bytes::copy_from_slice(&app.0.to_be_bytes()));
                let payload = encode_directory_record(&events);
                batch.records.push(NewRecord { key, at_ms: folded.last_at.0, payload });
            }
            for event in events {
                fold(&mut folded.state, &event);
                let (key, value) = thing_row(&event);
                batch.rows.insert(key, value);
                batch.events.push(event);
            }
            batch.answers.push(Answer { reply, changed, turn, needs: batch.records.len() });
        }
        batch
    }

    async fn settle(&mut self, batch: Batch) -> Result<(), Exit> {
        let Batch { records, rows, events, mut answers } = batch;
        let count = records.len();
        if count == 0 {
            answers.into_iter().for_each(|answer| answer.tell(Ok(())));
            return Ok(());
        }
        let (epoch, first) = (self.opened.claim.epoch, self.opened.claim.next);
        if let Err(error) = self.write_rows_ahead().await {
            return self.fail(error, answers, epoch, first).await;
        }
        let applied = rows::position_row(rows::APPLIED, Lsn(first.0 + count as u64 - 1));
        let mut newest = self.opened.folded.unwritten.clone();
        newest.extend(rows);
        let claim = &mut self.opened.claim;
        let rows = newest.iter().map(row).chain([applied]).collect();
        let bytes = records.iter().map(|record| record.payload.len()).sum();
        answers.iter_mut().filter(|answer| answer.changed).for_each(|answer| answer.reply.append_begins());
        let started = Instant::now();
        let appended = self.deps.reader.store.append(claim, records, rows).await;
        self.deps.metrics.append(started.elapsed(), count, bytes, events.len(), appended.is_ok());
        match appended {
            Ok(_) => {
                self.opened.folded.unwritten.clear();
                self.refused = None;
                self.view.publish(&events, &self.opened.folded.state);
                answers.into_iter().for_each(|answer| answer.tell(Ok(())));
                self.deps.health.set_ready();
                Ok(())
            }
            Err(error) => self.fail(error, answers, epoch, first).await,
        }
    }

    /// A crash may have left so many rows older that they do not fit into one append: all but the last of them are written
    /// before the batch. That they are newer than what says how far rows go does no harm: folding events again ends the same.
    async fn write_rows_ahead(&mut self) -> Result<(), AppendError> {
        let unwritten = &mut self.opened.folded.unwritten;
        let mut bytes: usize = unwritten.iter().map(size_of_row).sum();
        while bytes > ROWS_BYTES_MAX {
            let mut page = 0;
            let fits = |row: &(&Bytes, &Bytes)| {
                page += size_of_row(*row);
                page <= ROWS_BYTES_MAX
            };
            let rows: Vec<Row> = unwritten.iter().take_while(fits).map(row).collect();
            let keys: Vec<Bytes> = rows.iter().map(|row| row.key.clone()).collect();
            self.deps.reader.store.append(&mut self.opened.claim, Vec::new(), rows).await?;
            for (key, value) in keys.iter().filter_map(|key| unwritten.remove_entry(key)) {
                bytes -= size_of_row((&key, &value));
            }
        }
        Ok(())
    }

    /// The state in memory has folded what is not durable: reads it again, then answers by what the log has.
    async fn fail(&mut self, error: AppendError, answers: Vec<Answer>, epoch: Epoch, first: Lsn) -> Result<(), Exit> {
        let reason = error.to_string();
        if let AppendError::Fenced { current, .. } = error {
            return Err(self.depose(answers, 0, current));
        }
        if matches!(error, AppendError::Full(_)) {
            return self.find_no_room(reason, answers).await;
        }
        tracing::error!(reason, "the directory's append failed");
        self.deps.health.set_refusing(&reason);
        let unsure = matches!(error, AppendError::Ambiguous { .. } | AppendError::Poisoned { .. });
        if !unsure {
            for answer in answers {
                answer.tell(Err(ExecuteError::Unavailable(reason.clone())));
            }
            return Err(Exit::Reopen(reason));
        }
        let opened = match open(&self.deps, self.deps.own()).await {
            Ok(opened) => opened,
            // The successor's claim ended the epoch: what was written under it stands in the log, and no more ever will.
            Err(error)
                if let Some(by) = error.deposed_by()
                    && let Ok(written) = self.written(epoch, first).await =>
            {
                return Err(self.depose(answers, written, by));
            }
            Err(_) => {
                answers.into_iter().for_each(|answer| answer.tell_unknown(&reason));
                return Err(Exit::Reopen(reason));
            }
        };
        let written = self.deps.reader.written(epoch, first, opened.claim.next).await;
        for answer in answers {
            let told = match &written {
                Ok(written) if answer.needs <= *written => Ok(()),
                Ok(_) => Err(ExecuteError::Unavailable(reason.clone())),
                Err(_) => {
                    answer.tell_unknown(&reason);
                    continue;
                }
            };
            answer.tell(told);
        }
        self.view.publish_all(&opened.folded.state);
        self.opened = opened;
        self.deps.health.set_ready();
        Ok(())
    }

    /// Nothing was written, and nothing will be until there is room: takes back what was folded. The claim still holds, and
    /// the store has told operators.
    async fn find_no_room(&mut self, reason: String, answers: Vec<Answer>) -> Result<(), Exit> {
        for answer in answers {
            answer.tell(Err(ExecuteError::Unavailable(reason.clone())));
        }
        let last_at = self.opened.folded.last_at;
        self.opened.folded =
            fold_up_to(&self.deps.reader, self.opened.claim.next).await.map_err(|error| Exit::Reopen(error.told()))?;
        self.opened.folded.last_at = self.opened.folded.last_at.max(last_at);
        self.refused = Some((Instant::now(), reason));
        Ok(())
    }

    /// How much of an append of an epoch that is over is in the log.
    async fn written(&self, epoch: Epoch, first: Lsn) -> Result<usize, ReadError> {
        let reader = &self.deps.reader;
        let end = reader.store.end(reader.log).await?;
        reader.written(epoch, first, end).await
    }

    /// Another process owns the directory now, and `durable` records of the batch are in the log.
    fn depose(&mut self, answers: Vec<Answer>, durable: usize, by: Epoch) -> Exit {
        let reason = deposed(by);
        let refusal = || ExecuteError::Unavailable(reason.clone());
        for answer in answers {
            let outcome = if answer.needs <= durable { Ok(()) } else { Err(refusal()) };
            answer.tell(outcome);
        }
        self.waiting.drain(..).for_each(|request| request.refuse(refusal()));
        Exit::Deposed { by }
    }
}

fn row((key, value): (&Bytes, &Bytes)) -> Row {
    Row { key: key.clone(), value: Some(value.clone()) }
}

fn size_of_row((key, value): (&Bytes, &Bytes)) -> usize {
    key.len() + value.len() + limits::ROW_FRAME_BYTES
}

/// Whether an endpoint is put, which remembers where the shards' logs ended.
fn needs_ends(command: &Command) -> bool {
    match command {
        Command::PutEndpoint(_) | Command::TakeFirstValue { .. } => true,
        Command::Import { .. } | Command::DeleteEndpoint { .. } => false,
    }
}

impl Answer {
    fn tell(self, outcome: Result<(), ExecuteError>) {
        self.reply.send(outcome.map(|()| self.changed));
        drop(self.turn);
    }

    /// Nobody knows what of the append is in the log. What changes nothing did nothing in any case.
    fn tell_unknown(self, reason: &str) {
        let outcome = match self.changed {
            true => ExecuteError::Unknown(reason.to_owned()),
            false => ExecuteError::Unavailable(reason.to_owned()),
        };
        self.tell(Err(outcome));
    }
}
