//! What a room allows.

use crate::{
    command::{Command, CreateRoom, Facts, Outcome, Receipt, Reject, Sent},
    event::Event,
    ids::{UnixMillis, UserId},
    invariants,
    message::{DedupKey, Draft, Message},
    room::{Life, Role, Room},
};

/// What should happen when `command` meets `room`. Pure: same inputs, same answer, on any machine, in any year.
///
/// `facts` are app-wide truths that the caller looked up; `now` is the caller's clock, which may step back: a
/// room's time never does.
///
/// # Errors
/// The room's refusal. Nothing happened then.
///
/// # Panics
/// When the message would not be `dense`: the state is not one that events fold to.
pub fn decide(room: &Room, facts: &Facts, command: Command, now: UnixMillis) -> Result<Outcome, Reject> {
    match command {
        Command::Create(create) => decide_create(room, create, now),
        Command::Destroy { operator } => decide_destroy(room.life.as_deref(), operator, now),
        Command::Send(draft) => decide_send(room.life.as_deref(), facts, draft, now),
    }
}

fn decide_create(room: &Room, create: CreateRoom, now: UnixMillis) -> Result<Outcome, Reject> {
    let CreateRoom { operator, info, incarnation } = create;
    match room.role(&operator) {
        Some(Role::Owner) => Err(Reject::RoomExistsOwned),
        Some(Role::Member) => Err(Reject::RoomExists),
        None => {
            let created = Event::RoomCreated { at: now, operator, incarnation, info };
            Ok(Outcome { events: vec![created], receipt: Receipt::Created })
        }
    }
}

fn decide_destroy(life: Option<&Life>, operator: UserId, now: UnixMillis) -> Result<Outcome, Reject> {
    let life = life.ok_or(Reject::RoomMissing)?;
    let (at, statistic) = (now.max(life.last_at), life.statistic);
    let destroyed = Event::RoomDestroyed { at, operator, info: life.info.clone(), statistic };
    Ok(Outcome { events: vec![destroyed], receipt: Receipt::Destroyed(statistic) })
}

/// What is decided about a message before the before-send gate is asked (protocol: webhooks §1.7): whether the sender
/// may send here at all, and whether it is the repeat of a message that was sent, then with that message's receipt.
/// `key` is `None` where a message cannot be a repeat. [`decide`] checks all of it again.
///
/// # Errors
/// The room's refusal.
pub fn foresee(room: &Room, from: &UserId, key: Option<DedupKey>, now: UnixMillis) -> Result<Foreseen, Reject> {
    let (life, _, repeats) = before_gate(room.life.as_deref(), from, key, now)?;
    Ok(Foreseen { room_type: life.info.room_type.clone(), repeats })
}

/// What a message that its sender may send would meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// The room's type, which the before-send webhook tells.
    pub room_type: String,
    /// The receipt of the message that this one repeats.
    pub repeats: Option<Sent>,
}

/// In the order of protocol: webhooks §1.7; what comes before is checked by the door.
fn before_gate<'a>(
    life: Option<&'a Life>,
    from: &UserId,
    key: Option<DedupKey>,
    now: UnixMillis,
) -> Result<(&'a Life, UnixMillis, Option<Sent>), Reject> {
    let life = life.ok_or(Reject::RoomMissing)?;
    let at = now.max(life.last_at);
    if life.info.is_message_disabled && life.role(from) != Role::Owner {
        return Err(Reject::MessagesDisabled);
    }
    Ok((life, at, key.and_then(|key| life.window.find(from, key, at))))
}

fn decide_send(life: Option<&Life>, facts: &Facts, draft: Draft, now: UnixMillis) -> Result<Outcome, Reject> {
    let (life, at, first) = before_gate(life, &draft.from, draft.dedup_key(), now)?;
    if let Some(first) = first {
        return Ok(Outcome { events: Vec::new(), receipt: Receipt::Repeated(first) });
    }
    if !life.rate.allows(draft.priority, facts.room_messages_per_s, at) {
        return Ok(Outcome { events: Vec::new(), receipt: Receipt::Dropped { at } });
    }
    let seq = life.top.next();
    assert!(invariants::dense(life.top, seq), "dense: {seq} after {}", life.top);
    let receipt = Receipt::Sent(Sent { seq, at, msg_id: draft.msg_id });
    let room_type = match life.info.room_type.as_str() {
        Message::LIVE => String::new(),
        other => other.to_owned(),
    };
    Ok(Outcome { events: vec![Event::MessageSent(Message { seq, at, room_type, draft })], receipt })
}
