//! The gate of one app: its endpoint's settings, its lines, its connections. Nothing of it is shared with another app.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use roomhook_protocol::webhook::{BeforeSendMsg, CommandWord};
use roomhook_room::{AppId, Draft, Endpoint, GateFailure, RoomKey, UserId};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use super::{
    Asked, Decision, Failure, Judged, World,
    errand::{self, Watch},
    idle::{self, Idle},
    judge::{dropped, judge},
    line::{Bounds, Lines, Place, Stuck},
    record::Ring,
    report::Report,
    telemetry::AppMetrics,
};
use crate::{
    http::{self, BODY_BYTES_MAX, SendError},
    plan,
    settings::{Letter, Settings},
};

/// Whether an endpoint has anything to do with the gate.
pub(super) fn is_wanted(endpoint: &Endpoint) -> bool {
    is_on(endpoint, CommandWord::GroupBeforeSendMsg) || is_on(endpoint, CommandWord::GroupSendMsgException)
}

fn is_on(endpoint: &Endpoint, word: CommandWord) -> bool {
    endpoint.commands.iter().any(|command| command == word.as_str())
}

pub(super) struct Moderator {
    core: Arc<Core>,
    watches: mpsc::Sender<Watch>,
    reports: mpsc::Sender<Letter>,
}

/// What questions and errands share.
pub(super) struct Core {
    pub(super) app: AppId,
    world: World,
    live: ArcSwap<Live>,
    lines: Arc<Lines>,
    idle: Arc<Idle>,
    ring: Mutex<Ring>,
    pub(super) metrics: AppMetrics,
}

/// What is asked about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) room: &'a RoomKey,
    pub(super) room_type: &'a str,
    pub(super) draft: &'a Draft,
}

/// What the endpoint's settings say now.
pub(super) struct Live {
    pub(super) settings: Settings,
    asks: bool,
    reports: bool,
    shadow: bool,
    failure: GateFailure,
    pub(super) timeout: Duration,
    concurrency: usize,
    permits: Arc<Semaphore>,
}

impl fmt::Debug for Moderator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moderator").field("app", &self.core.app).finish_non_exhaustive()
    }
}

impl Live {
    fn new(endpoint: Arc<Endpoint>, world: &World, previous: Option<&Self>) -> Self {
        let config = &world.config;
        let own = endpoint.concurrency.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        let concurrency = config.concurrency.get().min(own.unwrap_or(usize::MAX));
        let permits = previous.filter(|previous| previous.concurrency == concurrency);
        let (asks, reports) =
            (is_on(&endpoint, CommandWord::GroupBeforeSendMsg), is_on(&endpoint, CommandWord::GroupSendMsgException));
        let (shadow, failure) =
            (endpoint.gate_shadow.unwrap_or(config.shadow), endpoint.gate_failure.unwrap_or(config.failure));
        let settings = Settings::new(endpoint, &world.hooks, &world.roots, previous.map(|previous| &previous.settings));
        Self {
            timeout: settings.timeout().min(config.timeout),
            permits: permits.map_or_else(|| Arc::new(Semaphore::new(concurrency)), |live| live.permits.clone()),
            settings,
            asks,
            reports,
            shadow,
            failure,
            concurrency,
        }
    }
}

impl Moderator {
    /// Call it within a runtime.
    pub(super) fn start(endpoint: Arc<Endpoint>, world: &World) -> Self {
        let config = &world.config;
        let bounds = Bounds {
            waiting_max: config.waiting_max,
            sender_waiting_max: config.sender_waiting_max,
            wait_max: config.wait_max,
        };
        let app = endpoint.app;
        let metrics = world.metrics.of(app);
        let core = Arc::new(Core {
            app,
            live: ArcSwap::from_pointee(Live::new(endpoint, world, None)),
            lines: Arc::new(Lines::new(bounds, metrics.waiting.clone())),
            idle: Arc::default(),
            ring: Mutex::default(),
            metrics,
            world: world.clone(),
        });
        let (watches, waiting_watches) = mpsc::channel(config.errands_max.max(1));
        let (reports, waiting_reports) = mpsc::channel(config.errands_max.max(1));
        // They end with the last sender, that is with this moderator. What they carry may be lost, so nobody watches them.
        tokio::spawn(errand::watch(core.clone(), waiting_watches));
        tokio::spawn(errand::report(core.clone(), waiting_reports));
        // Ends some time after this moderator, whose connections end with it.
        tokio::spawn(idle::watch(Arc::downgrade(&core.idle), world.hooks.idle));
        Self { core, watches, reports }
    }

