//! The door for clients: the Centrifuge client protocol over WebSocket (docs/realtime.md has what it says).
//!
//! ```text
//! socket ── task ── session        one task per connection; the session decides, the task does
//!    ▲        │ ask
//!    │        ▼
//!  lane ◀── feed ◀── tail of a shard
//! ```
//!
//! A [`feed`] follows one shard and knows who is in its rooms; a [`lane`] writes to a slice of the sockets. Frames are
//! built once per message and format, and shared.

mod session;

mod feed;
mod lane;

mod conn;
mod outbox;
mod perform;
mod task;
mod wire;

mod encode;
mod ws;

mod accept;
mod users;

mod config;
mod telemetry;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use prometheus_client::registry::Registry;
use roomhook_centrifuge::{Publication, PushBody, Reply, codes};
use roomhook_room::{AppId, UserId};
use roomhook_shard::{Budget, LogId, ReadError};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use crate::Services;
use encode::Frames;
use feed::{Feed, Feeds};
use lane::Lane;
use session::Settings;
use users::Users;

pub use config::{Config, ConfigError};
pub use telemetry::RealtimeMetrics;

/// Why realtime cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the tail of shard {shard} cannot be read")]
    Tail { shard: LogId, source: ReadError },
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Hub {
    config: Config,
    settings: Arc<Settings>,
    services: Services,
    feeds: Feeds,
    users: Users,
    lanes: usize,
    started: Instant,
    connections: AtomicUsize,
    connections_made: AtomicU64,
    arrivals: parking_lot::Mutex<session::Bucket>,
    metrics: RealtimeMetrics,
}

/// Realtime, running.
#[derive(Debug)]
pub struct Realtime {
    hub: Arc<Hub>,
    arrivals: mpsc::Sender<accept::Arrival>,
    stop_connections: watch::Sender<bool>,
    stop_feeds: watch::Sender<bool>,
    connections: JoinSet<()>,
    feeds: JoinSet<()>,
}

impl Realtime {
    /// Starts feeds and lanes. Clients come by [`Realtime::router`].
    ///
    /// # Errors
    /// [`StartError`]. Cancel safe: a start that is dropped leaves nothing behind.
    pub async fn start(services: Services, config: Config, registry: &mut Registry) -> Result<Self, StartError> {
        config.check()?;
        let metrics = RealtimeMetrics::register(registry);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let lane_count = if config.lanes == 0 { cores } else { config.lanes };
        let mut feed_tasks = JoinSet::new();
        let mut lanes = Vec::new();
        for _ in 0..lane_count {
            let (lane, jobs) = Lane::new(config.write_delay, metrics.clone());
            feed_tasks.spawn(lane.run());
            lanes.push(jobs);
        }
        let deps = Arc::new(feed::Deps {
            router: services.router.clone(),
            lanes,
            // Nearly always there are no early events at all. Both show in one gauge.
            queued: Budget::new(config.queued_bytes_max / 4 * 3, metrics.queued_bytes.clone()),
            early: Budget::new(config.queued_bytes_max / 4, metrics.queued_bytes.clone()),
            settings: config.feed_settings(services.router.shards()),
            reads: Arc::new(Semaphore::new(config.log_reads_max.max(1))),
            metrics: metrics.clone(),
        });
        let (stop_feeds, feeds_stop) = watch::channel(false);
        let (feeds, asks) = Feeds::new(services.router.shards());
        for (shard, asks) in (0..).map(LogId).zip(asks) {
            let feed = Feed::new(shard, Arc::clone(&deps), asks).await;
            let feed = feed.map_err(|source| StartError::Tail { shard, source })?;
            feed_tasks.spawn(feed.run(feeds_stop.clone()));
        }
        let hub = Arc::new(Hub {
            settings: Arc::new(config.session_settings()),
            services,
            feeds,
            users: Users::default(),
            lanes: lane_count,
            started: Instant::now(),
            connections: AtomicUsize::new(0),
            connections_made: AtomicU64::new(0),
            arrivals: parking_lot::Mutex::new(session::Bucket::new(
                config.connects_per_s,
                config.connects_per_s,
                Duration::ZERO,
            )),
            config,
            metrics,
        });
        let (arrivals, arriving) = mpsc::channel(accept::ARRIVALS_MAX);
        let (stop_connections, connections_stop) = watch::channel(false);
        let mut connections = JoinSet::new();
        connections.spawn(accept::receive(Arc::clone(&hub), arriving, connections_stop));
        Ok(Self { hub, arrivals, stop_connections, stop_feeds, connections, feeds: feed_tasks })
    }

    /// `/connection/websocket`.
    pub fn router(&self) -> axum::Router {
        accept::router(Arc::clone(&self.hub), self.arrivals.clone())
    }

    /// Sends a notice (one JSON object) to all connections that a user has here. Returns how many. A whisper: whoever
    /// is away does not get it.
    pub fn notify(&self, app: AppId, user: &UserId, data: bytes::Bytes) -> usize {
        let publication = Publication { data, ..Publication::default() };
        let push = Reply::push(session::user_channel(user), PushBody::Pub(publication));
        self.hub.users.notify(app, user, &Frames::of(&push))
    }

    /// Closes all connections that a user has here, for good (4500 "banned" or alike). Returns how many.
    pub fn disconnect(&self, app: AppId, user: &UserId, code: u16, reason: &str) -> usize {
        let reason = codes::close_reason(reason, "force disconnect");
        self.hub.users.disconnect(app, user, code, &reason)
    }

    /// Stops: tells all clients to reconnect (elsewhere, or when this server is back), then ends.
    ///
    /// Not cancel safe: dropping it cuts all connections.
    pub async fn shutdown(mut self) {
        let _ = self.stop_connections.send(true);
        drop(self.arrivals);
        while self.connections.join_next().await.is_some() {}
        let _ = self.stop_feeds.send(true);
        while self.feeds.join_next().await.is_some() {}
    }
}

impl Config {
    fn session_settings(&self) -> Settings {
        Settings {
            version: format!("roomhook {}", env!("CARGO_PKG_VERSION")),
            ping_every: self.ping_every,
            pong_within: self.pong_within,
            connect_within: self.connect_within,
            expiry_grace: self.expiry_grace,
            rooms_max: self.rooms_per_connection_max,
            commands_per_s: self.commands_per_s,
            commands_burst: self.commands_burst,
        }
    }

    fn feed_settings(&self, shards: u16) -> feed::Settings {
        feed::Settings {
            ring: feed::RingLimits {
                ring_messages_max: self.ring_messages_max,
                ring_bytes_max: self.ring_bytes_max,
                reply_messages_max: self.reply_messages_max,
                reply_bytes_max: self.reply_bytes_max,
            },
            rings_bytes_max: self.rings_bytes_max / usize::from(shards.max(1)),
            linger: self.room_linger,
            presence_members_max: self.presence_members_max,
            join_leave_members_max: self.join_leave_members_max,
        }
    }
}
