//! What waits in a shard's inbox.

use roomhook_log::Lsn;
use roomhook_room::{
    Command, DedupKey, Foreseen, Incarnation, MsgSeq, Receipt, RoomInfo, RoomKey, Statistic, UnixMillis, UserId,
};

use crate::{
    error::ExecuteError,
    inbox::{Refuse, Reply},
};

pub(crate) type ExecuteReply = Reply<Receipt>;

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
    View(Reply<Option<RoomView>>),
    /// See [`roomhook_room::foresee`].
    Foresee {
        from: UserId,
        key: Option<DedupKey>,
        reply: Reply<Foreseen>,
    },
}

impl Question {
    /// Answers without having looked.
    pub(crate) fn refuse(self, error: ExecuteError) {
        match self {
            Self::View(reply) => reply.send(Err(error)),
            Self::Foresee { reply, .. } => reply.send(Err(error)),
        }
    }
}

impl Request {
    pub(crate) fn room(&self) -> &RoomKey {
        match self {
            Self::Execute { room, .. } | Self::Ask { room, .. } => room,
        }
    }

    /// About what it brings into a batch, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Execute { command, .. } => bytes_of(command),
            Self::Ask { .. } => 0,
        }
    }
}

impl Refuse for Request {
    fn refuse(self, error: ExecuteError) {
        match self {
            Self::Execute { reply, .. } => reply.send(Err(error)),
            Self::Ask { question, .. } => question.refuse(error),
        }
    }
}

/// About what waits in memory with a command, besides its body: ids, and the caller's side of the answer.
pub(crate) const WEIGHT_MIN: usize = size_of::<Request>() + 256;

/// What a command weighs while it waits, in bytes.
pub(crate) fn weight_of(command: &Command) -> usize {
    WEIGHT_MIN + bytes_of(command)
}

/// About the length of a command's record.
fn bytes_of(command: &Command) -> usize {
    match command {
        Command::Send(draft) => 128 + draft.body.len() + draft.custom_data.len(),
        Command::Create(create) => {
            let RoomInfo { name, cover_url, background_url, custom_info, notice, seat_template, category, .. } =
                &create.info;
            let texts = [name, cover_url, background_url, custom_info, notice, seat_template];
            let texts: usize = texts.into_iter().map(String::len).sum();
            1024 + texts + size_of_val(&category[..])
        }
        Command::Destroy { .. } => 1024,
    }
}

/// A room as it was at `at`, all of it durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomView {
    pub info: RoomInfo,
    /// Of this life, and of the log: another one after the log lost its end.
    pub incarnation: Incarnation,
    pub created_at: UnixMillis,
    /// Number of the newest message.
    pub top: MsgSeq,
    pub statistic: Statistic,
    /// Everything in the shard's log up to here is in this view: a tail that starts after it misses and repeats nothing.
    pub at: Lsn,
}
