//! From outcomes to answers: the documented code for each way to fail, and the envelope around it.

use bytes::{BufMut, Bytes, BytesMut};
use roomhook_protocol::{
    codes::{self, Family},
    envelope::{ChatAnswer, Failure, LiveAnswer, RequestId},
    message::MessageError,
};
use roomhook_room::{IdError, Reject};
use roomhook_shard::ExecuteError;
use serde::Serialize;

use super::{body::BodyError, query::QueryError, route::Wrapping};
use crate::{auth::AuthError, publish::PublishError};

/// What a command answers: its payload, nothing, or why not.
pub(super) type Outcome<T> = Result<Option<T>, Failure>;

/// An answer as it goes out.
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) body: Bytes,
}

/// Most answers fit; larger ones grow.
const ANSWER_BYTES: usize = 256;

impl Answer {
    pub(super) fn new<T: Serialize>(wrapping: Wrapping, id: impl FnOnce() -> RequestId, outcome: Outcome<T>) -> Self {
        let code = outcome.as_ref().err().map_or(codes::OK, |failure| failure.code);
        let body = match (wrapping, outcome) {
            (Wrapping::Chat, Ok(Some(payload))) => encode(&ChatAnswer::ok(payload)),
            (Wrapping::Chat, Ok(None)) => encode(&ChatAnswer::<()>::done()),
            (Wrapping::Chat, Err(failure)) => encode(&ChatAnswer::<()>::failed(&failure)),
            (Wrapping::Live, Ok(Some(payload))) => encode(&LiveAnswer::ok(id(), payload)),
            (Wrapping::Live, Ok(None)) => encode(&LiveAnswer::<()>::done(id())),
            (Wrapping::Live, Err(failure)) => encode(&LiveAnswer::<()>::failed(id(), &failure)),
        };
        Self { code, body }
    }
}

fn encode(answer: &impl Serialize) -> Bytes {
    let mut text = BytesMut::with_capacity(ANSWER_BYTES);
    if let Err(error) = serde_json::to_writer((&mut text).writer(), answer) {
        // Our own types, into memory: only a mistake in this program gets here.
        tracing::error!(%error, "an answer could not be encoded");
        return Bytes::from_static(br#"{"ActionStatus":"FAIL","ErrorInfo":"internal error","ErrorCode":60013}"#);
    }
    text.freeze()
}

/// Turns errors of inner rings into the codes of one family of APIs (protocol: rest §1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Codes(pub(super) Family);

impl Codes {
    /// A room id that is none.
    pub(super) fn room_id(self, error: IdError) -> Failure {
        let code = match self.0 {
            Family::Group => codes::GROUP_ID_MALFORMED,
            family => family.bad_parameter(),
        };
        Failure::new(code, format!("room {error}"))
    }

    /// A user id that is none.
    pub(super) fn user_id(self, error: IdError) -> Failure {
        Failure::new(self.0.bad_parameter(), format!("user {error}"))
    }

    pub(super) fn account_missing(self, what: &'static str) -> Failure {
        let code = match self.0 {
            Family::Group => codes::GROUP_USER_MISSING,
            _ => codes::ACCOUNT_MISSING,
        };
        Failure::new(code, format!("{what} is no account of this app, import it first"))
    }

    /// The backend deadline passed (protocol: rest §1, 3 s).
    pub(super) fn late(self) -> Failure {
        let code = match self.0 {
            Family::Account => codes::ACCOUNT_TIMEOUT,
            _ => codes::HTTP_MALFORMED,
        };
        Failure::new(code, "timed out; the outcome is unknown, asking again is safe")
    }

    /// A receipt of another kind than the command's: a mistake in this program.
    pub(super) fn misfit(self) -> Failure {
        tracing::error!("the engine answered a command with another's receipt");
        Failure::of(self.0.internal())
    }

    pub(super) fn engine(self, error: ExecuteError) -> Failure {
        match error {
            ExecuteError::Rejected(reject) => self.reject(&reject),
            ExecuteError::Busy => {
                Failure::new(codes::TOO_MANY_REQUESTS, "the server is busy, nothing happened, try again")
            }
            ExecuteError::Unavailable(reason) => {
                Failure::new(self.0.internal(), format!("storage is not available, nothing happened: {reason}"))
            }
            ExecuteError::Unknown(reason) => {
                Failure::new(self.0.internal(), format!("the outcome is unknown, asking again is safe: {reason}"))
            }
        }
    }

    fn reject(self, reject: &Reject) -> Failure {
        let (live, group) = match reject {
            Reject::RoomMissing => (codes::ROOM_MISSING, codes::GROUP_MISSING),
            Reject::RoomExists => (codes::ROOM_ID_TAKEN, codes::GROUP_ID_TAKEN),
            Reject::RoomExistsOwned => (codes::ROOM_ID_TAKEN_OWNED, codes::GROUP_ID_TAKEN_OWNED),
            Reject::MessagesDisabled => (codes::ROOM_MUTED, codes::GROUP_MUTED),
            Reject::TooLong { .. } => (codes::MESSAGE_TOO_LONG, codes::MESSAGE_TOO_LONG),
        };
        let code = if self.0 == Family::Live { live } else { group };
        Failure::new(code, reject.to_string())
    }

    pub(super) fn publish(self, error: PublishError) -> Failure {
        match error {
            PublishError::Message(error @ MessageError::TooLong { .. }) => {
                Failure::new(codes::MESSAGE_TOO_LONG, error.to_string())
            }
            PublishError::Message(error) => Failure::new(self.0.bad_parameter(), error.to_string()),
            PublishError::SenderMissing => self.account_missing("the sender"),
            PublishError::Refused { code, info } => Failure::new(code, info),
            PublishError::Engine(error) => self.engine(error),
            PublishError::Late => self.late(),
        }
    }
}

pub(super) fn of_query(error: QueryError) -> Failure {
    Failure::new(codes::URL_MALFORMED, error.to_string())
}

pub(super) fn of_auth(error: &AuthError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

/// A body that cannot be had: too large is "message too long" where the body is a message, and bad HTTP elsewhere.
pub(super) fn of_body(error: BodyError, sends_message: bool) -> Failure {
    let code = match error {
        BodyError::TooLarge { .. } if sends_message => codes::MESSAGE_TOO_LONG,
        BodyError::TooLarge { .. } | BodyError::Late | BodyError::Broken => codes::HTTP_MALFORMED,
    };
    Failure::new(code, error.to_string())
}
