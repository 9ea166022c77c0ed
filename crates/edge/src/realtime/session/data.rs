//! The application's part of commands: what a message's publish data may say, what a sent message answers.

use std::borrow::Cow;

use bytes::Bytes;
use roomhook_centrifuge::{Error, codes};
use roomhook_room::{Priority, RoomId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Sent;

/// A message's parts as the client gave them. What they hold is checked where all doors meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageInput {
    pub(crate) says: Says,
    pub(crate) custom_data: String,
    /// The sender's own number for the message: the same one again is a repeat.
    pub(crate) random: Option<u32>,
    pub(crate) priority: Priority,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// `MsgBody` as JSON text.
    Body(String),
    /// Short for one text element.
    Text(String),
}

/// Publish data, and RPC data (then with `RoomId`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MessageData<'a> {
    #[serde(borrow, default)]
    room_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    msg_body: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cloud_custom_data: Option<Cow<'a, str>>,
    #[serde(default)]
    random: Option<u32>,
    #[serde(borrow, default)]
    msg_priority: Option<Cow<'a, str>>,
}

impl MessageInput {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Error> {
        read(json)?.try_into()
    }
}

impl TryFrom<MessageData<'_>> for MessageInput {
    type Error = Error;

    fn try_from(data: MessageData<'_>) -> Result<Self, Error> {
        let says = match (data.msg_body, data.text) {
            (Some(body), None) => Says::Body(body.get().to_owned()),
            (None, Some(text)) => Says::Text(text.into_owned()),
            _ => return Err(explained("data must hold either MsgBody or Text")),
        };
        let priority = match data.msg_priority.as_deref() {
            None | Some("Normal") => Priority::Normal,
            Some("High") => Priority::High,
            Some("Low") => Priority::Low,
            Some(_) => return Err(explained("MsgPriority must be High, Normal or Low")),
        };
        let custom_data = data.cloud_custom_data.unwrap_or_default().into_owned();
        Ok(Self { says, custom_data, random: data.random, priority })
    }
}

/// The data of the RPC `room.send`.
pub(super) fn parse_room_send(json: &[u8]) -> Result<(RoomId, MessageInput), Error> {
    let data = read(json)?;
    let room = data.room_id.as_deref().ok_or_else(|| explained("RoomId is missing"))?;
    let room = RoomId::new(room).map_err(|error| bad_request(&error))?;
    Ok((room, data.try_into()?))
}

fn read(json: &[u8]) -> Result<MessageData<'_>, Error> {
    serde_json::from_slice(json).map_err(|_| explained("data is not an object with the documented members"))
}

/// What `room.send` answers.
pub(super) fn sent_json(sent: &Sent) -> Bytes {
    let Sent { msg_id, seq, at } = sent;
    let msg_id = msg_id.map(|id| id.to_string()).unwrap_or_default();
    format!(r#"{{"MsgId":"{msg_id}","MsgSeq":{seq},"MsgTime":{}}}"#, at.secs()).into()
}

/// Error 107 with the reason in words.
pub(crate) fn bad_request(reason: &impl std::fmt::Display) -> Error {
    explained(&reason.to_string())
}

fn explained(reason: &str) -> Error {
    let code = codes::error::BAD_REQUEST;
    Error { code: code.code, message: format!("{}: {reason}", code.message), temporary: false }
}
