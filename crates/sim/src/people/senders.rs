//! Senders: most go straight to the owner of their room, those of the moderated app through the door with the gate.

use std::sync::Arc;

use bytes::Bytes;
use roomhook_edge::{
    apps::App,
    publish::{Outgoing, PublishError, Published, Says},
};
use roomhook_room::{
    Command, ContentHash, Draft, EndpointId, MsgId, Origin, Platform, Priority, Receipt, Reject, RoomKey,
};
use roomhook_shard::ExecuteError;
use tokio::task::JoinSet;

use super::{Doors, People, user};
use crate::{
    auditor::{self, CALM_APP, attempt_of, from_address},
    dice::Dice,
    endpoints::{HOT, POISON},
    gates::{self, GATED_APP},
    world::World,
};

pub(super) const NAMES: [&str; 3] = ["ann", "bob", "cleo"];
/// The newest messages, of which some are sent again.
const REPEATABLE: usize = 20;
/// Messages that a sender says at once.
const FLOOD: usize = 6;
/// Messages that the hot room is sent at a time.
const HEAT: usize = 3;
const NO_CUSTOM_DATA: &str = r#""""#;

impl People {
    pub(super) fn send(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        let world = Arc::clone(&self.world);
        let dice = &world.act_dice;
        self.messages += 1;
        let number = self.messages;
        let repeated = dice.chance(world.scenario.repeats).then(|| {
            let newest = self.sent.len().min(REPEATABLE);
            (newest > 0)
                .then(|| self.sent[self.sent.len() - newest + dice.index(newest)].clone())
                .filter(|(_, draft)| draft.content.is_some())
        });
        let (room, mut draft) = match repeated.flatten() {
            // Some callers have one `Random` for all that they say.
            Some((room, said)) if dice.chance(250) => {
                world.count("sender: says something else under the same Random");
                let (body, content) = text("hello", number);
                (room, Draft { body, content: Some(content), ..said })
            }
            Some(again) => again,
            None => (self.choose_room(), draft(dice, number, world.scenario.poison)),
        };
        // What tells this attempt from others of the same message.
        draft.origin.client_ip = from_address(number);
        draft.msg_id = MsgId { account: 7, secs: world.time.unix().secs(), random: number };
        self.hand_over(doors, room, draft, tasks);
    }

    /// One sender of the moderated app says many things at once.
    pub(super) fn flood(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        let of_gate: Vec<RoomKey> = self.rooms.iter().filter(|room| room.app == GATED_APP).cloned().collect();
        let room = of_gate[self.world.act_dice.index(of_gate.len())].clone();
        for _ in 0..FLOOD {
            let said = self.new_draft();
            self.hand_over(
                doors,
                room.clone(),
                Draft { from: user(NAMES[0]), operator: user(NAMES[0]), ..said },
                tasks,
            );
        }
    }

    /// The hot room is sent more than its receiver takes.
    pub(super) fn heat(&mut self, doors: &Doors, tasks: &mut JoinSet<()>) {
        let Some(room) = self.rooms.iter().find(|room| room.app == CALM_APP && room.room.as_str() == HOT).cloned()
        else {
            return;
        };
        for _ in 0..HEAT {
            let said = self.new_draft();
            self.hand_over(doors, room.clone(), said, tasks);
        }
    }

    fn new_draft(&mut self) -> Draft {
        self.messages += 1;
        let secs = self.world.time.unix().secs();
        let draft = draft(&self.world.act_dice, self.messages, 0);
        let msg_id = MsgId { account: 7, secs, random: self.messages };
        Draft { msg_id, ..draft }
    }

    fn hand_over(&mut self, doors: &Doors, room: RoomKey, draft: Draft, tasks: &mut JoinSet<()>) {
        let world = Arc::clone(&self.world);
        world.ledger.lock().says(attempt_of(&draft), &draft.body);
        self.sent.push((room.clone(), draft.clone()));
        if room.app == GATED_APP {
            tasks.spawn(publish(world, doors.clone(), room, draft));
        } else {
            tasks.spawn(execute(world, doors.clone(), room, draft));
        }
    }