    /// Takes over changed settings, for all that is asked from now on.
    pub(super) fn configure(&self, endpoint: &Arc<Endpoint>, world: &World) {
        let live = self.core.live.load();
        if live.settings.endpoint != *endpoint {
            self.core.live.store(Arc::new(Live::new(endpoint.clone(), world, Some(&live))));
        }
    }

    /// Whether the endpoint's room filter lets this room in.
    pub(super) fn covers(&self, room: &RoomKey) -> bool {
        room.room.as_str().starts_with(&self.core.live.load().settings.endpoint.room_prefix)
    }

    pub(super) fn asks(&self) -> bool {
        self.core.live.load().asks
    }

    pub(super) fn is_shadow(&self) -> bool {
        self.core.live.load().shadow
    }

    pub(super) fn recent(&self) -> Vec<Asked> {
        self.core.ring.lock().recent()
    }

    pub(super) async fn wait_in_line(&self, from: &UserId) -> Result<Place, Stuck> {
        let place = self.core.lines.wait(from).await;
        if matches!(place, Err(Stuck::BySender)) {
            self.core.metrics.floods.inc();
        }
        place
    }

    /// Asks, and acts by the answer. `until`: how long it may wait for a connection.
    pub(super) async fn ask(&self, room: &RoomKey, room_type: &str, draft: &Draft, until: Instant) -> Decision {
        let live = self.core.live.load_full();
        self.core.ask(&live, &About { room, room_type, draft }, until, false).await
    }

    /// Asks in shadow mode, at some time soon.
    pub(super) fn watch(&self, room: &RoomKey, room_type: &str, draft: &Draft) {
        let Ok(slot) = self.watches.try_reserve() else {
            self.core.metrics.errands_dropped.inc();
            return;
        };
        slot.send(Watch { room: room.clone(), room_type: room_type.into(), draft: draft.clone() });
        self.core.metrics.errands.inc();
    }

    /// Gives up on a message without having asked.
    pub(super) fn undecided(&self, room: &RoomKey, draft: &Draft, failure: Failure) -> Decision {
        let live = self.core.live.load();
        self.core.settle(&live, room, draft, Instant::now(), Err(failure), false)
    }

    /// A place for a report, if they are switched on and it is one of those that may wait.
    pub(super) fn report(self: &Arc<Self>, room: &RoomKey) -> Option<Report> {
        if !self.core.live.load().reports {
            return None;
        }
        let Ok(slot) = self.reports.clone().try_reserve_owned() else {
            self.core.metrics.errands_dropped.inc();
            self.core.metrics.exception("dropped");
            return None;
        };
        Some(Report { core: self.core.clone(), slot, room: room.clone() })
    }
}

impl Core {
    pub(super) fn now(&self) -> u64 {
        (self.world.clock)().0
    }

    pub(super) fn wait_max(&self) -> Duration {
        self.world.config.wait_max
    }

    pub(super) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Requests of one kind that may be in flight.
    pub(super) fn concurrency(&self) -> usize {
        self.live.load().concurrency
    }

    /// Asks and says what becomes of the message (in shadow mode: what would have).
    pub(super) async fn ask(&self, live: &Live, about: &About<'_>, until: Instant, shadow: bool) -> Decision {
        let started = Instant::now();
        let result = self.question(live, about, until).await;
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        self.settle(live, about.room, about.draft, started, result, shadow)
    }

