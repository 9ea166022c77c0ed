//! The one way of a message from any door to its room: limits, sender, gate, shard.

mod report;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use roomhook_protocol::message::{Content, Limits, MessageError};
use roomhook_room::{
    Command, ContentHash, Draft, MsgId, Origin, Priority, Receipt, Reject, RoomId, RoomKey, UnixMillis, UserId,
};
use roomhook_shard::{Directory, ExecuteError, ImportAccount, Router};

use crate::{apps::App, services::Entropy};
use report::Attempted;

/// A message as a door understood it.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub room: RoomId,
    /// `From_Account`: must be an account of the app.
    pub from: UserId,
    /// `Operator_Account`: the sender for clients, the calling admin for REST.
    pub operator: UserId,
    pub origin: Origin,
    /// The number by which the sender's repeats are known, as long as they say the same; `None` where the API has none, or the
    /// sender left it out: the server draws one, and nothing is a repeat.
    pub random: Option<u32>,
    pub priority: Priority,
    pub says: Says<'a>,
    /// `ForbidBeforeSendMsgCallback`: the gate is not asked.
    pub forbid_before_hook: bool,
    /// `ForbidAfterSendMsgCallback`: no after-send webhook is owed.
    pub forbid_after_hook: bool,
}

/// What a message says, in the forms that doors take (protocol: messages §3).
#[derive(Clone, Copy, Debug)]
pub enum Says<'a> {
    /// `MsgBody` as JSON text, not yet checked, and `CloudCustomData`.
    Body { raw: &'a str, custom_data: &'a str },
    /// `send_text_msg`: becomes one `TIMTextElem`.
    Text { text: &'a str, custom_data: &'a str },
    /// `send_custom_msg`: becomes one `TIMCustomElem`.
    Custom { business_id: &'a str, data: &'a str },
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("the sender is no account of this app, import it first")]
    SenderMissing,
    /// The gate said no, with the code and text for the sender.
    #[error("{info}")]
    Refused { code: i32, info: String },
    #[error(transparent)]
    Engine(#[from] ExecuteError),
    /// The backend deadline passed. The message may have been sent: repeating it with the same `Random` is safe.
    #[error("no answer within the time limit; repeat with the same Random to learn the outcome")]
    Late,
}

/// Asks the app's backend before a message is sent, and tells it of messages that could not be sent. Implemented by the
/// webhooks, joined in the binary.
///
/// Asked about each message that passed form, size and sender checks. An implementation bounds its own time.
#[async_trait]
pub trait Gate: Send + Sync + fmt::Debug {
    /// Whether messages of this room are asked about or reported at all. Called for each message: look, do not work.
    fn is_on(&self, room: &RoomKey) -> bool;

    /// Waits until the sender's earlier messages have gone on. `None`: nobody is asked about messages of this room.
    async fn line_up(&self, room: &RoomKey, from: &UserId) -> Option<Box<dyn Turn>>;

    /// A place for telling that a message of this room was not sent. `None`: nobody wants to know, or too many wait to be
    /// told already. Must not wait.
    fn report(&self, room: &RoomKey) -> Option<Box<dyn Report>>;
}

/// Tells of one message that was understood and not sent.
pub trait Report: Send + fmt::Debug {
    /// `attempted`: as far as it can be told (see [`Content::attempted`]); its `MsgId` means nothing. `code` is of
    /// `group_open_http_svc`, whichever door the message came through. Must not wait.
    fn tell(self: Box<Self>, room_type: &str, attempted: &Draft, code: i32, info: &str);
}

/// The turn of one message. Dropped once the message has its place in the room (or will not get one), which lets the
/// sender's next message go: so verdicts and messages have the same order.
#[async_trait]
pub trait Turn: Send + fmt::Debug {
    /// What the app's backend says of the message. `room_type`: `Type` in its webhook.
    async fn ask(&mut self, room_type: &str, draft: &Draft) -> Verdict;
}

/// What the gate says of one message (protocol: webhooks §1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// Send this instead. Both parts in the forms that [`Draft`] carries, checked by the gate.
    Replace {
        body: Bytes,
        custom_data: Bytes,
    },
    /// Tell the sender it was sent, and send nothing.
    Discard,
    Refuse {
        code: i32,
        info: String,
    },
}

/// What became of a message that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// With the room's own receipt: sent, repeated, or dropped by rate control.
    Answered(Receipt),
    /// The gate discarded it: success for the sender.
    Discarded { at: UnixMillis },
}

/// Sends messages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    router: Router,
    directory: Directory,
    gate: Option<Arc<dyn Gate>>,
    limits: Limits,
    entropy: Entropy,
    backend_timeout: Duration,
}

impl Publisher {
    /// `backend_timeout`: how long a shard may take to answer (protocol: rest §1, 3 s).
    pub fn new(
        router: Router,
        directory: Directory,
        gate: Option<Arc<dyn Gate>>,
        limits: Limits,
        entropy: Entropy,
        backend_timeout: Duration,
    ) -> Self {
        Self { router, directory, gate, limits, entropy, backend_timeout }
    }

