//! The before-send gate: asks the app's backend about a message before its room decides (protocol: webhooks §1.5, §3),
//! and tells it of messages that could not be sent.
//!
//! `judge` reads verdicts and is pure; `line` keeps each sender's messages in order; `moderator` is the state of one
//! app; `errand` is what may wait or be lost, such as a `report`. An app that has the command switched off meets none of it: not a lock, not
//! a queue, not a connection.

mod errand;
mod idle;
pub(crate) mod judge;
mod line;
mod moderator;
mod record;
mod report;
mod telemetry;

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use ahash::AHashMap;
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use roomhook_protocol::{codes, message::Limits};
use roomhook_room::{AppId, Draft, Endpoint, EndpointId, GateFailure, RoomKey, UserId};
use tokio::{sync::watch, time::Instant};

use crate::{
    config::Config as HooksConfig,
    http::{Guard, HttpTransport, Roots, SystemResolver, Transport},
    shared::Clock,
};

pub use judge::{Failure, Judged};
pub use record::Asked;
pub use report::Report;

use line::{Place, Stuck};
use moderator::Moderator;
use telemetry::Metrics;

/// What the operator sets for all gates.
#[derive(Clone, Debug)]
pub struct Config {
    /// For one exchange. An endpoint's own timeout holds if it is shorter.
    pub timeout: Duration,
    /// How long a message may wait for its turn before it is asked about, so that a sender never waits longer than this
    /// and `timeout` together.
    pub wait_max: Duration,
    /// Messages of one app asked about at the same time, which is also the number of connections it may get.
    pub concurrency: NonZeroUsize,
    /// Messages of one app that may wait for their turn.
    pub waiting_max: usize,
    /// Of these, messages of one sender.
    pub sender_waiting_max: usize,
    /// Questions in shadow mode that may wait, per app, and as many reports of failed messages; what comes on top is
    /// dropped.
    pub errands_max: usize,
    /// What becomes of a message that could not be decided, where the endpoint does not say.
    pub failure: GateFailure,
    /// Shadow mode, where the endpoint does not say.
    pub shadow: bool,
    /// What a replaced message may be.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            wait_max: Duration::from_secs(1),
            concurrency: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN),
            waiting_max: 4_096,
            sender_waiting_max: 128,
            errands_max: 1_024,
            failure: GateFailure::Pass,
            shadow: false,
            limits: Limits::default(),
        }
    }
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Send this instead: `MsgBody` and `CloudCustomData` in the forms that [`Draft`] carries, checked.
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

/// All gates of this process. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    /// What every app's gate uses and none of them owns.
    world: World,
    endpoints: watch::Receiver<Arc<Vec<Arc<Endpoint>>>>,
    table: ArcSwap<Table>,
    /// Held while a table is made, so that two messages do not make it twice.
    making: Mutex<()>,
}

/// What every app's gate uses and none of them owns.
#[derive(Clone)]
struct World {
    transport: Arc<dyn Transport>,
    hooks: Arc<HooksConfig>,
    config: Arc<Config>,
    roots: Arc<Roots>,
    clock: Clock,
    metrics: Metrics,
}

/// The apps with a gate, made from one state of the directory.
#[derive(Default)]
struct Table {
    made_of: Arc<Vec<Arc<Endpoint>>>,
    moderators: AHashMap<AppId, Arc<Moderator>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apps: Vec<AppId> = self.inner.table.load().moderators.keys().copied().collect();
        f.debug_struct("Gate").field("apps", &apps).finish_non_exhaustive()
    }
}

impl Gate {
    /// Gates over HTTP, with the address guard and the roots of `hooks`. `endpoints` is looked at with each message, so
    /// a change holds from the next message on. Call it within a runtime.
    pub fn new(
        endpoints: watch::Receiver<Arc<Vec<Arc<Endpoint>>>>,
        hooks: HooksConfig,
        config: Config,
        clock: Clock,
        metrics: &mut Registry,
    ) -> Self {
        let guard = Guard::new(hooks.allow.clone());
        let transport = Arc::new(HttpTransport::new(Arc::new(SystemResolver::default()), guard));
        Self::over(transport, endpoints, hooks, config, clock, metrics)
    }