    fn choose_room(&self) -> RoomKey {
        let dice = &self.world.act_dice;
        let gated = dice.chance(self.world.scenario.gated);
        let of_kind: Vec<&RoomKey> = self.rooms.iter().filter(|room| (room.app == GATED_APP) == gated).collect();
        let choice = if of_kind.is_empty() { self.rooms.iter().collect() } else { of_kind };
        choice[dice.index(choice.len())].clone()
    }
}

/// Straight to the owner, or to one who says that it is.
async fn execute(world: Arc<World>, doors: Doors, room: RoomKey, draft: Draft) {
    let asked = world.time.now_ms();
    let rival = doors.rival.router().filter(|_| world.act_dice.chance(500));
    let router = match rival {
        Some(rival) => {
            world.count("rival: sends a message");
            rival
        }
        None => doors.router,
    };
    let answer = router.execute(room.clone(), Command::Send(draft.clone())).await;
    auditor::answered(&world, &room, &draft, asked, auditor::APART_MS, &answer);
}

/// Through the door of the moderated app.
async fn publish(world: Arc<World>, doors: Doors, room: RoomKey, draft: Draft) {
    let (asked, number) = (world.time.now_ms(), attempt_of(&draft));
    let known = doors.directory.endpoint(GATED_APP, &EndpointId(EndpointId::DEFAULT.to_owned()));
    gates::begins(&world, &draft, known);
    let app = App { id: GATED_APP, key: "key".into(), admins: [user("admin")].into(), disabled: false };
    let raw = String::from_utf8_lossy(&draft.body).into_owned();
    let outgoing = Outgoing {
        room: room.room.clone(),
        from: draft.from.clone(),
        operator: draft.operator.clone(),
        origin: draft.origin,
        random: draft.content.map(|_| draft.random),
        priority: draft.priority,
        says: Says::Body { raw: &raw, custom_data: "" },
        forbid_before_hook: false,
        forbid_after_hook: draft.forbid_after_hook,
    };
    let result = doors.publisher.send(&app, outgoing, world.time.unix()).await;
    gates::ended(&world, number, &result);
    world.note(|| format!("{room} {number} through the gate: {result:?}"));
    let answer = match result {
        Ok(Published::Answered(receipt)) => Ok(receipt),
        // Told that it was sent, and in no log: as one that the room dropped.
        Ok(Published::Discarded { at }) => Ok(Receipt::Dropped { at }),
        Err(PublishError::Engine(error)) => Err(error),
        Err(PublishError::Late) => Err(ExecuteError::Unknown("late".to_owned())),
        Err(PublishError::Refused { .. } | PublishError::Message(_) | PublishError::SenderMissing) => {
            Err(ExecuteError::Rejected(Reject::MessagesDisabled))
        }
    };
    auditor::answered(&world, &room, &draft, asked, gates::answer_within_ms(&world), &answer);
}

/// A `MsgBody`, and the number that tells it from others.
fn text(word: &str, number: u32) -> (Bytes, ContentHash) {
    let body = format!(r#"[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{word} {number}"}}}}]"#);
    let content = ContentHash::of(body.as_bytes(), NO_CUSTOM_DATA.as_bytes());
    (body.into(), content)
}

fn draft(dice: &Dice, number: u32, poison: u64) -> Draft {
    let from = user(dice.pick(&NAMES));
    let word = if dice.chance(poison) { POISON } else { "hello" };
    let (body, content) = text(word, number);
    Draft {
        operator: from.clone(),
        from,
        origin: Origin { platform: Platform::Web, client_ip: from_address(number), client: None },
        random: number,
        content: dice.chance(900).then_some(content),
        msg_id: MsgId { account: 0, secs: 0, random: 0 },
        priority: dice.pick(&[Priority::Low, Priority::Normal, Priority::High]),
        body,
        custom_data: NO_CUSTOM_DATA.into(),
        forbid_after_hook: dice.chance(50),
    }
}
