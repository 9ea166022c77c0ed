//! The before-send gate under audit: who was asked about what, what was said, and whether it was kept.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use roomhook_edge::publish::{PublishError, Published};
use roomhook_hooks::http::{Report, Request};
use roomhook_room::{AppId, Draft, Endpoint, GateFailure, Message, RoomId, RoomKey, UserId};
use serde_json::Value;

use crate::{auditor::attempt_of, ledger::Ledger, world::World};

/// The app whose messages are moderated.
pub(crate) const GATED_APP: AppId = AppId(1_400_000_003);
pub(crate) const BEFORE_SEND: &str = "Group.CallbackBeforeSendMsg";
pub(crate) const NOT_SENT: &str = "Group.CallbackSendMsgException";
/// What takes the place of a body that a moderator does not like.
pub(crate) const REPLACED: &str = r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"replaced"}}]"#;
/// A moderator that takes longer than this may make others wait.
const PROMPT_MS: u64 = 100;

/// What a moderator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    Replace,
    /// With this code.
    Refuse(i32),
    Discard,
    /// Something that is no verdict.
    Garbage,
}

impl Verdict {
    pub(crate) fn draw(world: &World) -> Self {
        let dice = &world.net_dice;
        if !dice.chance(world.scenario.objections) {
            return Self::Allow;
        }
        dice.pick(&[
            Self::Replace,
            Self::Refuse(1),
            Self::Refuse(10_107),
            Self::Refuse(99),
            Self::Discard,
            Self::Garbage,
        ])
    }

    pub(crate) fn answer(self) -> Bytes {
        let code = |code: i32| format!(r#"{{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":{code}}}"#);
        let text = match self {
            Self::Allow => code(0),
            Self::Replace => format!(r#"{{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0,"MsgBody":{REPLACED}}}"#),
            Self::Refuse(number) => code(number),
            Self::Discard => code(2),
            Self::Garbage => "<html>".to_owned(),
        };
        text.into()
    }
}

/// One message on its way through the gate.
#[derive(Debug)]
struct Attempt {
    from: UserId,
    body: Bytes,
    /// Whether it may be a repeat.
    dedup: bool,
    /// What the gate goes by; `None` when that is not certain.
    settings: Option<Arc<Endpoint>>,
    begun_ms: u64,
    asked: bool,
    /// What reached the server, in time.
    said: Option<Verdict>,
    /// A later message of the same sender that was asked about while this one was on its way.
    overtaken_by: Option<u32>,
    reported: bool,
}

/// All that is known about questions.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    attempts: BTreeMap<u32, Attempt>,
    /// Of each sender: the message that has its turn, and the newest one asked about.
    turns: BTreeMap<UserId, u32>,
    newest: BTreeMap<UserId, u32>,
    /// With the time of asking.
    asking: BTreeMap<u32, u64>,
    /// The moderator failed or was slow in this life: messages may have had to wait for one another.
    troubled: bool,
}

impl Gates {
    pub(crate) fn is_asking(&self) -> bool {
        !self.asking.is_empty()
    }

    /// Lines and questions are gone with the server.
    pub(crate) fn life_begins(&mut self) {
        (self.turns, self.newest, self.asking, self.troubled) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), false);
    }
}

/// Whether a request is about a message that is not sent yet, or never will be.
pub(crate) fn is_gates(request: &Request) -> bool {
    !request.webhook_id.starts_with("evt_")
}

/// A message is handed to the door. `known`: the endpoint of its app as the server knows it.
pub(crate) fn begins(world: &World, draft: &Draft, known: Option<Arc<Endpoint>>) {
    let newest = world.ledger.lock().newest_endpoint(GATED_APP);
    let settings = known.filter(|known| newest.is_some_and(|newest| newest == *known));
    let attempt = Attempt {
        from: draft.from.clone(),
        body: draft.body.clone(),
        dedup: draft.content.is_some(),
        settings,
        begun_ms: world.time.now_ms(),
        asked: false,
        said: None,
        overtaken_by: None,
        reported: false,
    };
    world.gates.lock().attempts.insert(attempt_of(draft), attempt);
}

/// A question that is on its way.
pub(crate) struct Question {
    world: Arc<World>,
    number: u32,
    sent_ms: u64,
    verdict: Verdict,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.world.gates.lock().asking.remove(&self.number);
    }
}

