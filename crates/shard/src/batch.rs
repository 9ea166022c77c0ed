//! One batch: many commands decided, not yet durable.

use bytes::BytesMut;
use roomhook_log::{Lsn, NewRecord, limits::PAYLOAD_BYTES_MAX};
use roomhook_room::{Command, Facts, Receipt, Reject, RoomKey, UnixMillis, decide, encode_record_into, fold};

use crate::{
    cache::Cache,
    error::ExecuteError,
    request::{ExecuteReply, Question},
};

/// What was decided, and who waits to hear of it.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) first: Lsn,
    pub(crate) records: Vec<NewRecord>,
    pub(crate) bytes: usize,
    /// Rooms with records in here.
    pub(crate) touched: Vec<RoomKey>,
    answers: Vec<Answer>,
    /// Told once the batch is settled, so that nobody learns what may still fail.
    pub(crate) questions: Vec<(RoomKey, Question)>,
    buffer: BytesMut,
}

/// A decision that may be told once the first `needs` records of the batch are durable: its own, and all before it, of
/// which it may be a consequence.
#[derive(Debug)]
struct Answer {
    reply: ExecuteReply,
    decision: Result<Receipt, Reject>,
    needs: usize,
    wrote: bool,
}

/// A record that the log would refuse, together with the whole batch and all who wait for it, is refused here alone.
fn fits(payload: &[u8]) -> Result<(), Reject> {
    match payload.len() {
        bytes if bytes > PAYLOAD_BYTES_MAX => Err(Reject::TooLong { bytes, max: PAYLOAD_BYTES_MAX }),
        _ => Ok(()),
    }
}

impl Batch {
    pub(crate) fn new(first: Lsn, records: usize, bytes: usize) -> Self {
        Self {
            first,
            records: Vec::with_capacity(records),
            bytes: 0,
            touched: Vec::new(),
            answers: Vec::with_capacity(records),
            questions: Vec::new(),
            // A record is its bodies and some 100 bytes; requests count 128 each.
            buffer: BytesMut::with_capacity(bytes),
        }
    }

    /// Position after the last record.
    pub(crate) fn end(&self) -> Lsn {
        Lsn(self.first.0 + self.records.len() as u64)
    }

    /// Decides one command and folds what it does, so that the commands after it see it.
    pub(crate) fn decide(
        &mut self,
        cache: &mut Cache,
        room: RoomKey,
        command: Command,
        facts: &Facts,
        now: UnixMillis,
        reply: ExecuteReply,
    ) -> Option<Reject> {
        let at = self.end();
        let Some(slot) = cache.get_mut(&room) else {
            // The owner has loaded every room it hands over.
            reply.send(Err(ExecuteError::Unavailable("the room could not be read".into())));
            return None;
        };
        let (decision, wrote) = match decide(&slot.room, facts, command, now) {
            Ok(outcome) if outcome.events.is_empty() => (Ok(outcome.receipt), false),
            Ok(outcome) => {
                let payload = encode_record_into(&outcome.events, &mut self.buffer);
                if let Err(reject) = fits(&payload) {
                    self.answers.push(Answer {
                        reply,
                        decision: Err(reject.clone()),
                        needs: self.records.len(),
                        wrote: false,
                    });
                    return Some(reject);
                }
                outcome.events.iter().for_each(|event| fold(&mut slot.room, event));
                self.bytes += payload.len();
                self.records.push(NewRecord { key: slot.key.clone(), at_ms: now.0, payload });
                if slot.note(at) {
                    self.touched.push(room);
                }
                (Ok(outcome.receipt), true)
            }
            Err(reject) => (Err(reject), false),
        };
        let reject = decision.as_ref().err().cloned();
        self.answers.push(Answer { reply, decision, needs: self.records.len(), wrote });
        reject
    }

    /// The records are about to be handed to the log.
    pub(crate) fn append_begins(&mut self) {
        self.answers.iter_mut().filter(|answer| answer.wrote).for_each(|answer| answer.reply.append_begins());
    }

    // === telling ===

    /// The batch is durable.
    pub(crate) fn release(&mut self) {
        let records = self.records.len();
        self.release_prefix(records, "");
    }

    /// The first `durable` records are in the log, the others are not.
    pub(crate) fn release_prefix(&mut self, durable: usize, reason: &str) {
        for answer in self.answers.drain(..) {
            let told = if answer.needs <= durable {
                answer.decision.map_err(ExecuteError::Rejected)
            } else {
                Err(ExecuteError::Unavailable(reason.to_owned()))
            };
            answer.reply.send(told);
        }
    }

    /// Nobody knows which records are in the log.
    pub(crate) fn release_unknown(&mut self, reason: &str) {
        for answer in self.answers.drain(..) {
            let told = match answer.needs {
                0 => answer.decision.map_err(ExecuteError::Rejected),
                _ if answer.wrote => Err(ExecuteError::Unknown(reason.to_owned())),
                _ => Err(ExecuteError::Unavailable(reason.to_owned())),
            };
            answer.reply.send(told);
        }
    }

    pub(crate) fn refuse_questions(&mut self, reason: &str) {
        for (_, question) in self.questions.drain(..) {
            question.refuse(ExecuteError::Unavailable(reason.to_owned()));
        }
    }
}
