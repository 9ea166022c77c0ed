//! What an endpoint is owed: which events of which records, and what is posted for them. Pure.

use std::sync::Arc;

use bytes::Bytes;
use roomhook_log::{Lsn, Record};
use roomhook_protocol::webhook::{AfterSendMsg, CommandWord, Style};
use roomhook_room::{CodecError, Endpoint, Event, Message, PastSwitches, Positions, RoomKey, decode_record};

use crate::{
    bodies,
    engine::{Content, EventPos, Owed},
    rows::SwitchesRow,
};

/// The command words that room events can fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    AfterSendMsg,
    AfterCreateRoom,
    AfterDestroyRoom,
    /// Never owed: what [`crate::Handle::test`] sends.
    Test,
}

impl Command {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::AfterSendMsg => CommandWord::GroupAfterSendMsg,
            Self::AfterCreateRoom => CommandWord::LiveAfterCreateRoom,
            Self::AfterDestroyRoom => CommandWord::LiveAfterDestroyRoom,
            Self::Test => return "Roomhook.CallbackTest",
        }
        .as_str()
    }

    /// The command that an event fires.
    pub fn of(event: &Event) -> Self {
        match event {
            Event::MessageSent(_) => Self::AfterSendMsg,
            Event::RoomCreated { .. } => Self::AfterCreateRoom,
            Event::RoomDestroyed { .. } => Self::AfterDestroyRoom,
        }
    }
}

/// The part of an endpoint's settings that decides what it is owed. Kept with the cursor, because what was owed when an
/// event was appended stays owed when the switches change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    pub has_url: bool,
    /// Command words, sorted.
    pub commands: Vec<String>,
    pub room_prefix: String,
}

/// Why an event is not owed to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    #[error("the event belongs to another app")]
    OtherApp,
    #[error("the endpoint has no URL")]
    NoUrl,
    #[error("the command is switched off")]
    SwitchedOff,
    #[error("the room filter does not match")]
    Filtered,
    #[error("the sender forbade it (ForbidAfterSendMsgCallback)")]
    Forbidden,
    #[error("it was appended before the endpoint began")]
    BeforeStart,
}

impl Switches {
    pub fn of(endpoint: &Endpoint) -> Self {
        let mut commands = endpoint.commands.clone();
        commands.sort_unstable();
        commands.dedup();
        Self { has_url: !endpoint.url.is_empty(), commands, room_prefix: endpoint.room_prefix.clone() }
    }

    /// Whether an event in a room of the endpoint's own app is owed.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn owes(&self, room: &str, event: &Event) -> Result<Command, WhyNot> {
        if !self.has_url {
            return Err(WhyNot::NoUrl);
        }
        if !room.starts_with(&self.room_prefix) {
            return Err(WhyNot::Filtered);
        }
        let command = Command::of(event);
        if !self.commands.iter().any(|word| word == command.word()) {
            return Err(WhyNot::SwitchedOff);
        }
        match event {
            Event::MessageSent(message) if message.draft.forbid_after_hook => Err(WhyNot::Forbidden),
            _ => Ok(command),
        }
    }

    /// What was switched on from which records on, oldest first: the endpoint's past, then as it is now.
    pub fn timeline(endpoint: &Endpoint) -> Vec<(Positions, Arc<Self>)> {
        let mut from = Positions::default();
        let mut timeline = Vec::with_capacity(endpoint.past.len() + 1);
        for past in &endpoint.past {
            timeline.push((from, Arc::new(Self::past(past))));
            from = past.until.clone();
        }
        timeline.push((from, Arc::new(Self::of(endpoint))));
        timeline
    }

    fn past(past: &PastSwitches) -> Self {
        let mut commands = past.commands.clone();
        commands.sort_unstable();
        commands.dedup();
        Self { has_url: past.has_url, commands, room_prefix: past.room_prefix.clone() }
    }

    pub(crate) fn to_row(&self, from: Lsn) -> SwitchesRow {
        SwitchesRow {
            since: 0,
            from: from.0,
            has_url: self.has_url,
            commands: self.commands.clone(),
            room_prefix: self.room_prefix.clone(),
        }
    }

    pub(crate) fn from_row(row: &SwitchesRow) -> Self {
        Self { has_url: row.has_url, commands: row.commands.clone(), room_prefix: row.room_prefix.clone() }
    }

    /// A first look at the record's key alone, which spares decoding most records of others.
    fn may_owe(&self, app: &[u8; 4], key: &[u8]) -> bool {
        let room = key.strip_prefix(app.as_slice());
        self.has_url && room.is_some_and(|room| room.starts_with(self.room_prefix.as_bytes()))
    }
}

