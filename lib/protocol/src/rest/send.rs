//! Sending messages (protocol: rest §2, §7).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::check::{Checks, Invalid, Problem};
use crate::{
    codes::{self, Family},
    json::null_is_absent,
    message::{Content, Limits, MessageError},
};

const LIVE: Checks = Checks(Family::Live);
const GROUP: Checks = Checks(Family::Group);

/// `MsgDropReason` of a message that rate control dropped: success for the sender, nothing sent.
pub const DROPPED_BY_RATE: &str = "MsgFreqCtrl";

/// `v4/live_engine_http_srv/send_text_msg`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendTextMsg<'a> {
    /// `RoomId`.
    #[serde(rename = "RoomId", borrow)]
    pub room_id: Cow<'a, str>,
    /// `Sender_Account`.
    #[serde(rename = "Sender_Account", borrow)]
    pub sender_account: Cow<'a, str>,
    /// `TextContent`.
    #[serde(rename = "TextContent", borrow)]
    pub text_content: Cow<'a, str>,
    /// `ExtensionInfo`: becomes `CloudCustomData`. Documented as JSON text; any text is taken over unchanged.
    #[serde(rename = "ExtensionInfo", borrow, default, skip_serializing_if = "Option::is_none")]
    pub extension_info: Option<Cow<'a, str>>,
}

impl SendTextMsg<'_> {
    /// # Errors
    /// When an id is malformed.
    pub fn check(&self) -> Result<(), Invalid> {
        LIVE.room_id("RoomId", &self.room_id)?;
        LIVE.user_id("Sender_Account", &self.sender_account)
    }

    /// The message that this call packages.
    ///
    /// # Errors
    /// When it is too long.
    pub fn content(&self, limits: &Limits) -> Result<Content, MessageError> {
        Content::text(&self.text_content, self.extension_info.as_deref().unwrap_or_default(), limits)
    }
}

/// `v4/live_engine_http_srv/send_custom_msg`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendCustomMsg<'a> {
    /// `RoomId`.
    #[serde(rename = "RoomId", borrow)]
    pub room_id: Cow<'a, str>,
    /// `Sender_Account`: the calling admin when absent.
    #[serde(rename = "Sender_Account", borrow, default, skip_serializing_if = "Option::is_none")]
    pub sender_account: Option<Cow<'a, str>>,
    /// `BusinessId`.
    #[serde(rename = "BusinessId", borrow)]
    pub business_id: Cow<'a, str>,
    /// `Data`.
    #[serde(rename = "Data", borrow)]
    pub data: Cow<'a, str>,
}

impl SendCustomMsg<'_> {
    /// # Errors
    /// When an id is malformed or `BusinessId` is empty.
    pub fn check(&self) -> Result<(), Invalid> {
        LIVE.room_id("RoomId", &self.room_id)?;
        self.sender_account.as_deref().map_or(Ok(()), |sender| LIVE.user_id("Sender_Account", sender))?;
        LIVE.not_empty("BusinessId", &self.business_id)
    }

    /// The message that this call packages.
    ///
    /// # Errors
    /// When it is too long.
    pub fn content(&self, limits: &Limits) -> Result<Content, MessageError> {
        Content::custom(&self.business_id, &self.data, limits)
    }
}

/// `MsgPriority`; case matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MsgPriority {
    /// Dropped last.
    High,
    /// As when there is none.
    #[default]
    Normal,
    /// Dropped first.
    Low,
}

/// `ForbidCallbackControl`: webhooks that this one message does not cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ForbidCallback {
    /// `ForbidBeforeSendMsgCallback`.
    #[serde(rename = "ForbidBeforeSendMsgCallback")]
    BeforeSendMsg,
    /// `ForbidAfterSendMsgCallback`.
    #[serde(rename = "ForbidAfterSendMsgCallback")]
    AfterSendMsg,
}

