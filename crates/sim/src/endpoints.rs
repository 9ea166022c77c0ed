//! The endpoints' side: receivers with moods, behind a transport without sockets.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use roomhook_hooks::http::{Channel, Phase, Phases, Report, Request, SendError, Transport};
use tokio::time::sleep;

use crate::{
    archive, auditor,
    gates::{self, Verdict},
    world::World,
};

/// How a receiver takes what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Slow,
    /// Nobody listens.
    Dead,
    /// Accepts and never answers.
    Hanging,
    /// Takes the event, and answers when nobody waits any more.
    Late,
    Failing,
    /// 503 with `Retry-After`.
    Busy,
    /// 200 with something that is not the documented JSON.
    Wrong,
    Missing,
    /// The connection breaks, before or after the event was taken.
    Resetting,
    /// Anything of the above, anew each time.
    Flapping,
}

const MOODS: [Mood; 10] = [
    Mood::Well,
    Mood::Slow,
    Mood::Dead,
    Mood::Hanging,
    Mood::Late,
    Mood::Failing,
    Mood::Busy,
    Mood::Wrong,
    Mood::Missing,
    Mood::Resetting,
];
/// What every message that makes its receiver stumble contains.
pub(crate) const POISON: &str = "poison";

/// The room of the calm app that is sent too much, if there is one, and how long its receiver takes for each message.
pub(crate) const HOT: &str = "r1";
const HOT_MS: u64 = 400;

/// All receivers, by host name.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) hosts: BTreeMap<String, Host>,
}

#[derive(Debug)]
pub(crate) struct Host {
    /// Never in a bad mood: others' trouble must not be its trouble.
    pub(crate) calm: bool,
    pub(crate) mood: Mood,
}

impl Mood {
    fn told(self) -> &'static str {
        match self {
            Self::Well => "receiver: Well",
            Self::Slow => "receiver: Slow",
            Self::Dead => "receiver: Dead",
            Self::Hanging => "receiver: Hanging",
            Self::Late => "receiver: Late",
            Self::Failing => "receiver: Failing",
            Self::Busy => "receiver: Busy",
            Self::Wrong => "receiver: Wrong",
            Self::Missing => "receiver: Missing",
            Self::Resetting => "receiver: Resetting",
            Self::Flapping => "receiver: Flapping",
        }
    }
}

impl Net {
    pub(crate) fn add(&mut self, host: &str, calm: bool) {
        self.hosts.insert(host.to_owned(), Host { calm, mood: Mood::Well });
    }

    pub(crate) fn swing(&mut self, world: &World) {
        let hosts: Vec<&mut Host> = self.hosts.values_mut().filter(|host| !host.calm).collect();
        if hosts.is_empty() {
            return;
        }
        let at = world.net_dice.index(hosts.len());
        let mood = if world.net_dice.chance(200) { Mood::Flapping } else { world.net_dice.pick(&MOODS) };
        if let Some(host) = hosts.into_iter().nth(at) {
            host.mood = mood;
        }
        world.note(|| format!("receiver {at} is {mood:?}"));
    }

    pub(crate) fn heal(&mut self) {
        self.hosts.values_mut().for_each(|host| host.mood = Mood::Well);
    }
}

/// What will come of one request.
struct Fate {
    /// Whether the request reaches the receiver.
    reached: bool,
    /// What a moderator says, and what is posted to one that is none.
    verdict: Verdict,
    after: Duration,
    outcome: Outcome,
}

enum Outcome {
    Status { status: u16, well_formed: bool, retry_after: Option<u64> },
    Refused,
    Broken,
    Silence,
}