/// What of `record` is owed to an endpoint of `app`, in the order of its events. `reuse` may answer with content that was
/// made before for the same event and style, or make it.
///
/// # Errors
/// When the record cannot be decoded: a newer release wrote it, or it is damaged.
pub fn owed(
    record: &Record,
    app: u32,
    switches: &Switches,
    style: Style,
    mut reuse: impl FnMut(EventPos, &dyn Fn() -> Content) -> Content,
) -> Result<Vec<Owed>, CodecError> {
    each(record, app, switches, |index, room, command, event| {
        let pos = EventPos { lsn: record.lsn, index };
        let content = reuse(pos, &|| content(room, command, event, style));
        Owed { pos, room: record.key.0.clone(), seq: seq(event), at: event.at().0, content }
    })
}

/// For [`owed`]: makes all content anew.
pub fn afresh(_: EventPos, make: &dyn Fn() -> Content) -> Content {
    make()
}

/// As [`owed`], but only how many.
///
/// # Errors
/// As [`owed`].
pub fn count(record: &Record, app: u32, switches: &Switches) -> Result<usize, CodecError> {
    each(record, app, switches, |_, _, _, _| ()).map(|owed| owed.len())
}

fn each<T>(
    record: &Record,
    app: u32,
    switches: &Switches,
    mut make: impl FnMut(u32, &RoomKey, Command, &Event) -> T,
) -> Result<Vec<T>, CodecError> {
    if !switches.may_owe(&app.to_be_bytes(), &record.key.0) {
        return Ok(Vec::new());
    }
    let Some(room) = RoomKey::from_bytes(&record.key.0) else { return Ok(Vec::new()) };
    let events = decode_record(&record.payload)?;
    let owed = (0..).zip(&events).filter_map(|(index, event)| {
        let command = switches.owes(room.room.as_str(), event).ok()?;
        Some(make(index, &room, command, event))
    });
    Ok(owed.collect())
}

/// The content of one event, for a delivery that the engine kept without it. `None` when there is no such event.
///
/// # Errors
/// As [`owed`].
pub fn content_at(record: &Record, index: u32, style: Style) -> Result<Option<Content>, CodecError> {
    let Some(room) = RoomKey::from_bytes(&record.key.0) else { return Ok(None) };
    let events = decode_record(&record.payload)?;
    let event = usize::try_from(index).ok().and_then(|index| events.get(index));
    Ok(event.map(|event| content(&room, Command::of(event), event, style)))
}

/// `MsgSeq` of a message, 0 for other events.
pub fn seq(event: &Event) -> u64 {
    match event {
        Event::MessageSent(message) => message.seq.0,
        Event::RoomCreated { .. } | Event::RoomDestroyed { .. } => 0,
    }
}

fn content(room: &RoomKey, command: Command, event: &Event, style: Style) -> Content {
    let room = room.room.as_str();
    let (origin, body) = match event {
        Event::MessageSent(message) => (Some(message.draft.origin), after_send(room, message, style)),
        Event::RoomCreated { at, operator, info, .. } => (None, bodies::room_created(room, *at, operator, info)),
        Event::RoomDestroyed { at, operator, info, statistic } => {
            (None, bodies::room_destroyed(room, *at, operator, info, statistic))
        }
    };
    Content { command, origin, body: Bytes::from(body) }
}

fn after_send(room: &str, message: &Message, style: Style) -> Vec<u8> {
    let draft = &message.draft;
    let mut body = Vec::new();
    AfterSendMsg {
        group_id: room,
        group_type: message.room_type(),
        from_account: draft.from.as_str(),
        operator_account: draft.operator.as_str(),
        random: draft.random,
        msg_id: &draft.msg_id.to_string(),
        msg_seq: message.seq.0,
        msg_time: message.at.secs(),
        msg_body: &draft.body,
        cloud_custom_data: &draft.custom_data,
        event_time_ms: message.at.0,
    }
    .write_json(style, &mut body);
    body
}

/// How an endpoint wants its bodies.
pub fn style(endpoint: &Endpoint) -> Style {
    Style { event_time_as_string: endpoint.event_time_as_string, extra_fields: endpoint.extra_fields }
}

/// What was switched on from which record on, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History(pub Vec<(Lsn, Arc<Switches>)>);

impl History {
    /// What was switched on at a record.
    pub fn at(&self, lsn: Lsn) -> Option<&Switches> {
        let at = self.0.iter().rev().find(|(from, _)| *from <= lsn).or(self.0.first());
        at.map(|(_, switches)| switches.as_ref())
    }

    /// Whether no change was heard of since `before` was told.
    pub fn is_still(&self, before: &History) -> bool {
        // A change is added at the end, and the last one is never forgotten.
        self.0.last() == before.0.last()
    }
}