    async fn question(&self, live: &Live, about: &About<'_>, until: Instant) -> Result<Judged, Failure> {
        let About { room, room_type, draft } = *about;
        let permit = tokio::time::timeout_at(until, live.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Failure::Overloaded) };
        let at = self.now();
        let msg_id = draft.msg_id.to_string();
        let mut body = Vec::new();
        BeforeSendMsg {
            group_id: room.room.as_str(),
            group_type: room_type,
            from_account: draft.from.as_str(),
            operator_account: draft.operator.as_str(),
            random: draft.random,
            msg_id: &msg_id,
            msg_body: &draft.body,
            cloud_custom_data: &draft.custom_data,
            event_time_ms: at,
        }
        .write_json(plan::style(&live.settings.endpoint), &mut body);
        let letter = Letter {
            webhook_id: format!("before_{}_{msg_id}_{at}", self.app),
            command: CommandWord::GroupBeforeSendMsg.as_str(),
            origin: Some(draft.origin),
            attempt: 1,
            body: Bytes::from(body),
            timeout: live.timeout,
            // All of it: here the answer decides.
            kept_bytes: BODY_BYTES_MAX,
        };
        let report = {
            let _asking = Asking::new(&self.metrics);
            self.post(live, letter, at).await
        };
        let result = judge(&report, draft, &self.world.config.limits);
        self.note_health(&result);
        result
    }

    /// One exchange over an idle connection, or a new one. Cancel safe: the connection is dropped.
    pub(super) async fn post(&self, live: &Live, letter: Letter, at: u64) -> http::Report {
        let request = match live.settings.post(letter, None, at) {
            Ok(request) => request,
            Err(reason) => return http::Report::failed(SendError::Settings(reason)),
        };
        let mut channel = self.idle.take().unwrap_or_else(|| self.world.transport.channel());
        let report = channel.send(&request).await;
        // Without an answer there is no connection left in it.
        if report.result.is_ok() {
            self.idle.put(channel, live.concurrency);
        }
        report
    }

    pub(super) async fn report(&self, letter: Letter) {
        let report = self.post(&self.live(), letter, self.now()).await;
        self.metrics.exception(if report.is_acknowledged() { "sent" } else { "failed" });
    }

    /// Tells people when verdicts stop coming and when they come again, once each.
    fn note_health(&self, result: &Result<Judged, Failure>) {
        let failing = match result {
            Ok(_) | Err(Failure::Replacement(_)) => None,
            Err(failure) => Some(failure),
        };
        let failed_before = self.lines.endpoint_fails.swap(failing.is_some(), Ordering::Relaxed);
        match failing {
            Some(failure) if !failed_before => {
                tracing::warn!(app = self.app.0, error = %failure, "the before-send gate gets no verdict");
            }
            None if failed_before => tracing::info!(app = self.app.0, "the before-send gate gets verdicts again"),
            _ => {}
        }
    }

    fn settle(
        &self,
        live: &Live,
        room: &RoomKey,
        draft: &Draft,
        started: Instant,
        result: Result<Judged, Failure>,
        shadow: bool,
    ) -> Decision {
        let decision = match &result {
            Ok(judged) => {
                let count = self.metrics.verdict(judged.kind(), shadow);
                if let Some(code) = judged.undocumented
                    && count.is_power_of_two()
                {
                    tracing::warn!(
                        app = self.app.0,
                        code,
                        count,
                        "the moderator answers with an ErrorCode that means nothing; it counts as a refusal"
                    );
                }
                judged.decision.clone()
            }
            Err(failure) => {
                self.metrics.failure(failure.kind());
                match live.failure {
                    GateFailure::Pass => Decision::Allow,
                    GateFailure::Drop => dropped(),
                }
            }
        };
        let (at, took) = (self.now(), started.elapsed());
        let asked = Asked::new(room, draft.msg_id.to_string(), at, took, &result, &decision, shadow);
        self.ring.lock().push(asked);
        decision
    }
}

/// Counts a question in flight, also when it is cancelled.
struct Asking<'a>(&'a AppMetrics);

impl<'a> Asking<'a> {
    fn new(metrics: &'a AppMetrics) -> Self {
        metrics.asking.inc();
        Self(metrics)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.dec();
    }
}
