//! The task that owns the directory.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use roomhook_log::{AppendError, Key, LogId, Lsn, NewRecord, ReadError, Row};
use roomhook_room::{
    Endpoint, Positions,
    directory::{Command, Event, ImportAccount, decide, fold},
    encode_directory_record,
};
use tokio::{
    sync::{OwnedMutexGuard, mpsc},
    task::JoinSet,
    time::{Duration, Instant, sleep},
};
use tracing::Instrument as _;

use super::{
    fold::{Opened, fold_up_to, open, thing_row},
    view::View,
};
use crate::{error::ExecuteError, inbox::Reply, owner::Deps, rows, supervisor::stopped};

/// Commands of one append. Each imports at most some hundred accounts, so an append stays far below the log's limits.
const BATCH_COMMANDS: usize = 64;
/// Between two tries to open the log again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
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

/// Runs owners, one after the other, until the server stops.
pub(super) async fn supervise(deps: Deps, view: Arc<View>, inbox: mpsc::Receiver<Request>, opened: Opened) {
    let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
    let mut opened = Some(opened);
    loop {
        if let Some(open) = opened.take() {
            let inbox = Arc::clone(&inbox).lock_owned().await;
            let (waiting, refused) = (Vec::new(), None);
            let owner = Owner { deps: deps.clone(), view: Arc::clone(&view), inbox, waiting, opened: open, refused };
            // A task of its own, so that its panic is an answer here. The set ends it when this future is dropped.
            let mut life = JoinSet::new();
            life.spawn(owner.run().in_current_span());
            match life.join_next().await {
                Some(Ok(Exit::Stopped)) | None => return,
                Some(Ok(Exit::Reopen(reason))) => deps.health.set_refusing(&reason),
                Some(Err(_)) => {
                    tracing::error!("the owner of the directory panicked, it starts again from its log");
                    deps.metrics.panics.inc();
                }
            }
        }
        match open_again(&deps, &view, &inbox).await {
            Some(again) => opened = Some(again),
            None => return,
        }
    }
}

/// `None` when the server stopped before the log could be opened.
async fn open_again(deps: &Deps, view: &View, inbox: &tokio::sync::Mutex<mpsc::Receiver<Request>>) -> Option<Opened> {
    let mut told = String::new();
    loop {
        match open(deps).await {
            Ok(opened) => {
                view.publish_all(&opened.folded.state);
                deps.health.set_ready();
                return Some(opened);
            }
            Err(error) => {
                let reason = error.told();
                // Once per trouble, not five times a second until somebody restarts the server.
                if reason != told {
                    tracing::error!(reason, "the directory cannot be opened again");
                    told.clone_from(&reason);
                }
                deps.health.set_refusing(&reason);
                let mut inbox = inbox.lock().await;
                if *deps.stop.borrow() {
                    inbox.close();
                }
                while let Ok(request) = inbox.try_recv() {
                    request.reply.send(Err(ExecuteError::Unavailable(reason.clone())));
                }
                if inbox.is_closed() {
                    return None;
                }
            }
        }
        let mut stop = deps.stop.clone();
        tokio::select! {
            biased;
            () = stopped(&mut stop) => {}
            () = sleep(REOPEN_PAUSE) => {}
        }
    }
}

enum Exit {
    Stopped,
    Reopen(String),
}

struct Owner {
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
    async fn run(mut self) -> Exit {
        loop {
            tokio::select! {
                biased;
                // Both arms are cancel safe: nothing is taken from the inbox unless this arm is the one that ends.
                taken = self.inbox.recv_many(&mut self.waiting, BATCH_COMMANDS) => {
                    if taken == 0 {
                        return Exit::Stopped;
                    }
                    let ends = self.ends().await;
                    let batch = self.decide(&ends);
                    if let Err(exit) = self.settle(batch).await {
                        return exit;
                    }
                }
                () = stopped(&mut self.deps.stop), if !self.inbox.is_closed() => self.inbox.close(),
            }
        }
    }

    /// Where the shards' logs end now, which is behind everything that was acknowledged before the commands came. Asked
    /// only for commands that need it.
    async fn ends(&self) -> Result<Positions, ReadError> {
        let mut ends = Positions::default();
        if self.waiting.iter().any(|request| needs_ends(&request.command)) {
            for shard in 0..self.deps.shards {
                ends.0.push(self.deps.reader.store.bounds(LogId(shard)).await?.next.0);
            }
        }
        Ok(ends)
    }

    fn decide(&mut self, ends: &Result<Positions, ReadError>) -> Batch {
        let folded = &mut self.opened.folded;
        let refused = self.refused.as_ref().filter(|(at, _)| at.elapsed() < TRY_AGAIN).map(|(_, reason)| reason);
        // Records are in order of time whatever the clock does.
        let now = (self.deps.clock)();
        folded.last_at = folded.last_at.max(now);
        let mut batch = Batch::default();
        for Request { command, reply, turn } in self.waiting.drain(..) {
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
        let applied = rows::position_row(rows::APPLIED, Lsn(first.0 + count as u64 - 1));
        let mut newest = self.opened.folded.unwritten.clone();
        newest.extend(rows);
        let claim = &mut self.opened.claim;
        let rows = newest.into_iter().map(|(key, value)| Row { key, value: Some(value) }).chain([applied]).collect();
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

    /// The state in memory has folded what is not durable: reads it again, then answers by what the log has.
    async fn fail(
        &mut self,
        error: AppendError,
        answers: Vec<Answer>,
        epoch: roomhook_log::Epoch,
        first: Lsn,
    ) -> Result<(), Exit> {
        let reason = error.to_string();
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
            return match error {
                // Another process owns the directory: claiming it back would start a fight.
                AppendError::Fenced { .. } => Err(self.refuse_all(&reason).await),
                _ => Err(Exit::Reopen(reason)),
            };
        }
        let Ok(opened) = open(&self.deps).await else {
            answers.into_iter().for_each(|answer| answer.tell_unknown(&reason));
            return Err(Exit::Reopen(reason));
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

    /// Answers until the server stops.
    async fn refuse_all(&mut self, reason: &str) -> Exit {
        loop {
            tokio::select! {
                biased;
                request = self.inbox.recv() => match request {
                    Some(request) => request.reply.send(Err(ExecuteError::Unavailable(reason.to_owned()))),
                    None => return Exit::Stopped,
                },
                () = stopped(&mut self.deps.stop), if !self.inbox.is_closed() => self.inbox.close(),
            }
        }
    }
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
