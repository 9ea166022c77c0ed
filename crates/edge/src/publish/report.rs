//! Telling the app's backend of messages that were not sent (protocol: webhooks §1.7 and §3,
//! `Group.CallbackSendMsgException`).

use std::{borrow::Cow, time::Duration};

use roomhook_protocol::{
    codes,
    message::{Content, Limits, custom_body, text_body},
};
use roomhook_room::{Draft, MsgId, Origin, Priority, Receipt, Reject, RoomKey, UserId};
use roomhook_shard::ExecuteError;

use super::{Gate, Outgoing, PublishError, Published, Publisher, Says};

/// `Type` of rooms that are none, or whose shard is too busy to be asked.
const ROOM_TYPE: &str = "Live";
/// How long the room may take to say its type: the sender waits meanwhile.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// What is remembered of a message until it is known whether it was sent.
pub(super) struct Attempted<'a> {
    from: UserId,
    operator: UserId,
    origin: Origin,
    random: u32,
    says: Says<'a>,
}

impl<'a> Attempted<'a> {
    pub(super) fn of(outgoing: &Outgoing<'a>, random: u32) -> Self {
        let Outgoing { from, operator, origin, says, .. } = outgoing;
        Self { from: from.clone(), operator: operator.clone(), origin: *origin, random, says: *says }
    }

    /// As far as it can be told.
    fn draft(&self, limits: &Limits) -> Draft {
        let fits = |text: &str| text.len() <= limits.size_bytes_max;
        let owned = |body: bytes::Bytes| Cow::Owned(String::from_utf8_lossy(&body).into_owned());
        let (raw, custom_data) = match self.says {
            Says::Body { raw, custom_data } => (Cow::Borrowed(raw), custom_data),
            Says::Text { text, custom_data } if fits(text) => (owned(text_body(text)), custom_data),
            Says::Text { custom_data, .. } => (Cow::Borrowed(""), custom_data),
            Says::Custom { business_id, data } if fits(business_id) && fits(data) => {
                (owned(custom_body(business_id, data)), "")
            }
            Says::Custom { .. } => (Cow::Borrowed(""), ""),
        };
        let Content { body, custom_data } = Content::attempted(&raw, custom_data, limits);
        Draft {
            from: self.from.clone(),
            operator: self.operator.clone(),
            origin: self.origin,
            random: self.random,
            content: None,
            msg_id: MsgId { account: 0, secs: 0, random: self.random },
            priority: Priority::Normal,
            body,
            custom_data,
            forbid_after_hook: true,
        }
    }
}

impl Publisher {
    /// Reports a message that was not sent, if somebody wants to know and not too many reports wait.
    pub(super) async fn tell(&self, gate: &dyn Gate, key: RoomKey, attempted: &Attempted<'_>, code: i32, info: &str) {
        // The place first: a flood of bad messages costs the room no look, and nobody the work of writing reports.
        let Some(report) = gate.report(&key) else { return };
        let view = tokio::time::timeout(LOOK_MAX, self.router.view(key)).await;
        let room_type = match &view {
            Ok(Ok(Some(view))) => view.info.room_type.as_str(),
            _ => ROOM_TYPE,
        };
        report.tell(room_type, &attempted.draft(&self.limits), code, info);
    }
}

/// Why a message that was understood was not sent, in the codes of `group_open_http_svc`. `None` for what was sent,
/// discarded on purpose, or may have been sent.
pub(super) fn failure(published: &Result<Published, PublishError>) -> Option<(i32, String)> {
    let of = |code: i32| Some((code, codes::text(code).unwrap_or_default().to_owned()));
    match published {
        Ok(Published::Answered(Receipt::Dropped { .. })) => of(codes::GROUP_MESSAGE_RATE),
        Ok(_) => None,
        Err(PublishError::Message(error)) => Some((error.code(), error.to_string())),
        Err(PublishError::SenderMissing) => of(codes::GROUP_USER_MISSING),
        Err(PublishError::Refused { code, info }) => Some((*code, info.clone())),
        Err(PublishError::Engine(ExecuteError::Rejected(reject))) => match reject {
            Reject::RoomMissing => of(codes::GROUP_MISSING),
            Reject::MessagesDisabled => of(codes::GROUP_MUTED),
            Reject::TooLong { .. } => Some((codes::MESSAGE_TOO_LONG, reject.to_string())),
            Reject::RoomExists | Reject::RoomExistsOwned => None,
        },
        Err(PublishError::Engine(ExecuteError::Busy)) => of(codes::TOO_MANY_REQUESTS),
        Err(PublishError::Engine(ExecuteError::Unavailable(_))) => of(codes::GROUP_INTERNAL),
        Err(PublishError::Engine(ExecuteError::Unknown(_)) | PublishError::Late) => None,
    }
}
