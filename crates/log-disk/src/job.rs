//! What the committer is asked to do, and what is told when it is done.

use bytes::Bytes;
use roomhook_log::{AppendError, Claim, Epoch, Expect, LogId, Lsn, NewRecord, NodeId, Row};
use tokio::sync::oneshot;

use crate::space::Purpose;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, AppendError>>;

/// Something to write about one log.
pub(crate) struct Job {
    pub(crate) log: LogId,
    pub(crate) what: What,
}

pub(crate) enum What {
    Claim { who: NodeId, expect: Expect, reply: Reply<Claim> },
    Append { epoch: Epoch, next: Lsn, records: Vec<NewRecord>, rows: Vec<Row>, reply: Reply<Lsn> },
    Put { epoch: Epoch, rows: Vec<Row>, reply: Reply<()> },
    Trim { epoch: Epoch, up_to: Lsn, reply: Reply<()> },
}

/// What is done between two frames, when everything before it is written.
pub(crate) enum Errand {
    /// Drops whatever retention allows, at once.
    Retain {
        reply: Reply<()>,
    },
    Close {
        reply: Reply<()>,
    },
}

impl Job {
    /// About as many bytes as this adds to a frame.
    pub(crate) fn bytes(&self) -> u64 {
        let row = |row: &Row| row.key.len() + row.value.as_ref().map_or(0, Bytes::len) + 16;
        let record = |record: &NewRecord| record.key.0.len() + record.payload.len() + 32;
        let bytes: usize = match &self.what {
            // The owner's rows do not go into the frame, but they are written as well.
            What::Append { records, rows, .. } => {
                records.iter().map(record).sum::<usize>() + rows.iter().map(row).sum::<usize>()
            }
            What::Put { rows, .. } => rows.iter().map(row).sum(),
            What::Claim { .. } | What::Trim { .. } => 128,
        };
        bytes as u64
    }

    /// Whether it can wait a little for something to ride along with.
    pub(crate) fn is_patient(&self) -> bool {
        matches!(self.what, What::Put { .. } | What::Trim { .. })
    }

    /// What it is for. The owner's rows without records count as records: that is how owners find out whether records
    /// are taken again.
    pub(crate) fn purpose(&self) -> Purpose {
        match self.what {
            What::Append { .. } => Purpose::Records,
            What::Claim { .. } | What::Put { .. } | What::Trim { .. } => Purpose::Upkeep,
        }
    }

    pub(crate) fn fail(self, error: AppendError) {
        // A caller that went away does not want to know.
        match self.what {
            What::Claim { reply, .. } => drop(reply.send(Err(error))),
            What::Append { reply, .. } => drop(reply.send(Err(error))),
            What::Put { reply, .. } | What::Trim { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// An answer that becomes true when the frame is durable.
pub(crate) enum Answer {
    Claim(Reply<Claim>, Claim),
    Append { reply: Reply<Lsn>, last: Lsn, expected: Lsn },
    Done(LogId, Reply<()>),
}

impl Answer {
    pub(crate) fn tell(self) {
        match self {
            Self::Claim(reply, claim) => drop(reply.send(Ok(claim))),
            Self::Append { reply, last, .. } => drop(reply.send(Ok(last))),
            Self::Done(_, reply) => drop(reply.send(Ok(()))),
        }
    }

    /// The write failed: it may be on the disk all the same.
    pub(crate) fn tell_failed(self, reason: &str) {
        let poisoned = |log| AppendError::Poisoned { log, reason: reason.to_owned() };
        match self {
            Self::Append { reply, expected, .. } => {
                drop(reply.send(Err(AppendError::Ambiguous { expected, reason: reason.to_owned() })));
            }
            Self::Claim(reply, claim) => drop(reply.send(Err(poisoned(claim.log)))),
            Self::Done(log, reply) => drop(reply.send(Err(poisoned(log)))),
        }
    }

    /// Nothing was written.
    pub(crate) fn tell_full(self, reason: &str) {
        let full = || AppendError::Full(reason.to_owned());
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(full()))),
            Self::Claim(reply, _) => drop(reply.send(Err(full()))),
            Self::Done(_, reply) => drop(reply.send(Err(full()))),
        }
    }
}
