//! A sender: a task that owns one connection and posts one delivery after the other, as the engine hands them out.

use std::sync::{Arc, atomic::Ordering};

use roomhook_log::{Key, LogId, ReadError};
use tokio::time::Instant;

use crate::{
    alarm::Alarm,
    engine::{Content, DeliveryId, EventPos, Job},
    http::{Channel, Report, SendError},
    plan,
    settings::{Destination, Settings},
    shared::{Outcome, Shared, World},
};

/// Sends until the endpoint has had nothing to send for a while, or is stopping. When it ends in the middle of an attempt
/// (aborted, or by a panic), the delivery goes back to the engine.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut channel = shared.world.transport.channel();
    let mut alarm = Alarm::default();
    let mut next = shared.next_job();
    loop {
        match next.take() {
            Some(job) => {
                let settings = shared.settings.load_full();
                let mut held = Held { shared: &shared, job: Some(&job) };
                let outcome = attempt(&shared.world, &settings, channel.as_mut(), &job, None).await;
                held.job = None;
                drop(held);
                next = shared.settle(&job, &outcome);
            }
            None if shared.is_stopping() => return,
            None => match wait(&shared, channel.as_mut(), &mut alarm).await {
                Waited::Woken(job) => next = job.map(|job| *job),
                Waited::TooLong => return,
            },
        }
    }
}

/// Gives a delivery back if its sender ends before it is settled: its room would wait for ever.
struct Held<'a> {
    shared: &'a Shared,
    job: Option<&'a Job>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.job {
            self.shared.give_back(job);
        }
    }
}

enum Waited {
    Woken(Option<Box<Job>>),
    TooLong,
}

/// Waits for work, keeping an eye on the idle connection.
async fn wait(shared: &Shared, channel: &mut dyn Channel, alarm: &mut Alarm) -> Waited {
    let mut notified = std::pin::pin!(shared.work.notified());
    // Listening before looking once more, so that no wake-up falls between the two.
    notified.as_mut().enable();
    shared.idle_senders.fetch_add(1, Ordering::AcqRel);
    let waited = match shared.next_job() {
        Some(job) => Waited::Woken(Some(Box::new(job))),
        None if shared.is_stopping() => Waited::TooLong,
        None => tokio::select! {
            biased;
            () = notified => Waited::Woken(None),
            () = channel.closed() => Waited::Woken(None),
            () = alarm.until(Instant::now() + shared.world.config.idle) => Waited::TooLong,
        },
    };
    shared.idle_senders.fetch_sub(1, Ordering::AcqRel);
    match waited {
        Waited::Woken(None) => Waited::Woken(shared.next_job().map(Box::new)),
        waited => waited,
    }
}

/// Makes one attempt. `elsewhere` sends it to another URL than the endpoint's.
pub(crate) async fn attempt(
    world: &World,
    settings: &Settings,
    channel: &mut dyn Channel,
    job: &Job,
    elsewhere: Option<&Destination>,
) -> Outcome {
    let fetched;
    let content = match &job.content {
        Some(content) => content,
        None => match fetch(world, settings, job).await {
            Ok(Some(content)) => {
                fetched = content;
                &fetched
            }
            Ok(None) => return Outcome::Gone,
            Err(error) => {
                tracing::warn!(shard = job.id.shard, lsn = %job.id.pos.lsn, %error, "cannot read an event to send it again");
                return Outcome::Untried;
            }
        },
    };
    match settings.request(job, content, elsewhere, world.wall()) {
        Ok(request) => Outcome::Answered(channel.send(&request).await),
        Err(reason) => Outcome::Answered(Report::failed(SendError::Settings(reason))),
    }
}

/// Reads the content of an event again. `None`: retention has dropped it.
async fn fetch(world: &World, settings: &Settings, job: &Job) -> Result<Option<Content>, ReadError> {
    let DeliveryId { shard, pos: EventPos { lsn, index } } = job.id;
    let log = LogId(shard);
    // By its room, which has an index: a stream would read on, up to a megabyte for this one record.
    let records = world.log.of_key(log, &Key(job.room.clone()), lsn, lsn.next(), 1).await?;
    let Some(record) = records.first() else { return Ok(None) };
    plan::content_at(record, index, settings.style).map_err(|error| ReadError::Corrupt {
        log,
        at: lsn,
        reason: error.to_string(),
    })
}
