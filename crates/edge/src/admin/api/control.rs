//! What running webhooks show and do. The binary joins this to the webhooks; this crate does not know them.

use std::{fmt, str::FromStr};

use async_trait::async_trait;
use roomhook_room::{AppId, Endpoint, EndpointId, MsgSeq, RoomKey};

use super::{
    answers::{Attempt, EndpointState, EventPage, Held, MessageTrail, Question, ReplayState},
    error::ApiError,
};

/// Names an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointRef {
    pub app: AppId,
    pub id: EndpointId,
}

/// A [`DeliveryRef`], as the document has it: a shard below 65,536, a position, an index.
pub(super) const DELIVERY: &str =
    "(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])-[0-9]{1,19}-[0-9]{1,9}";

/// Names a delivery of an endpoint by its event: `<shard>-<position>-<index>`. The same event has the same name for every
/// endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryRef {
    pub shard: u16,
    pub position: u64,
    pub index: u32,
}

impl fmt::Display for DeliveryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.position, self.index)
    }
}

impl FromStr for DeliveryRef {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let parse = || {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            let mut parts = text.split('-').filter(|_| is_plain);
            let delivery = Self {
                shard: parts.next()?.parse().ok()?,
                position: parts.next()?.parse().ok()?,
                index: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(delivery)
        };
        parse().ok_or_else(|| ApiError::field("delivery", format!("{text:?} names none; it looks like 2-1871-0")))
    }
}

/// What to send again.
#[derive(Clone, Debug)]
pub struct Replay {
    pub what: What,
    /// Another URL than the endpoint's own.
    pub to: Option<String>,
    /// Events per second, not 0.
    pub per_s: std::num::NonZeroU32,
}

#[derive(Clone, Debug)]
pub enum What {
    One(DeliveryRef),
    /// Messages `from..=to` of a room.
    Room {
        room: RoomKey,
        from: MsgSeq,
        to: MsgSeq,
    },
    /// Unix milliseconds, inclusive.
    Time {
        from: u64,
        to: u64,
    },
    Parked,
}

/// Asks and steers running webhooks.
#[async_trait]
pub trait WebhookControl: Send + Sync + fmt::Debug {
    /// `None`: not running (yet).
    fn state(&self, endpoint: &EndpointRef) -> Option<EndpointState>;

    /// Attempts of late, newest first; failures are remembered longer.
    fn attempts(&self, endpoint: &EndpointRef, failures: bool, limit: usize) -> Result<Vec<Attempt>, ApiError>;

    /// Deliveries that fail on their own, off the path of their room.
    fn set_aside(&self, endpoint: &EndpointRef, limit: usize) -> Result<Vec<Held>, ApiError>;

    /// Deliveries that used up their retries, those after `after`.
    async fn parked(
        &self,
        endpoint: &EndpointRef,
        after: Option<DeliveryRef>,
        limit: usize,
    ) -> Result<Vec<Held>, ApiError>;

    /// Gives up on a delivery that is parked or set aside.
    async fn skip(&self, endpoint: &EndpointRef, delivery: DeliveryRef) -> Result<(), ApiError>;

    /// Gives a parked delivery a second life, or tries one that is set aside at once.
    async fn retry(&self, endpoint: &EndpointRef, delivery: DeliveryRef) -> Result<(), ApiError>;

    /// Ends the waiting of an endpoint that was paused for failing.
    fn resume(&self, endpoint: &EndpointRef) -> Result<(), ApiError>;

    /// Whether an endpoint could be used as it is set: certificates, keys, secrets, URL. Names the first setting that could not.
    fn check(&self, endpoint: &Endpoint) -> Result<(), ApiError>;

    /// Starts a replay, which goes on by itself from then on, across restarts.
    async fn start_replay(&self, endpoint: &EndpointRef, replay: Replay) -> Result<ReplayState, ApiError>;

    /// All that run, and the last that ended; newest first.
    fn replays(&self) -> Vec<ReplayState>;

    fn replay(&self, number: u64) -> Result<ReplayState, ApiError>;

    /// Ends a replay for good; one that has ended stays as it is.
    async fn stop_replay(&self, number: u64) -> Result<ReplayState, ApiError>;

    /// Sends an event that never happened.
    async fn test(&self, endpoint: &EndpointRef) -> Result<Attempt, ApiError>;

    async fn trail(&self, room: &RoomKey, seq: MsgSeq) -> Result<MessageTrail, ApiError>;

    /// What an endpoint is owed after a cursor; `None`: from the oldest there is. Bounded work: a page may be empty and not the
    /// last.
    async fn events(&self, endpoint: &EndpointRef, after: Option<&str>, limit: usize) -> Result<EventPage, ApiError>;

    /// The end of all logs as of now, as a cursor.
    async fn end(&self) -> Result<String, ApiError>;

    /// What the before-send gate asked of late, newest first.
    fn questions(&self, app: AppId) -> Vec<Question>;
}