/// The moderator is asked, or told of a message that was not sent. `None` for the latter.
pub(crate) fn asked(world: &Arc<World>, request: &Request, verdict: Verdict) -> Option<Question> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = attempt_in(&request.path);
    world.note(|| format!("the moderator gets {} about {number}", text("CallbackCommand")));
    if text("CallbackCommand") == NOT_SENT {
        not_sent(world, number);
        return None;
    }
    let ledger = world.ledger.lock();
    let same = ledger.newest_endpoint(GATED_APP);
    let repeats = repeated_since(&ledger, &body, number);
    drop(ledger);
    let mut gates = world.gates.lock();
    let Gates { attempts, turns, newest, asking, .. } = &mut *gates;
    let Some(attempt) = attempts.get_mut(&number) else {
        world.violate("gate", format!("the moderator is asked about {number}, which nobody sent"));
        return None;
    };
    attempt.asked = true;
    asking.insert(number, world.time.now_ms());
    let sent: Value = serde_json::from_slice(&attempt.body).unwrap_or_default();
    world.check("gate", body["MsgBody"] == sent, || format!("the question about {number} shows another body"));
    world.count("gate: asks");
    let certain = attempt.settings.as_ref().filter(|settings| same.as_ref() == Some(*settings));
    if let Some(settings) = certain {
        let shadow = is_shadow(world, settings);
        world.check("gate", settings.commands.iter().any(|word| word == BEFORE_SEND), || {
            format!("the moderator is asked about {number} although the command is switched off")
        });
        if shadow {
            world.count("gate: asks in shadow");
        } else {
            let known = attempt.dedup && repeats.is_some_and(|since| since < attempt.begun_ms);
            world.check("once", !known, || format!("the moderator is asked about {number}, a repeat"));
            let last = newest.insert(attempt.from.clone(), number);
            world.check("in-order", last.is_none_or(|last| last < number), || {
                format!("the moderator is asked about {number} after {last:?} of the same sender")
            });
            let settings = attempt.settings.clone();
            // Lines end with the moderator they lead to.
            let before = turns.insert(attempt.from.clone(), number);
            let before = before.and_then(|before| attempts.get_mut(&before)).filter(|other| other.settings == settings);
            if let Some(before) = before {
                before.overtaken_by = Some(number);
            }
        }
    }
    Some(Question { world: Arc::clone(world), number, sent_ms: world.time.now_ms(), verdict })
}

/// Which attempt a request is about: the query tells the address that the message came from.
fn attempt_in(path: &str) -> u32 {
    let address = path.split(['?', '&']).find_map(|part| part.strip_prefix("ClientIP="));
    address.and_then(|address| address.parse::<Ipv4Addr>().ok()).map_or(0, Ipv4Addr::to_bits)
}

fn repeated_since(ledger: &Ledger, body: &Value, number: u32) -> Option<u64> {
    let room = RoomId::new(body["GroupId"].as_str()?).ok()?;
    let from = UserId::new(body["From_Account"].as_str()?).ok()?;
    let random = u32::try_from(body["Random"].as_u64()?).ok()?;
    ledger.repeated_since(&RoomKey { app: GATED_APP, room }, &from, random, number)
}

fn not_sent(world: &World, number: u32) {
    world.count("gate: reports a message that was not sent");
    let written = world.ledger.lock().is_attempt_written(number);
    world.check("acked-in-log", !written, || format!("{number} is in the log and was reported as not sent"));
    if let Some(attempt) = world.gates.lock().attempts.get_mut(&number) {
        attempt.reported = true;
    }
}

impl Question {
    /// What came back to the server.
    pub(crate) fn answered(&self, report: &Report) {
        let world = &self.world;
        let took = world.time.now_ms().saturating_sub(self.sent_ms);
        let mut gates = world.gates.lock();
        let said = (report.result == Ok(200) && self.verdict != Verdict::Garbage).then_some(self.verdict);
        gates.troubled |= said.is_none() || took > PROMPT_MS;
        world.count(match said {
            None => "gate: gets no verdict",
            Some(Verdict::Allow) => "gate: allows",
            Some(Verdict::Replace) => "gate: replaces",
            Some(Verdict::Discard) => "gate: discards",
            Some(Verdict::Refuse(_) | Verdict::Garbage) => "gate: refuses",
        });
        world.note(|| format!("the moderator says {said:?} about {}", self.number));
        let Gates { attempts, turns, .. } = &mut *gates;
        let Some(attempt) = attempts.get_mut(&self.number) else { return };
        attempt.said = said;
        // Only a message that goes on to its room keeps its sender's turn; whether an undecided one does is up to policy.
        let goes_on = matches!(said, Some(Verdict::Allow | Verdict::Replace));
        if !goes_on && turns.get(&attempt.from) == Some(&self.number) {
            turns.remove(&attempt.from);
        }
    }
}

fn is_shadow(world: &World, settings: &Endpoint) -> bool {
    settings.gate_shadow.unwrap_or(world.scenario.gate.shadow)
}

fn failure(world: &World, settings: &Endpoint) -> GateFailure {
    settings.gate_failure.unwrap_or(world.scenario.gate.failure)
}

