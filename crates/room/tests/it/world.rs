//! What the tests are told in: users, drafts, a room with its whole past.

use std::net::Ipv4Addr;

use bytes::Bytes;
use roomhook_room::{
    Command, ContentHash, CreateRoom, Draft, Event, Facts, Incarnation, MsgId, Origin, Outcome, Platform, Priority,
    Reject, Room, RoomInfo, UnixMillis, UserId, decide, fold,
};

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(crate) fn info(owner: &str) -> RoomInfo {
    RoomInfo {
        name: "Lobby".into(),
        cover_url: "https://img.example/c.png".into(),
        notice: "be kind".into(),
        seat_template: "AudioSalon".into(),
        take_seat_mode: "FreeToTake".into(),
        is_seat_enabled: true,
        is_public_visible: true,
        keep_owner_on_seat: true,
        max_seat_count: 9,
        max_member_count: 100,
        activity_status: -3,
        category: vec![1, 2],
        ..RoomInfo::bare("Live", user(owner))
    }
}

pub(crate) fn create(owner: &str, bits: u64) -> Command {
    let incarnation = Incarnation::from_random(bits);
    Command::Create(CreateRoom { operator: user(owner), info: info(owner), incarnation })
}

pub(crate) fn draft(from: &str, random: u32, body: &str) -> Draft {
    Draft {
        from: user(from),
        operator: user("administrator"),
        origin: Origin { platform: Platform::RestApi, client_ip: Ipv4Addr::new(203, 0, 113, 7).into(), client: None },
        random,
        content: Some(ContentHash::of(body.as_bytes(), b"\"\"")),
        msg_id: MsgId { account: (1 << 57) + 1, secs: 1_700_000_000, random },
        priority: Priority::Normal,
        body: Bytes::copy_from_slice(body.as_bytes()),
        custom_data: Bytes::from_static(b"\"\""),
        forbid_after_hook: false,
    }
}

/// A room and everything that ever happened in it.
pub(crate) struct World {
    pub(crate) room: Room,
    pub(crate) past: Vec<Event>,
    pub(crate) facts: Facts,
    pub(crate) now: UnixMillis,
}

impl World {
    pub(crate) fn new() -> Self {
        let now = UnixMillis(1_700_000_000_000);
        Self { room: Room::absent(), past: Vec::new(), facts: Facts::default(), now }
    }

    pub(crate) fn run(&mut self, command: Command) -> Result<Outcome, Reject> {
        let outcome = decide(&self.room, &self.facts, command, self.now)?;
        for event in &outcome.events {
            fold(&mut self.room, event);
            self.past.push(event.clone());
        }
        Ok(outcome)
    }

    pub(crate) fn wait(&mut self, ms: i64) {
        self.now = UnixMillis(self.now.0.saturating_add_signed(ms));
    }
}
