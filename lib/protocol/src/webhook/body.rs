//! Bodies of the message webhooks, written straight into bytes: message parts are spliced in verbatim.

use crate::{
    json::{push_string, push_u64},
    webhook::CommandWord,
};

/// Choices of an endpoint on which the vendor's documents disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// `EventTime` as a string, as in the sample of the original page; a number otherwise.
    pub event_time_as_string: bool,
    /// Also `OnlineOnlyFlag` and `GroupAtInfo`, as newer Chat documents have them.
    pub extra_fields: bool,
}

/// `Group.CallbackAfterSendMsg` (protocol: webhooks §2).
///
/// ```
/// use roomhook_protocol::webhook::{AfterSendMsg, Style};
///
/// let mut body = Vec::new();
/// AfterSendMsg {
///     group_id: "room-7",
///     group_type: "Live",
///     from_account: "ana_k",
///     operator_account: "ana_k",
///     random: 7,
///     msg_id: "144115289000012345-1767225663-7",
///     msg_seq: 318,
///     msg_time: 1767225663,
///     msg_body: br#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi"}}]"#,
///     cloud_custom_data: br#""""#,
///     event_time_ms: 1767225663418,
/// }
/// .write_json(Style::default(), &mut body);
/// assert_eq!(String::from_utf8(body)?, concat!(
///     r#"{"CallbackCommand":"Group.CallbackAfterSendMsg","GroupId":"room-7","Type":"Live","From_Account":"ana_k","#,
///     r#""Operator_Account":"ana_k","Random":7,"MsgId":"144115289000012345-1767225663-7","MsgSeq":318,"#,
///     r#""MsgTime":1767225663,"MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi"}}],"#,
///     r#""CloudCustomData":"","EventTime":1767225663418}"#));
/// # Ok::<(), std::string::FromUtf8Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AfterSendMsg<'a> {
    /// `GroupId`: the room.
    pub group_id: &'a str,
    /// `Type`: `Live` for live rooms.
    pub group_type: &'a str,
    /// `From_Account`: the sender.
    pub from_account: &'a str,
    /// `Operator_Account`: who made the request.
    pub operator_account: &'a str,
    /// `Random`.
    pub random: u32,
    /// `MsgId`.
    pub msg_id: &'a str,
    /// `MsgSeq`.
    pub msg_seq: u64,
    /// Unix seconds.
    pub msg_time: u64,
    /// JSON text of an array, as [`crate::message::MsgBody::check`] gives it.
    pub msg_body: &'a [u8],
    /// JSON string literal, as [`crate::message::string_literal`] gives it.
    pub cloud_custom_data: &'a [u8],
    /// Unix milliseconds.
    pub event_time_ms: u64,
}

impl AfterSendMsg<'_> {
    /// Appends the JSON: exactly the 12 documented fields in their order, and the extra ones behind them when asked for.
    pub fn write_json(&self, style: Style, out: &mut Vec<u8>) {
        out.reserve(512 + self.msg_body.len() + self.cloud_custom_data.len());
        let mut object = Object::begin(out, CommandWord::GroupAfterSendMsg);
        object.text("GroupId", self.group_id);
        object.text("Type", self.group_type);
        object.text("From_Account", self.from_account);
        object.text("Operator_Account", self.operator_account);
        object.number("Random", self.random.into());
        object.text("MsgId", self.msg_id);
        object.number("MsgSeq", self.msg_seq);
        object.number("MsgTime", self.msg_time);
        object.raw("MsgBody", self.msg_body);
        object.raw("CloudCustomData", self.cloud_custom_data);
        object.event_time(style, self.event_time_ms);
        if style.extra_fields {
            object.number("OnlineOnlyFlag", 0);
            object.raw("GroupAtInfo", b"[]");
        }
        object.end();
    }
}