/// `v4/group_open_http_svc/send_group_msg`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendGroupMsg<'a> {
    /// `GroupId`.
    #[serde(rename = "GroupId", borrow)]
    pub group_id: Cow<'a, str>,
    /// `Random`: repeated within the window by the same sender in the same room with the same content, it is the same message.
    /// Documented as required; without one, the message repeats nothing.
    #[serde(rename = "Random", default, skip_serializing_if = "Option::is_none")]
    pub random: Option<u32>,
    /// `MsgPriority`.
    #[serde(rename = "MsgPriority", default, skip_serializing_if = "Option::is_none")]
    pub msg_priority: Option<MsgPriority>,
    /// `From_Account`: the calling admin when absent.
    #[serde(rename = "From_Account", borrow, default, skip_serializing_if = "Option::is_none")]
    pub from_account: Option<Cow<'a, str>>,
    /// `MsgBody`: unchecked JSON; [`SendGroupMsg::content`] checks it.
    #[serde(rename = "MsgBody", borrow)]
    pub msg_body: &'a RawValue,
    /// `CloudCustomData`.
    #[serde(rename = "CloudCustomData", borrow, default, skip_serializing_if = "Option::is_none")]
    pub cloud_custom_data: Option<Cow<'a, str>>,
    /// `ForbidCallbackControl`.
    #[serde(
        rename = "ForbidCallbackControl",
        default,
        deserialize_with = "null_is_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub forbid_callback_control: Vec<ForbidCallback>,
    /// `OnlineOnlyFlag` (`MsgOnlineOnlyFlag` of older callers is one of the members that are not known): without effect in live rooms.
    #[serde(rename = "OnlineOnlyFlag", default, skip_serializing_if = "Option::is_none")]
    pub online_only_flag: Option<i64>,
    /// `SendMsgControl`: `NoLastMsg`, `NoUnread`, `NoMsgCheck`; others are ignored.
    #[serde(
        rename = "SendMsgControl",
        borrow,
        default,
        deserialize_with = "null_is_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub send_msg_control: Vec<Cow<'a, str>>,
    /// `To_Account`: not for live rooms: a message for some members must never reach all, so [`SendGroupMsg::check`] refuses it.
    #[serde(
        rename = "To_Account",
        borrow,
        default,
        deserialize_with = "null_is_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub to_account: Vec<Cow<'a, str>>,
}

impl SendGroupMsg<'_> {
    /// # Errors
    /// When an id is malformed (10015 for `GroupId`), or the message is meant for some members only (10007).
    pub fn check(&self) -> Result<(), Invalid> {
        GROUP.room_id("GroupId", &self.group_id)?;
        self.from_account.as_deref().map_or(Ok(()), |from| GROUP.user_id("From_Account", from))?;
        if self.to_account.is_empty() {
            return Ok(());
        }
        Err(Invalid { code: codes::GROUP_NOT_PERMITTED, ..GROUP.invalid("To_Account", Problem::Unsupported) })
    }

    /// Whether the sender asked not to have this webhook.
    #[must_use]
    pub fn forbids(&self, callback: ForbidCallback) -> bool {
        self.forbid_callback_control.contains(&callback)
    }

    /// The message, checked.
    ///
    /// # Errors
    /// Any [`MessageError`].
    pub fn content(&self, limits: &Limits) -> Result<Content, MessageError> {
        Content::check(self.msg_body.get(), self.cloud_custom_data.as_deref().unwrap_or_default(), limits)
    }
}

/// Payload of all three send APIs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendPayload {
    /// `MsgTime`: Unix seconds.
    #[serde(rename = "MsgTime")]
    pub msg_time: u64,
    /// `MsgSeq`: 0 when dropped.
    #[serde(rename = "MsgSeq")]
    pub msg_seq: u64,
    /// `MsgDropReason`: empty, or [`DROPPED_BY_RATE`].
    #[serde(rename = "MsgDropReason")]
    pub msg_drop_reason: Cow<'static, str>,
}
