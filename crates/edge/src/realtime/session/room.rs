//! Commands about rooms. A room is the channel `room:` + `RoomId`.

use bytes::Bytes;
use roomhook_centrifuge::{
    HistoryRequest, PublishRequest, ReplyBody, RpcRequest, SubscribeRequest, UnsubscribeResult, codes, raw,
};
use roomhook_room::{Platform, RoomId};

use super::{Action, MessageInput, Pending, Session, Step, bad_request, data};

/// What every room's channel starts with.
const ROOM_PREFIX: &str = "room:";
/// What every user's own channel starts with.
const USER_PREFIX: &str = "user:";

/// Tells the joins of one connection apart, so that the end of one membership is never taken for the end of a later one of
/// the same room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JoinNo(pub(crate) u64);

/// A room that the client is in.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) room: RoomId,
    pub(super) no: JoinNo,
}

/// A wish to be in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    /// The command to answer.
    pub(crate) id: u32,
    pub(crate) no: JoinNo,
    pub(crate) room: RoomId,
    /// From where to go on, for a member that comes back.
    pub(crate) resume: Option<Resume>,
    /// The client wants to see others come and go.
    pub(crate) join_leave: bool,
}

/// Where a member that comes back was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    /// Empty matches any.
    pub(crate) epoch: String,
    pub(crate) offset: u64,
    /// Answer 112 instead of `recovered: false`.
    pub(crate) or_error: bool,
}

/// Which older messages (protocol: realtime §5, history).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HistoryQuery {
    /// At most this many; 0 asks for the position alone.
    pub(crate) limit: usize,
    /// Exclusive.
    pub(crate) since: Option<Resume>,
    pub(crate) newest_first: bool,
}

impl Session {
    pub(super) fn subscribe(&mut self, id: u32, request: &SubscribeRequest) -> Step {
        let Some(room) = room_of(&request.channel) else {
            let own = request.channel.starts_with(USER_PREFIX);
            return self.refuse(id, if own { codes::error::PERMISSION_DENIED } else { codes::error::UNKNOWN_CHANNEL });
        };
        if self.is_in(&room) {
            return self.refuse(id, codes::error::ALREADY_SUBSCRIBED);
        }
        if self.rooms.len() >= self.settings.rooms_max {
            return self.refuse(id, codes::error::LIMIT_EXCEEDED);
        }
        let resume = request.recover.then(|| Resume {
            epoch: request.epoch.clone(),
            offset: request.offset,
            or_error: request.flag & SubscribeRequest::FLAG_UNRECOVERABLE_IS_ERROR != 0,
        });
        self.joins += 1;
        let no = JoinNo(self.joins);
        self.pending = Some(Pending::Join { id, room: room.clone(), no, over: false });
        Step::Do(Action::Join(Join { id, no, room, resume, join_leave: request.join_leave }))
    }

    /// Success even for a room that was not joined, and at once: anything else makes SDKs reconnect.
    pub(super) fn unsubscribe(&mut self, id: u32, channel: &str) -> Step {
        let done = self.reply(id, ReplyBody::Unsubscribe(UnsubscribeResult {}));
        let Some(room) = self.joined(channel) else { return done };
        self.rooms.retain(|joined| joined.room != room);
        self.pending = Some(Pending::Leave { room: room.clone() });
        Step::Do(Action::Leave { room })
    }

    pub(super) fn publish(&mut self, id: u32, platform: Platform, request: &PublishRequest) -> Step {
        let Some(room) = self.joined(&request.channel) else {
            return self.refuse(id, codes::error::PERMISSION_DENIED);
        };
        match payload(&request.data).and_then(|json| MessageInput::parse(&json)) {
            Ok(input) => {
                self.pending = Some(Pending::Publish { id });
                Step::Do(Action::Send { room, platform, input })
            }
            Err(error) => self.refuse(id, error),
        }
    }

    pub(super) fn rpc(&mut self, id: u32, platform: Platform, request: &RpcRequest) -> Step {
        if request.method != "room.send" {
            return self.refuse(id, codes::error::METHOD_NOT_FOUND);
        }
        match payload(&request.data).and_then(|json| data::parse_room_send(&json)) {
            Ok((room, _)) if !self.is_in(&room) => self.refuse(id, codes::error::PERMISSION_DENIED),
            Ok((room, input)) => {
                self.pending = Some(Pending::Rpc { id });
                Step::Do(Action::Send { room, platform, input })
            }
            Err(error) => self.refuse(id, error),
        }
    }

    /// A question about a room that only its members may ask.
    pub(super) fn ask(&mut self, id: u32, channel: &str, action: impl FnOnce(RoomId) -> Action) -> Step {
        let Some(room) = self.joined(channel) else {
            return self.refuse(id, codes::error::PERMISSION_DENIED);
        };
        self.pending = Some(Pending::Ask { id });
        Step::Do(action(room))
    }

    pub(super) fn history(&mut self, id: u32, request: &HistoryRequest) -> Step {
        let since = request.since.as_ref();
        if request.reverse && since.is_some_and(|since| since.offset == 0) {
            return self.refuse(id, codes::error::BAD_REQUEST);
        }
        let query = HistoryQuery {
            // Negative means all; the server has its own cap.
            limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
            since: since.map(|s| Resume { epoch: s.epoch.clone(), offset: s.offset, or_error: true }),
            newest_first: request.reverse,
        };
        self.ask(id, &request.channel, |room| Action::History { id, room, query })
    }

    /// The room of a channel, if this client is in it.
    fn joined(&self, channel: &str) -> Option<RoomId> {
        let name = channel.strip_prefix(ROOM_PREFIX)?;
        self.rooms.iter().map(|joined| &joined.room).find(|room| room.as_str() == name).cloned()
    }

    fn is_in(&self, room: &RoomId) -> bool {
        self.rooms.iter().any(|joined| joined.room == *room)
    }
}

/// How deep a payload may be nested. The message's own limit is lower, and told in its own words.
const PAYLOAD_DEPTH_MAX: usize = 64;

/// A payload as JSON text. From JSON clients it is that already; from Protobuf clients it may be anything.
fn payload(data: &Bytes) -> Result<Bytes, roomhook_centrifuge::Error> {
    raw::minify(data, PAYLOAD_DEPTH_MAX).map_err(|error| bad_request(&error))
}

fn room_of(channel: &str) -> Option<RoomId> {
    RoomId::new(channel.strip_prefix(ROOM_PREFIX)?).ok()
}

/// The channel of a room.
pub(crate) fn room_channel(room: &RoomId) -> String {
    format!("{ROOM_PREFIX}{room}")
}