/// `Group.CallbackBeforeSendMsg` (protocol: webhooks §3): the fields of [`AfterSendMsg`] without number and time.
#[derive(Clone, Copy, Debug)]
pub struct BeforeSendMsg<'a> {
    /// `GroupId`: the room.
    pub group_id: &'a str,
    /// `Type`: `Live` for live rooms.
    pub group_type: &'a str,
    /// `From_Account`: the sender.
    pub from_account: &'a str,
    /// `Operator_Account`: who made the request.
    pub operator_account: &'a str,
    /// `Random`.
    pub random: u32,
    /// The same value as in the later [`AfterSendMsg`].
    pub msg_id: &'a str,
    /// JSON text of an array.
    pub msg_body: &'a [u8],
    /// JSON string literal.
    pub cloud_custom_data: &'a [u8],
    /// Unix milliseconds.
    pub event_time_ms: u64,
}

impl BeforeSendMsg<'_> {
    /// Appends the JSON: the 10 documented fields in their order, and the extra one behind them when asked for.
    pub fn write_json(&self, style: Style, out: &mut Vec<u8>) {
        out.reserve(512 + self.msg_body.len() + self.cloud_custom_data.len());
        let mut object = Object::begin(out, CommandWord::GroupBeforeSendMsg);
        object.text("GroupId", self.group_id);
        object.text("Type", self.group_type);
        object.text("From_Account", self.from_account);
        object.text("Operator_Account", self.operator_account);
        object.number("Random", self.random.into());
        object.text("MsgId", self.msg_id);
        object.raw("MsgBody", self.msg_body);
        object.raw("CloudCustomData", self.cloud_custom_data);
        object.event_time(style, self.event_time_ms);
        if style.extra_fields {
            object.number("OnlineOnlyFlag", 0);
        }
        object.end();
    }
}

/// `Group.CallbackSendMsgException` (protocol: webhooks §3): a message that was not delivered, and why.
#[derive(Clone, Copy, Debug)]
pub struct SendMsgException<'a> {
    /// `GroupId`: the room.
    pub group_id: &'a str,
    /// `Type`: `Live` for live rooms.
    pub group_type: &'a str,
    /// `From_Account`: the sender.
    pub from_account: &'a str,
    /// `Operator_Account`: who made the request.
    pub operator_account: &'a str,
    /// `Random`.
    pub random: u32,
    /// JSON text of an array.
    pub msg_body: &'a [u8],
    /// JSON string literal.
    pub cloud_custom_data: &'a [u8],
    /// One of [`crate::codes`], or the before-send webhook's own.
    pub error_code: i32,
    /// `ErrorInfo`.
    pub error_info: &'a str,
    /// Unix milliseconds.
    pub event_time_ms: u64,
}

impl SendMsgException<'_> {
    /// Appends the JSON: the documented fields in their order.
    pub fn write_json(&self, style: Style, out: &mut Vec<u8>) {
        out.reserve(512 + self.msg_body.len() + self.cloud_custom_data.len());
        let mut object = Object::begin(out, CommandWord::GroupSendMsgException);
        object.text("GroupId", self.group_id);
        object.text("Type", self.group_type);
        object.text("From_Account", self.from_account);
        object.text("Operator_Account", self.operator_account);
        object.number("Random", self.random.into());
        object.number("OnlineOnlyFlag", 0);
        object.raw("MsgBody", self.msg_body);
        object.raw("CloudCustomData", self.cloud_custom_data);
        object.raw("ErrorCode", self.error_code.to_string().as_bytes());
        object.text("ErrorInfo", self.error_info);
        object.event_time(style, self.event_time_ms);
        object.end();
    }
}

/// Writes the members of one JSON object.
struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    /// Every webhook body begins with its command word.
    fn begin(out: &'a mut Vec<u8>, command: CommandWord) -> Self {
        out.extend_from_slice(br#"{"CallbackCommand":""#);
        out.extend_from_slice(command.as_str().as_bytes());
        out.push(b'"');
        Self { out }
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        push_string(self.out, value);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        push_u64(self.out, value);
    }

    fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(json);
    }

    fn event_time(&mut self, style: Style, millis: u64) {
        self.name("EventTime");
        if style.event_time_as_string {
            self.out.push(b'"');
        }
        push_u64(self.out, millis);
        if style.event_time_as_string {
            self.out.push(b'"');
        }
    }

    fn end(self) {
        self.out.push(b'}');
    }
}
