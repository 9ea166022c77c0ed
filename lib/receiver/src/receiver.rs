//! The core: request in, verdict out; then, once the app has done its work, the commit.

use roomhook_protocol::webhook::Event;

use crate::config::Config;
use crate::error::Error;
use crate::numbered;
use crate::request::{Query, Request};
use crate::tracker::{Notice, OpenGap, Standing, Tracker};
use crate::verify::verify;

/// Time as the core wants it: Unix milliseconds, from the caller.
pub type UnixMillis = u64;

/// Verifies and parses webhooks, and remembers what was handled. No I/O, no clock, no threads: put it behind a mutex to share it, and do
/// not hold the lock while the app works.
///
/// A webhook is taken in two steps, so that a crash between them loses nothing: [`Receiver::begin`] says what came and changes
/// nothing; [`Receiver::commit`], called when the app's own work is durable, remembers it. An attempt whose handler failed or never
/// ended stays new, and the sender's next attempt is handed out again.
///
/// ```
/// use roomhook_receiver::{Config, Receiver, Request, Standing};
///
/// let mut receiver = Receiver::new(Config::new(1_400_000_001));
/// let body = br#"{"CallbackCommand":"Group.CallbackAfterSendMsg","GroupId":"lobby","Type":"Live","From_Account":"ana_k",
///     "Operator_Account":"ana_k","Random":7,"MsgId":"144115188075855873-1767225663-7","MsgSeq":1,"MsgTime":1767225663,
///     "MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi"}}],"CloudCustomData":"","EventTime":"1767225663418"}"#;
/// let request = Request::new("SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json", body);
/// let now = 1_767_225_663_500;
///
/// let received = receiver.begin(&request, now)?;
/// assert_eq!(received.standing(), &Standing::First);
/// // … the app stores the message; only then:
/// receiver.commit(&received, now);
///
/// assert!(receiver.begin(&request, now)?.is_repeat());
/// # Ok::<(), roomhook_receiver::Error>(())
/// ```
#[derive(Debug)]
pub struct Receiver {
    config: Config,
    tracker: Tracker,
}

/// A genuine webhook that was read, not yet remembered as handled.
#[derive(Debug, Clone)]
pub struct Received {
    event: Event,
    standing: Standing,
    delivery: Delivery,
}

/// What is known of the request that brought an event. None of it is covered by a signature but the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `webhook-id`: the same over all attempts of one delivery. Absent with senders that do not speak Standard Webhooks.
    pub webhook_id: Option<String>,
    /// `roomhook-attempt`: from 1.
    pub attempt: Option<u32>,
    /// `ClientIP`: whose action caused the event.
    pub client_ip: Option<String>,
    /// `OptPlatform`: `RESTAPI`, `Web`, `Android`, … as sent.
    pub platform: Option<String>,
}

impl Receiver {
    /// A receiver that remembers nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let tracker = Tracker::new(config.limits.clone());
        Self { config, tracker }
    }

    /// Verifies and reads one request and says where it stands among those handled. Changes nothing.
    ///
    /// # Errors
    /// If the request is not genuine or cannot be read. Answer [`Error::status`].
    pub fn begin(&self, request: &Request<'_>, now: UnixMillis) -> Result<Received, Error> {
        if let Some(name) = request.repeated {
            return Err(Error::RepeatedHeader { name });
        }
        let query = Query::parse(request.query)?;
        verify(&self.config, request, &query, now / 1000)?;
        let event = numbered::parse(&query, request.body)?;
        let standing = match numbered::key(&event) {
            Some(key) => self.tracker.standing(key.borrow()),
            None if numbered::is_question(&event) => Standing::Unnumbered,
            None => self.tracker.event_standing(request.webhook_id),
        };
        let delivery = Delivery {
            webhook_id: request.webhook_id.map(str::to_owned),
            attempt: request.attempt.and_then(|attempt| attempt.parse().ok()),
            client_ip: query.client_ip.map(Into::into),
            platform: query.platform.map(Into::into),
        };
        Ok(Received { event, standing, delivery })
    }

    /// Remembers an event as handled, so that it is a repeat from now on. Call it after the app's work is durable and before the answer
    /// is sent. Committing a repeat is harmless.
    ///
    /// Says what the event taught about missing numbers; most callers log it.
    pub fn commit(&mut self, received: &Received, now: UnixMillis) -> Vec<Notice> {
        if let Some(key) = numbered::key(&received.event) {
            return self.tracker.commit(key.borrow(), now);
        }
        if numbered::is_question(&received.event) {
            return Vec::new();
        }
        self.tracker.commit_event(received.delivery.webhook_id.as_deref());
        match numbered::dissolved_room(&received.event) {
            Some(room) => self.tracker.end(room),
            None => Vec::new(),
        }
    }

    /// Takes it as known that all messages of `room` up to `seq` were handled, the last one with this `MsgTime`. For the start of a
    /// process, from the app's own database: so the first message after the restart already shows what was missed.
    pub fn resume(&mut self, room: &str, seq: u64, msg_time_secs: u64) -> Vec<Notice> {
        self.tracker.resume(room, seq, msg_time_secs)
    }

    /// The numbers that are missing now, room by room, in no particular order of rooms.
    pub fn open_gaps(&self) -> impl Iterator<Item = OpenGap> + '_ {
        self.tracker.open_gaps()
    }

    /// How many rooms are remembered.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.tracker.rooms()
    }
}

impl Received {
    /// What happened.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// What happened, for keeps.
    #[must_use]
    pub fn into_event(self) -> Event {
        self.event
    }

    /// Where it stands among the events handled before.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether it was handled already: acknowledge it and do nothing.
    #[must_use]
    pub fn is_repeat(&self) -> bool {
        self.standing == Standing::Repeat
    }

    /// What is known of the request that brought it.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }
}
