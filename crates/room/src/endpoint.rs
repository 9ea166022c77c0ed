//! Webhook endpoints: app-wide facts that doors change and webhooks follow.

use crate::ids::{AppId, UnixMillis};

/// Names an endpoint within its app. The one that `live_config/*` manages is [`EndpointId::DEFAULT`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub String);

impl EndpointId {
    pub const DEFAULT: &'static str = "default";
}

/// A webhook URL of an app with its switches, secrets and policy. `None` in a policy field means: as the server's
/// configuration says.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub app: AppId,
    pub id: EndpointId,
    /// Empty = configured without URL: nothing is owed.
    pub url: String,
    /// Command words switched on, e.g. `Group.CallbackAfterSendMsg`.
    pub commands: Vec<String>,
    /// Tencent token: signs the query when enabled.
    pub token: Option<Token>,
    /// Standard Webhooks secrets (`whsec_…`), all active: each signs, for rotation.
    pub signing_secrets: Vec<String>,
    /// Only rooms whose id starts with this; empty = all.
    pub room_prefix: String,
    /// Emit `EventTime` as a string, as the seed's sample does.
    pub event_time_as_string: bool,
    /// Emit `OnlineOnlyFlag`, `GroupAtInfo` beside the seed's 12 fields.
    pub extra_fields: bool,
    pub order: Option<Order>,
    pub retry: Option<RetryProfile>,
    pub timeout_ms: Option<u32>,
    pub concurrency: Option<u32>,
    /// Extra trusted roots, PEM.
    pub extra_roots_pem: String,
    /// Client certificate chain and key for mutual TLS, PEM; both or none.
    pub client_cert_pem: String,
    pub client_key_pem: String,
    /// What becomes of a message when `Group.CallbackBeforeSendMsg` gets no usable answer.
    pub gate_failure: Option<GateFailure>,
    /// Shadow mode: the gate is asked and its verdicts are recorded, and every message goes on as it is.
    pub gate_shadow: Option<bool>,
    /// Paused by a person.
    pub paused: bool,
    /// Where a new endpoint starts reading.
    pub start: Start,
    /// Raised by each creation under the same id, so that cursors of a deleted namesake are not reused.
    pub generation: u64,
    /// When this generation was created, for people. The directory sets it while creating; doors leave it at zero.
    pub created_at: UnixMillis,
    /// Where the shards' logs ended when this generation was created, also by the directory. [`Start::Tail`] means from
    /// here on: whatever is sent after the creation was answered is owed however late the webhooks hear of the new
    /// endpoint, and whatever the clock does.
    pub begins: Positions,
    /// What was switched on before, oldest first, at most [`Endpoint::PAST_MAX`]. The directory keeps it: a message is
    /// owed by what was switched on when it was sent, however late the webhooks hear of a change.
    pub past: Vec<PastSwitches>,
}

/// The part of an endpoint that decides what it is owed, as it was until a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastSwitches {
    /// It held for the records before these: where the logs ended at some moment between the question for the change and
    /// its answer. So what was acknowledged before the question lies before, and what is sent after the answer does not.
    pub until: Positions,
    /// Without a URL nothing was owed.
    pub has_url: bool,
    pub commands: Vec<String>,
    pub room_prefix: String,
}

/// A place in the log of each shard: the number of the record that comes next there. Positions are compared, clocks are
/// not: a clock may step between two changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(pub Vec<u64>);

impl Positions {
    /// `None` where nobody knows: for shards that there are not, and for endpoints saved by releases that told times.
    #[must_use]
    pub fn of(&self, shard: u16) -> Option<u64> {
        self.0.get(usize::from(shard)).copied()
    }

    /// Whether no record lies between these and `later`.
    fn reach(&self, later: &Self) -> bool {
        self.0.len() == later.0.len() && self.0.iter().zip(&later.0).all(|(from, to)| from >= to)
    }
}

/// Tencent's callback token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub value: String,
    pub enabled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One delivery in flight per room.
    Room,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryProfile {
    /// Exponential with jitter, for a day, then parked.
    Durable,
    /// As durable, but what used up its retries is skipped instead of parked.
    DurableSkip,
    /// As the vendor: one try.
    Tencent,
}

/// What becomes of a message that the before-send gate could not decide (protocol: webhooks §1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateFailure {
    /// It goes on as if allowed.
    Pass,
    /// It is not sent; the sender gets 80003.
    Drop,
}

/// Where a new endpoint starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is appended after its creation.
    #[default]
    Tail,
    /// With the first record at or after this Unix time in milliseconds.
    Time(u64),
    /// With the oldest record there is.
    Oldest,
}

impl Endpoint {
    /// Changes of the switches that are remembered, not counting those between which nobody said anything. What was sent
    /// before them is long judged, unless so many come while the webhooks are looking away.
    pub const PAST_MAX: usize = 64;

    /// The past of an endpoint that replaces this one from where the logs end now.
    #[must_use]
    pub fn past_until(&self, next: &Self, ends: &Positions) -> Vec<PastSwitches> {
        let mut past = self.past.clone();
        let has_url = !self.url.is_empty();
        let same =
            has_url != next.url.is_empty() && self.commands == next.commands && self.room_prefix == next.room_prefix;
        if !same {
            let (commands, room_prefix) = (self.commands.clone(), self.room_prefix.clone());
            let begins = match past.last() {
                Some(before) => Some(&before.until),
                // One that starts further back held for what was before its creation, too (simulator, seed 51).
                None => Some(&self.begins).filter(|_| self.start == Start::Tail),
            };
            // What held for no record at all was as if it had never been.
            if begins.is_none_or(|begins| !begins.reach(ends)) {
                past.push(PastSwitches { until: ends.clone(), has_url, commands, room_prefix });
            }
            past.drain(..past.len().saturating_sub(Self::PAST_MAX));
        }
        past
    }

    /// An endpoint with nothing set: no URL, no commands, no secrets, every policy as the configuration says.
    #[must_use]
    pub fn new(app: AppId, id: EndpointId) -> Self {
        Self {
            app,
            id,
            url: String::new(),
            commands: Vec::new(),
            token: None,
            signing_secrets: Vec::new(),
            room_prefix: String::new(),
            event_time_as_string: false,
            extra_fields: false,
            order: None,
            retry: None,
            timeout_ms: None,
            concurrency: None,
            extra_roots_pem: String::new(),
            client_cert_pem: String::new(),
            client_key_pem: String::new(),
            gate_failure: None,
            gate_shadow: None,
            paused: false,
            start: Start::default(),
            generation: 0,
            created_at: UnixMillis(0),
            begins: Positions::default(),
            past: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Endpoint {
    /// Secrets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("app", &self.app)
            .field("id", &self.id)
            .field("commands", &self.commands)
            .field("token", &self.token)
            .field("signing_secrets", &format_args!("[{} redacted]", self.signing_secrets.len()))
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token([redacted], enabled: {})", self.enabled)
    }
}