    /// Sends one message and waits for its receipt. `now` is the time of the request.
    ///
    /// # Errors
    /// The first reason in the order of protocol: webhooks §1.7: the room, the size, the sender, then what the gate and
    /// the room say.
    ///
    /// Not cancel safe: a dropped call may or may not have sent the message.
    pub async fn send(&self, app: &App, outgoing: Outgoing<'_>, now: UnixMillis) -> Result<Published, PublishError> {
        let key = RoomKey { app: app.id, room: outgoing.room.clone() };
        // The low half of a good 64-bit generator is as random as the rest.
        let random = outgoing.random.unwrap_or_else(|| self.entropy.draw() as u32);
        let Some(gate) = self.gate.as_deref().filter(|gate| gate.is_on(&key)) else {
            return match self.draft(app, outgoing, random, now).await {
                Ok(draft) => self.execute(key, draft).await,
                Err(error) => Err(self.unless_room_is_missing(key, error).await),
            };
        };
        let attempted = Attempted::of(&outgoing, random);
        let forbid_before_hook = outgoing.forbid_before_hook;
        let published = match self.draft(app, outgoing, random, now).await {
            Err(error) => Err(self.unless_room_is_missing(key.clone(), error).await),
            Ok(draft) if forbid_before_hook => self.execute(key.clone(), draft).await,
            Ok(draft) => self.moderated(gate, key.clone(), draft, now).await,
        };
        if let Some((code, info)) = report::failure(&published) {
            self.tell(gate, key, &attempted, code, &info).await;
        }
        published
    }

    /// Asks the gate between the checks that come before it and those that come after (protocol: webhooks §1.7).
    async fn moderated(
        &self,
        gate: &dyn Gate,
        key: RoomKey,
        mut draft: Draft,
        now: UnixMillis,
    ) -> Result<Published, PublishError> {
        let Some(mut turn) = gate.line_up(&key, &draft.from).await else { return self.execute(key, draft).await };
        let foreseen = self.router.foresee(key.clone(), draft.from.clone(), draft.dedup_key());
        // A look that takes too long has sent nothing: the sender may try again.
        let foreseen = tokio::time::timeout(self.backend_timeout, foreseen).await.map_err(|_| ExecuteError::Busy)??;
        if let Some(sent) = foreseen.repeats {
            return Ok(Published::Answered(Receipt::Repeated(sent)));
        }
        match turn.ask(&foreseen.room_type, &draft).await {
            Verdict::Allow => {}
            Verdict::Replace { body, custom_data } => (draft.body, draft.custom_data) = (body, custom_data),
            Verdict::Discard => return Ok(Published::Discarded { at: now }),
            Verdict::Refuse { code, info } => return Err(PublishError::Refused { code, info }),
        }
        // The turn lasts until the receipt is here: the next message of this sender then finds this one in the window.
        self.execute(key, draft).await
    }

    async fn execute(&self, key: RoomKey, draft: Draft) -> Result<Published, PublishError> {
        let answer = self.router.execute(key, Command::Send(draft));
        let answer = tokio::time::timeout(self.backend_timeout, answer).await.map_err(|_| PublishError::Late)?;
        Ok(Published::Answered(answer?))
    }

    async fn draft(
        &self,
        app: &App,
        outgoing: Outgoing<'_>,
        number: u32,
        now: UnixMillis,
    ) -> Result<Draft, PublishError> {
        let Outgoing {
            room: _,
            from,
            operator,
            origin,
            random,
            priority,
            says,
            forbid_before_hook: _,
            forbid_after_hook,
        } = outgoing;
        let Content { body, custom_data } = match says {
            Says::Body { raw, custom_data } => Content::check(raw, custom_data, &self.limits),
            Says::Text { text, custom_data } => Content::text(text, custom_data, &self.limits),
            Says::Custom { business_id, data } => Content::custom(business_id, data, &self.limits),
        }?;
        let account = self.account_number(app, &from).await?;
        let msg_id = MsgId { account, secs: now.secs(), random: number };
        Ok(Draft {
            from,
            operator,
            origin,
            random: number,
            // Of what the sender sent: a repeat is one also after the gate replaced what the first one said.
            content: random.map(|_| ContentHash::of(&body, &custom_data)),
            msg_id,
            priority,
            body,
            custom_data,
            forbid_after_hook,
        })
    }

    /// The number of an account. App admins always have one: they get it when they first need it.
    async fn account_number(&self, app: &App, user: &UserId) -> Result<u64, PublishError> {
        if let Some(account) = self.directory.account(app.id, user.as_str()) {
            return Ok(account.number);
        }
        if !app.admins.contains(user) {
            return Err(PublishError::SenderMissing);
        }
        let import =
            self.directory.import(app.id, vec![ImportAccount { user: user.clone(), nick: None, face_url: None }]);
        // Nothing of the message was sent yet, whatever becomes of the account.
        tokio::time::timeout(self.backend_timeout, import).await.map_err(|_| ExecuteError::Busy)??;
        let account = self.directory.account(app.id, user.as_str());
        account.map(|account| account.number).ok_or(PublishError::SenderMissing)
    }

    /// A message that is wrong in itself is told so only if its room exists. Asked only on this way: a good message
    /// learns from the shard.
    async fn unless_room_is_missing(&self, key: RoomKey, error: PublishError) -> PublishError {
        let view = tokio::time::timeout(self.backend_timeout, self.router.view(key)).await;
        match (view, &error) {
            (Ok(Ok(None)), PublishError::Message(_) | PublishError::SenderMissing) => {
                ExecuteError::Rejected(Reject::RoomMissing).into()
            }
            _ => error,
        }
    }
}