/// A message of the app became durable: was it let through, and as what? `newest` is the endpoint by now.
pub(crate) fn durable(world: &World, room: &RoomKey, message: &Message, newest: Option<&Arc<Endpoint>>) {
    let number = attempt_of(&message.draft);
    let mut gates = world.gates.lock();
    let slow = |asked: &u64| world.time.now_ms() > asked + PROMPT_MS;
    let troubled = gates.troubled || gates.asking.values().any(slow);
    let Some(attempt) = gates.attempts.get_mut(&number) else {
        return world.violate("gate", format!("{room}: {number} is in the log and nobody sent it"));
    };
    world.check("acked-in-log", !attempt.reported, || format!("{room}: {number} was reported as not sent"));
    // One that is refused for another reason may be overtaken: it keeps its turn no longer, and is in no room.
    world.check("in-order", attempt.overtaken_by.is_none(), || {
        format!("{room}: {number} is sent after the moderator was asked about {:?}", attempt.overtaken_by)
    });
    let replaced = message.draft.body == REPLACED;
    let as_sent = message.draft.body == attempt.body;
    let Some(settings) = attempt.settings.as_ref().filter(|settings| newest == Some(settings)) else { return };
    let asks = settings.commands.iter().any(|word| word == BEFORE_SEND)
        && !settings.url.is_empty()
        && room.room.as_str().starts_with(&settings.room_prefix);
    let holds = if !asks || is_shadow(world, settings) {
        as_sent
    } else {
        match attempt.said {
            Some(Verdict::Allow) => as_sent,
            Some(Verdict::Replace) => replaced,
            Some(_) => false,
            None => {
                let calm =
                    !troubled && attempt.begun_ms > world.store_disturbed_until() && world.scenario.is_gate_roomy();
                world.check("gate", attempt.asked || !calm, || {
                    format!("{room}: {number} got past a moderator that answers well")
                });
                world.count("gate: passes what is undecided");
                as_sent && failure(world, settings) == GateFailure::Pass
            }
        }
    };
    world.check("gate", holds, || {
        let (said, asked) = (attempt.said, attempt.asked);
        format!("{room}: {number} is in the log; asked {asked}, said {said:?}, replaced {replaced}")
    });
}

/// The sender has an answer.
pub(crate) fn ended(world: &World, number: u32, result: &Result<Published, PublishError>) {
    let newest = world.ledger.lock().newest_endpoint(GATED_APP);
    let mut gates = world.gates.lock();
    let Gates { attempts, turns, .. } = &mut *gates;
    let Some(attempt) = attempts.get_mut(&number) else { return };
    if turns.get(&attempt.from) == Some(&number) {
        turns.remove(&attempt.from);
    }
    match result {
        Err(PublishError::Refused { code: 60_018, .. }) => world.count("gate: refuses a flood"),
        Err(PublishError::Refused { code: 80_003, .. }) => world.count("gate: drops what is undecided"),
        Ok(Published::Answered(roomhook_room::Receipt::Repeated(_))) if !attempt.asked => {
            world.count("gate: a repeat is not asked about");
        }
        _ => {}
    }
    let Some(settings) = attempt.settings.clone().filter(|settings| newest.as_ref() == Some(settings)) else { return };
    if is_shadow(world, &settings) {
        let judged = matches!(result, Ok(Published::Discarded { .. }) | Err(PublishError::Refused { .. }));
        return world.check("gate", !judged, || format!("{number}: a shadow has no say, and yet {result:?}"));
    }
    let kept = match (attempt.said, result) {
        (Some(Verdict::Discard), result) => matches!(result, Ok(Published::Discarded { .. })),
        (Some(Verdict::Refuse(_)), result) => matches!(result, Err(PublishError::Refused { .. })),
        (
            Some(Verdict::Allow | Verdict::Replace),
            Ok(Published::Discarded { .. }) | Err(PublishError::Refused { .. }),
        ) => false,
        (None, Ok(Published::Discarded { .. })) => false,
        (None, Err(PublishError::Refused { code, .. })) => {
            *code == 60_018 || (*code == 80_003 && failure(world, &settings) == GateFailure::Drop)
        }
        _ => true,
    };
    world.check("gate", kept, || format!("{number}: the moderator said {:?}, the sender got {result:?}", attempt.said));
}

/// The longest that a sender of the app may wait for an answer when the store is well.
pub(crate) fn answer_within_ms(world: &World) -> u64 {
    let gate = &world.scenario.gate;
    // A line, a place among the questions and the question itself; then the room.
    (gate.wait_max + gate.timeout).as_millis() as u64 + crate::auditor::APART_MS
}

/// Whether anybody has been asked at all: nothing to audit otherwise.
pub(crate) fn clear_for_new_life(world: &World) {
    world.gates.lock().life_begins();
    world.starting.store(true, Relaxed);
}