impl Fate {
    fn of(world: &World, request: &Request) -> Option<Self> {
        let (dice, body) = (&world.net_dice, &request.body);
        let host = request.target.host.as_str();
        let verdict = if gates::is_gates(request) { Verdict::draw(world) } else { Verdict::Allow };
        let (calm, mut mood) = world.net.lock().hosts.get(host).map(|host| (host.calm, host.mood))?;
        if mood == Mood::Flapping {
            mood = dice.pick(&MOODS);
        }
        let status = |after, status| Self {
            reached: true,
            verdict,
            after: Duration::from_millis(after),
            outcome: Outcome::Status { status, well_formed: true, retry_after: None },
        };
        let is_after = !gates::is_gates(request);
        if !calm && is_after && world.is_rough() && body.windows(POISON.len()).any(|part| part == POISON.as_bytes()) {
            world.count("receiver: stumbles over poison");
            return Some(status(3, 400));
        }
        world.count(mood.told());
        if calm && world.is_rough() && world.scenario.has_hot_room && is_about(body, HOT) {
            return Some(status(HOT_MS, 200));
        }
        Some(match mood {
            Mood::Well | Mood::Flapping => status(dice.from(0..=2), dice.pick(&[200, 200, 200, 204])),
            Mood::Slow => status(dice.from(50..=2_100), 200),
            Mood::Failing => status(5, dice.pick(&[500, 502])),
            Mood::Missing => status(5, dice.pick(&[404, 301])),
            Mood::Late => status(dice.from(2_001..=5_000), 200),
            Mood::Dead => Self { reached: false, outcome: Outcome::Refused, ..status(1, 0) },
            Mood::Hanging => {
                Self { reached: dice.chance(500), after: Duration::MAX, outcome: Outcome::Silence, ..status(0, 0) }
            }
            Mood::Resetting => {
                let after = dice.millis(0..=50);
                Self { reached: dice.chance(500), after, outcome: Outcome::Broken, ..status(0, 0) }
            }
            Mood::Busy => {
                let retry_after = Some(dice.from(1..=5));
                Self { outcome: Outcome::Status { status: 503, well_formed: true, retry_after }, ..status(2, 503) }
            }
            Mood::Wrong => Self {
                outcome: Outcome::Status { status: 200, well_formed: false, retry_after: None },
                ..status(2, 200)
            },
        })
    }

    fn report(self) -> Report {
        let head = self.verdict.answer();
        let answered = |status, malformed, retry_after: Option<u64>| Report {
            result: Ok(status),
            phases: Phases::default(),
            head: head.clone(),
            malformed,
            retry_after: retry_after.map(Duration::from_secs),
        };
        match self.outcome {
            Outcome::Status { status, well_formed, retry_after } => answered(status, !well_formed, retry_after),
            Outcome::Refused => Report::failed(SendError::Connect("connection refused".to_owned())),
            Outcome::Broken => Report::failed(SendError::Broken("connection reset".to_owned())),
            Outcome::Silence => Report::failed(SendError::Timeout(Phase::Waiting)),
        }
    }
}

/// Whether a delivery is about a message in this room of the calm app.
fn is_about(body: &[u8], room: &str) -> bool {
    let name = format!(r#""GroupId":"{room}""#);
    body.windows(name.len()).any(|part| part == name.as_bytes())
}

/// A request under audit, while it is on its way.
enum Flight {
    Delivery(auditor::Flight),
    Question(gates::Question),
    /// Nobody follows it.
    Free,
}

impl Flight {
    fn of(world: &Arc<World>, request: &Request, fate: &Fate) -> Self {
        if request.target.host == archive::ARCHIVE {
            archive::sent(world, request, fate.reached);
            return Self::Free;
        }
        if !gates::is_gates(request) {
            return auditor::sent(world, request, fate.reached).map_or(Self::Free, Self::Delivery);
        }
        // One that reaches nobody is a question too: the server has asked.
        gates::asked(world, request, fate.verdict).map_or(Self::Free, Self::Question)
    }

    fn answered(&self, report: &Report) {
        match self {
            Self::Delivery(flight) => flight.answered(report),
            Self::Question(question) => question.answered(report),
            Self::Free => {}
        }
    }
}

/// The way from the server to the receivers.
#[derive(Clone)]
pub(crate) struct SimTransport(pub(crate) Arc<World>);

impl fmt::Debug for SimTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimTransport")
    }
}

impl Transport for SimTransport {
    fn channel(&self) -> Box<dyn Channel> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Channel for SimTransport {
    async fn send(&mut self, request: &Request) -> Report {
        let world = &self.0;
        world.step("crash: before a request").await;
        let Some(fate) = Fate::of(world, request) else {
            let host = request.target.host.as_str();
            let error = SendError::Resolve { host: host.to_owned(), reason: "no such host".to_owned() };
            return Report::failed(error);
        };
        let flight = Flight::of(world, request, &fate);
        world.step("crash: request on its way").await;
        let in_time = fate.after < request.timeout;
        let wait = if in_time { fate.after } else { request.timeout };
        if !wait.is_zero() {
            sleep(wait).await;
        }
        world.step("crash: before an answer is told").await;
        let report = if in_time { fate.report() } else { Report::failed(SendError::Timeout(Phase::Waiting)) };
        flight.answered(&report);
        report
    }

    async fn closed(&mut self) {
        std::future::pending().await
    }

    fn close(&mut self) {}
}