    /// As [`Gate::new`], over any transport.
    pub fn over(
        transport: Arc<dyn Transport>,
        endpoints: watch::Receiver<Arc<Vec<Arc<Endpoint>>>>,
        hooks: HooksConfig,
        config: Config,
        clock: Clock,
        metrics: &mut Registry,
    ) -> Self {
        let roots = Arc::new(Roots::of(&hooks));
        let metrics = Metrics::register(metrics);
        let world = World { transport, hooks: Arc::new(hooks), config: Arc::new(config), roots, clock, metrics };
        let inner = Inner { world, endpoints, table: ArcSwap::default(), making: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Whether messages of this room are asked about or reported at all. Cheap: a look into a table.
    pub fn is_on(&self, room: &RoomKey) -> bool {
        self.moderator(room).is_some()
    }

    /// Puts a message in the line of its sender and waits until those before it have gone on. `None`: messages of this
    /// room are not moderated. Hold the [`Turn`] until the message is where its order is fixed.
    ///
    /// Waits no longer than [`Config::wait_max`]. Cancel safe: leaves the line.
    pub async fn line_up(&self, room: &RoomKey, from: &UserId) -> Option<Turn> {
        let moderator = self.moderator(room).filter(|moderator| moderator.asks())?;
        let until = Instant::now() + self.inner.world.config.wait_max;
        let place = if moderator.is_shadow() { Ok(None) } else { moderator.wait_in_line(from).await.map(Some) };
        Some(Turn { moderator, room: room.clone(), until, place })
    }

    /// A place for telling the app's backend of a message that was not sent (`Group.CallbackSendMsgException`). `None`:
    /// that is not switched on for this room, or too many reports wait already, which is counted.
    pub fn report(&self, room: &RoomKey) -> Option<Report> {
        self.moderator(room)?.report(room)
    }

    /// What was asked of late about messages of an app, newest first.
    pub fn recent(&self, app: AppId) -> Vec<Asked> {
        self.table().moderators.get(&app).map(|moderator| moderator.recent()).unwrap_or_default()
    }

    fn moderator(&self, room: &RoomKey) -> Option<Arc<Moderator>> {
        let table = self.table();
        let moderator = table.moderators.get(&room.app)?;
        moderator.covers(room).then(|| moderator.clone())
    }

    /// The table of the directory as it is now.
    fn table(&self) -> Arc<Table> {
        let inner = &self.inner;
        let is_current = |table: &Table| Arc::ptr_eq(&table.made_of, &inner.endpoints.borrow());
        let table = inner.table.load_full();
        if is_current(&table) {
            return table;
        }
        let _making = inner.making.lock();
        let table = inner.table.load_full();
        if is_current(&table) {
            return table;
        }
        // On a line of its own: making a table must not hold up who changes the directory.
        let endpoints = inner.endpoints.borrow().clone();
        let table = Arc::new(table.after(endpoints, &inner.world));
        inner.table.store(table.clone());
        table
    }
}

impl Table {
    /// The table of a changed directory. What is known about an app's endpoint outlives a change of its settings.
    fn after(&self, endpoints: Arc<Vec<Arc<Endpoint>>>, world: &World) -> Self {
        let of_gate = |endpoint: &&Arc<Endpoint>| {
            endpoint.id.0 == EndpointId::DEFAULT && !endpoint.url.is_empty() && moderator::is_wanted(endpoint)
        };
        let moderators = endpoints.iter().filter(of_gate).map(|endpoint| {
            let moderator = match self.moderators.get(&endpoint.app) {
                Some(known) => {
                    known.configure(endpoint, world);
                    known.clone()
                }
                None => Arc::new(Moderator::start(endpoint.clone(), world)),
            };
            (endpoint.app, moderator)
        });
        Self { moderators: moderators.collect(), made_of: endpoints }
    }
}

/// A message at the head of its sender's line. Dropping it lets the next one go.
pub struct Turn {
    moderator: Arc<Moderator>,
    room: RoomKey,
    /// How long it may wait for a connection.
    until: Instant,
    /// `None` in shadow mode, where nobody waits.
    place: Result<Option<Place>, Stuck>,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("room", &self.room).finish_non_exhaustive()
    }
}

impl Turn {
    /// Asks about the message. `room_type` becomes `Type`. Never fails: what goes wrong becomes a decision by the endpoint's failure policy.
    ///
    /// Takes [`Config::wait_max`] and [`Config::timeout`] at most. Cancel safe: the question is dropped.
    pub async fn ask(&mut self, room_type: &str, draft: &Draft) -> Decision {
        match &self.place {
            Ok(None) => {
                self.moderator.watch(&self.room, room_type, draft);
                Decision::Allow
            }
            Ok(Some(_)) => self.moderator.ask(&self.room, room_type, draft, self.until).await,
            Err(Stuck::BySender) => {
                let info = "too many messages of this sender wait for moderation, slow down";
                Decision::Refuse { code: codes::TOO_MANY_REQUESTS, info: info.into() }
            }
            Err(Stuck::ByEndpoint) => self.moderator.undecided(&self.room, draft, Failure::Overloaded),
        }
    }
}
