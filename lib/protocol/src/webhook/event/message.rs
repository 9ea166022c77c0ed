//! Events about messages (protocol: webhooks §2, §3).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::EventTime;

/// `Group.CallbackAfterSendMsg`: a message was sent. `GroupId` and `MsgSeq` together name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AfterSendMsg {
    pub group_id: String,
    /// `Live` for live rooms.
    #[serde(rename = "Type")]
    pub group_type: String,
    #[serde(rename = "From_Account")]
    pub from_account: String,
    #[serde(rename = "Operator_Account")]
    pub operator_account: String,
    pub random: u32,
    /// Absent in the oldest documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
    pub msg_seq: u64,
    /// Unix seconds.
    pub msg_time: u64,
    pub msg_body: Vec<Element>,
    /// Empty when unset.
    #[serde(default)]
    pub cloud_custom_data: String,
    pub event_time: EventTime,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `Group.CallbackBeforeSendMsg`: a message is about to be sent; the answer decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BeforeSendMsg {
    pub group_id: String,
    #[serde(rename = "Type")]
    pub group_type: String,
    #[serde(rename = "From_Account")]
    pub from_account: String,
    #[serde(rename = "Operator_Account")]
    pub operator_account: String,
    pub random: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
    pub msg_body: Vec<Element>,
    #[serde(default)]
    pub cloud_custom_data: String,
    pub event_time: EventTime,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `Group.CallbackSendMsgException`: a message was not delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SendMsgException {
    pub group_id: String,
    #[serde(rename = "Type")]
    pub group_type: String,
    #[serde(rename = "From_Account")]
    pub from_account: String,
    #[serde(rename = "Operator_Account")]
    pub operator_account: String,
    pub random: u32,
    #[serde(default)]
    pub online_only_flag: i64,
    pub msg_body: Vec<Element>,
    #[serde(default)]
    pub cloud_custom_data: String,
    /// The reason, e.g. 10023.
    pub error_code: i32,
    pub error_info: String,
    pub event_time: EventTime,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `Group.CallbackAfterRecallMsg`: messages were taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AfterRecallMsg {
    #[serde(rename = "Operator_Account")]
    pub operator_account: String,
    #[serde(rename = "Type")]
    pub group_type: String,
    pub group_id: String,
    pub msg_seq_list: Vec<RecalledMsg>,
    pub event_time: EventTime,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One message of [`AfterRecallMsg`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecalledMsg {
    pub msg_seq: u64,
    /// Members that are not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One element of a `MsgBody` (protocol: messages §1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Element {
    /// `TIMTextElem`, `TIMCustomElem`, …
    pub msg_type: String,
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
    pub business_id: String,
    pub data: String,
}
