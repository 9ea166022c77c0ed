//! Events about messages (protocol: webhooks §2, §3).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::EventTime;

/// `Group.CallbackAfterSendMsg`: a message was sent. `GroupId` and `MsgSeq` together name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AfterSendMsg {
    /// `GroupId`.
    pub group_id: String,
    /// `Type`: `Live` for live rooms.
    #[serde(rename = "Type")]
    pub group_type: String,
    /// `From_Account`.
    #[serde(rename = "From_Account")]
    pub from_account: String,
    /// `Operator_Account`.
    #[serde(rename = "Operator_Account")]
    pub operator_account: String,
    /// `Random`.
    pub random: u32,
    /// `MsgId`: absent in the oldest documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
    /// `MsgSeq`.
    pub msg_seq: u64,
    /// `MsgTime`: Unix seconds.
    pub msg_time: u64,
    /// `MsgBody`.
    pub msg_body: Vec<Element>,
    /// `CloudCustomData`: empty when unset.
    #[serde(default)]
    pub cloud_custom_data: String,
    /// `EventTime`.
    pub event_time: EventTime,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `Group.CallbackBeforeSendMsg`: a message is about to be sent; the answer decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BeforeSendMsg {
    /// `GroupId`.
    pub group_id: String,
    /// `Type`.
    #[serde(rename = "Type")]
    pub group_type: String,
    /// `From_Account`.
    #[serde(rename = "From_Account")]
    pub from_account: String,
    /// `Operator_Account`.
    #[serde(rename = "Operator_Account")]
    pub operator_account: String,
    /// `Random`.
    pub random: u32,
    /// `MsgId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
    /// `MsgBody`.
    pub msg_body: Vec<Element>,
    /// `CloudCustomData`.
    #[serde(default)]
    pub cloud_custom_data: String,
    /// `EventTime`.
    pub event_time: EventTime,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `Group.CallbackSendMsgException`: a message was not delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SendMsgException {
    /// `GroupId`.
    pub group_id: String,
    /// `Type`.
    #[serde(rename = "Type")]
    pub group_type: String,
    /// `From_Account`.
    #[serde(rename = "From_Account")]
    pub from_account: String,
    /// `Operator_Account`.
    #[serde(rename = "Operator_Account")]
    pub operator_account: String,
    /// `Random`.
    pub random: u32,
    /// `OnlineOnlyFlag`.
    #[serde(default)]
    pub online_only_flag: i64,
    /// `MsgBody`.
    pub msg_body: Vec<Element>,
    /// `CloudCustomData`.
    #[serde(default)]
    pub cloud_custom_data: String,
    /// `ErrorCode`: the reason, e.g. 10023.
    pub error_code: i32,
    /// `ErrorInfo`.
    pub error_info: String,
    /// `EventTime`.
    pub event_time: EventTime,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `Group.CallbackAfterRecallMsg`: messages were taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AfterRecallMsg {
    /// `Operator_Account`.
    #[serde(rename = "Operator_Account")]
    pub operator_account: String,
    /// `Type`.
    #[serde(rename = "Type")]
    pub group_type: String,
    /// `GroupId`.
    pub group_id: String,
    /// `MsgSeqList`.
    pub msg_seq_list: Vec<RecalledMsg>,
    /// `EventTime`.
    pub event_time: EventTime,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One message of [`AfterRecallMsg`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecalledMsg {
    /// `MsgSeq`.
    pub msg_seq: u64,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One element of a `MsgBody` (protocol: messages §1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Element {
    /// `MsgType`: `TIMTextElem`, `TIMCustomElem`, …
    pub msg_type: String,
    /// `MsgContent`.
    pub msg_content: Map<String, Value>,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Element {
    /// The text of a `TIMTextElem`.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.member_of("TIMTextElem", "Text")
    }

    /// The `Data` of a `TIMCustomElem`.
    #[must_use]
    pub fn custom_data(&self) -> Option<&str> {
        self.member_of("TIMCustomElem", "Data")
    }

    /// What `send_custom_msg` put into a `TIMCustomElem`; `None` when it was made in another way.
    #[must_use]
    pub fn custom(&self) -> Option<Custom> {
        serde_json::from_str(self.custom_data()?).ok()
    }

    fn member_of(&self, msg_type: &str, name: &str) -> Option<&str> {
        if self.msg_type == msg_type { self.msg_content.get(name)?.as_str() } else { None }
    }
}

/// The packaging of `send_custom_msg` (protocol: messages §3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Custom {
    /// `BusinessId`.
    pub business_id: String,
    /// `Data`.
    pub data: String,
}
