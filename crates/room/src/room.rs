//! A room: the fold of its events.

use crate::{
    command::{RoomInfo, Statistic},
    dedup::Window,
    event::Event,
    ids::{Incarnation, MsgSeq, UnixMillis, UserId},
    invariants,
    rate::Rate,
};

/// What is known of one room. Made by folding its events, or a snapshot and the events after it; both give the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Room {
    pub(crate) life: Option<Box<Life>>,
}

/// A room between its creation and its destruction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Life {
    pub(crate) incarnation: Incarnation,
    pub(crate) created_at: UnixMillis,
    pub(crate) info: RoomInfo,
    pub(crate) top: MsgSeq,
    pub(crate) statistic: Statistic,
    /// Time of the newest event: the next one is not earlier, even if the clock steps back.
    pub(crate) last_at: UnixMillis,
    pub(crate) rate: Rate,
    pub(crate) window: Window,
}

/// What a user is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Owner,
    /// Anybody else. Whether they are present is no matter of the log.
    Member,
}

impl Room {
    /// A room that was never created, or was destroyed: both are the same to everybody.
    #[must_use]
    pub const fn absent() -> Self {
        Self { life: None }
    }

    #[must_use]
    pub const fn exists(&self) -> bool {
        self.life.is_some()
    }

    #[must_use]
    pub fn info(&self) -> Option<&RoomInfo> {
        self.life.as_ref().map(|life| &life.info)
    }

    /// Number of the newest message; 0 while there is none.
    #[must_use]
    pub fn top(&self) -> MsgSeq {
        self.life.as_ref().map_or(MsgSeq(0), |life| life.top)
    }

    /// The Centrifuge `epoch`; `None` while the room is absent.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.life.as_ref().map(|life| life.incarnation)
    }

    #[must_use]
    pub fn created_at(&self) -> Option<UnixMillis> {
        self.life.as_ref().map(|life| life.created_at)
    }

    #[must_use]
    pub fn statistic(&self) -> Statistic {
        self.life.as_ref().map_or_else(Statistic::default, |life| life.statistic)
    }

    /// `None` while the room is absent.
    #[must_use]
    pub fn role(&self, user: &UserId) -> Option<Role> {
        self.life.as_ref().map(|life| life.role(user))
    }

    /// How many messages the room remembers in order to recognise repeats.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.life.as_ref().map_or(0, |life| life.window.len())
    }
}

impl Life {
    pub(crate) fn role(&self, user: &UserId) -> Role {
        if self.info.owner == *user { Role::Owner } else { Role::Member }
    }
}

/// What happened. It cannot be refused, because the event is already true.
///
/// A message of a room that is absent changes nothing. That happens when a restart replays a part of a room's past whose
/// end (its destruction) is already in its snapshot; any part that ends with a destruction folds to an absent room.
///
/// # Panics
/// When a message does not follow the room's last one (`dense`). What comes from a disk is checked with
/// [`invariants::continues`](crate::invariants::continues) first.
pub fn fold(room: &mut Room, event: &Event) {
    match event {
        Event::RoomCreated { at, incarnation, info, .. } => {
            room.life = Some(Box::new(Life {
                incarnation: *incarnation,
                created_at: *at,
                info: info.clone(),
                top: MsgSeq(0),
                statistic: Statistic::default(),
                last_at: *at,
                rate: Rate::default(),
                window: Window::default(),
            }));
        }
        Event::RoomDestroyed { .. } => *room = Room::absent(),
        Event::MessageSent(message) => {
            let Some(life) = &mut room.life else { return };
            assert!(invariants::dense(life.top, message.seq), "dense: {} after {}", message.seq, life.top);
            life.top = message.seq;
            life.last_at = life.last_at.max(message.at);
            life.statistic.total_messages = life.statistic.total_messages.saturating_add(1);
            life.rate.count(message.at);
            match message.draft.dedup_key() {
                Some(key) => life.window.remember(message, key),
                None => life.window.forget_until(message.at),
            }
        }
    }
}
