//! What waits in a shard's inbox.

use roomhook_log::Lsn;
use roomhook_room::{
    Command, DedupKey, Foreseen, Incarnation, MsgSeq, Receipt, RoomInfo, RoomKey, Statistic, UnixMillis, UserId,
};
use tokio::sync::oneshot;

use crate::error::ExecuteError;

pub(crate) type ExecuteReply = oneshot::Sender<Result<Receipt, ExecuteError>>;
pub(crate) type ViewReply = oneshot::Sender<Result<Option<RoomView>, ExecuteError>>;
pub(crate) type ForeseeReply = oneshot::Sender<Result<Foreseen, ExecuteError>>;

/// Something asked of a shard. One channel for all, so that a caller who waits for a receipt sees it in its next view.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all requests are messages: a box would cost each an allocation")]
pub(crate) enum Request {
    Execute { room: RoomKey, command: Command, reply: ExecuteReply },
    Ask { room: RoomKey, question: Question },
}

/// What can be asked of a room without changing it.
#[derive(Debug)]
pub(crate) enum Question {
    View(ViewReply),
    /// See [`roomhook_room::foresee`].
    Foresee {
        from: UserId,
        key: Option<DedupKey>,
        reply: ForeseeReply,
    },
}

impl Question {
    /// Answers without having looked.
    pub(crate) fn refuse(self, error: ExecuteError) {
        // A caller that is gone needs no answer.
        match self {
            Self::View(reply) => drop(reply.send(Err(error))),
            Self::Foresee { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

impl Request {
    pub(crate) fn room(&self) -> &RoomKey {
        match self {
            Self::Execute { room, .. } | Self::Ask { room, .. } => room,
        }
    }

    /// What it brings into a batch, in bytes. Only messages are of a size that matters.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Execute { command: Command::Send(draft), .. } => 128 + draft.body.len() + draft.custom_data.len(),
            Self::Execute { .. } => 1024,
            Self::Ask { .. } => 0,
        }
    }

    /// Answers without having done anything.
    pub(crate) fn refuse(self, error: ExecuteError) {
        // A caller that is gone needs no answer.
        match self {
            Self::Execute { reply, .. } => drop(reply.send(Err(error))),
            Self::Ask { question, .. } => question.refuse(error),
        }
    }
}

/// A room as it was at `at`, all of it durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomView {
    pub info: RoomInfo,
    pub incarnation: Incarnation,
    pub created_at: UnixMillis,
    /// Number of the newest message.
    pub top: MsgSeq,
    pub statistic: Statistic,
    /// Everything in the shard's log up to here is in this view: a tail that starts after it misses and repeats nothing.
    pub at: Lsn,
}
