//! Webhook bodies as a receiver sees them: typed, owned, with every member that is not known kept.
//!
//! ```
//! use roomhook_protocol::webhook::Event;
//!
//! let body = br#"{"CallbackCommand":"Group.CallbackAfterSendMsg","GroupId":"room-7","Type":"Live","From_Account":"ana_k",
//!     "Operator_Account":"ana_k","Random":7,"MsgId":"144115289000012345-1767225663-7","MsgSeq":318,"MsgTime":1767225663,
//!     "MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi"}}],"CloudCustomData":"","EventTime":"1767225663418",
//!     "NickName":"Ana"}"#;
//! let Event::AfterSendMsg(sent) = Event::parse(body)? else { panic!("not the event we expected") };
//! assert_eq!(sent.msg_seq, 318);
//! assert_eq!(sent.msg_body[0].text(), Some("hi"));
//! assert_eq!(sent.event_time.millis, 1_767_225_663_418);
//! assert_eq!(sent.other["NickName"], "Ana");
//! # Ok::<(), roomhook_protocol::webhook::EventError>(())
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::{json, webhook::CommandWord};

mod message;
mod room;

pub use message::{AfterRecallMsg, AfterSendMsg, BeforeSendMsg, Custom, Element, RecalledMsg, SendMsgException};
pub use room::{
    AfterChangeOwner, AfterCreateRoom, AfterDelMetadata, AfterDestroyRoom, AfterMemberStateChanged, AfterModifyAdmin,
    AfterSetMetadata, AfterUpdateRoomInfo, Member, Metadata, RoomInfo, Statistic,
};

/// The most levels that the JSON of a webhook body may nest.
const DEPTH_MAX: usize = 48;

macro_rules! events {
    ($($name:ident = $word:ident,)*) => {
        /// The body of a webhook. Of the commands for seats, battles, gifts, follows and Chat groups the JSON is kept as it is.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Event {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
            /// A command without a type of its own here.
            Unknown {
                /// `CallbackCommand`.
                command: String,
                /// The whole body, `CallbackCommand` included.
                body: Map<String, Value>,
            },
        }

        impl Event {
            /// `CallbackCommand`.
            #[must_use]
            pub fn command(&self) -> &str {
                match self {
                    $(Self::$name(_) => CommandWord::$word.as_str(),)*
                    Self::Unknown { command, .. } => command,
                }
            }

            fn typed(command: &str, body: &str) -> Result<Option<Self>, serde_json::Error> {
                match CommandWord::parse(command) {
                    $(Some(CommandWord::$word) => {
                        let mut event: $name = serde_json::from_str(body)?;
                        // It is in the variant; kept here as well, it could disagree.
                        event.other.remove("CallbackCommand");
                        Ok(Some(Self::$name(event)))
                    })*
                    _ => Ok(None),
                }
            }
        }

        impl Serialize for Event {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$name(event) => Tagged { command: self.command(), event }.serialize(serializer),)*
                    Self::Unknown { body, .. } => body.serialize(serializer),
                }
            }
        }
    };
}

events! {
    AfterSendMsg = GroupAfterSendMsg,
    BeforeSendMsg = GroupBeforeSendMsg,
    SendMsgException = GroupSendMsgException,
    AfterRecallMsg = GroupAfterRecallMsg,
    AfterCreateRoom = LiveAfterCreateRoom,
    AfterDestroyRoom = LiveAfterDestroyRoom,
    AfterUpdateRoomInfo = LiveAfterUpdateRoomInfo,
    AfterMemberStateChanged = LiveAfterMemberStateChanged,
    AfterChangeOwner = LiveAfterChangeOwner,
    AfterModifyAdmin = LiveAfterModifyAdmin,
    AfterSetMetadata = LiveAfterSetMetadata,
    AfterDelMetadata = LiveAfterDelMetadata,
}

#[derive(Serialize)]
struct Tagged<'a, T> {
    #[serde(rename = "CallbackCommand")]
    command: &'a str,
    #[serde(flatten)]
    event: &'a T,
}

impl Event {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is not a JSON object with a `CallbackCommand`, or a known command lacks a member or has one of another type.
    pub fn parse(body: &[u8]) -> Result<Self, EventError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "CallbackCommand")]
            command: String,
        }
        let body = std::str::from_utf8(body).map_err(|_| EventError::Utf8)?;
        if json::shape(body.as_bytes()).depth > DEPTH_MAX {
            return Err(EventError::TooDeep);
        }
        // serde would also read a struct from an array of its members.
        if !body.trim_ascii_start().starts_with('{') {
            return Err(EventError::NotAnObject);
        }
        let head: Head = serde_json::from_str(body)?;
        match Self::typed(&head.command, body)? {
            Some(event) => Ok(event),
            None => Ok(Self::Unknown { command: head.command, body: serde_json::from_str(body)? }),
        }
    }

    /// The room that the event is about: `GroupId` or `RoomId`, which are the same string.
    #[must_use]
    pub fn room_id(&self) -> Option<&str> {
        match self {
            Self::AfterSendMsg(event) => Some(&event.group_id),
            Self::BeforeSendMsg(event) => Some(&event.group_id),
            Self::SendMsgException(event) => Some(&event.group_id),
            Self::AfterRecallMsg(event) => Some(&event.group_id),
            Self::AfterCreateRoom(event) => event.room_info.room_id.as_deref(),
            Self::AfterDestroyRoom(event) => Some(&event.room_id),
            Self::AfterUpdateRoomInfo(event) => event.room_info.room_id.as_deref(),
            Self::AfterMemberStateChanged(event) => Some(&event.room_id),
            Self::AfterChangeOwner(event) => Some(&event.room_id),
            Self::AfterModifyAdmin(event) => Some(&event.room_id),
            Self::AfterSetMetadata(event) => Some(&event.room_id),
            Self::AfterDelMetadata(event) => Some(&event.room_id),
            Self::Unknown { body, .. } => body.get("GroupId").or_else(|| body.get("RoomId"))?.as_str(),
        }
    }
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    #[error("the body is not valid UTF-8")]
    Utf8,
    #[error("the body nests deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("the body is not a JSON object")]
    NotAnObject,
    #[error("the body is not a webhook of its command: {0}")]
    Json(#[from] serde_json::Error),
}

/// `EventTime`: Unix milliseconds, a number or (as in the original page's sample) a string. Written back as it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTime {
    /// Unix milliseconds.
    pub millis: u64,
    /// Whether it came, and is written, as a string.
    pub as_string: bool,
}

impl EventTime {
    /// The usual form, a number.
    #[must_use]
    pub const fn number(millis: u64) -> Self {
        Self { millis, as_string: false }
    }
}

impl Serialize for EventTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.as_string { serializer.collect_str(&self.millis) } else { serializer.serialize_u64(self.millis) }
    }
}

impl<'de> Deserialize<'de> for EventTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected EventTime as Unix milliseconds, a number or a string")]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(millis) => Ok(Self { millis, as_string: false }),
            Form::Text(text) => {
                let millis = json::plain_decimal(&text);
                let millis = millis.ok_or_else(|| de::Error::custom("EventTime is no decimal number"))?;
                Ok(Self { millis, as_string: true })
            }
        }
    }
}
