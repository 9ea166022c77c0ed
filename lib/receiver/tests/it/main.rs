//! The receiver from outside, fed with requests as a sender makes them.

mod bad_input;
mod genuine;
mod steps;

#[cfg(feature = "axum")]
mod over_http;

use roomhook_protocol::sign;
use roomhook_receiver::{Config, Receiver, UnixMillis};
use serde_json::{Value, json};

pub(crate) const APP: u32 = 1_400_555_012;
pub(crate) const TOKEN: &str = "lantern-9f21";
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const NOW_SECS: u64 = 1_767_225_663;
pub(crate) const NOW: UnixMillis = NOW_SECS * 1000 + 418;

pub(crate) fn with_token() -> Receiver {
    Receiver::new(Config::new(APP).token(TOKEN))
}

pub(crate) fn open() -> Receiver {
    Receiver::new(Config::new(APP))
}

/// The query of a webhook with this command, unsigned.
pub(crate) fn query_of(command: &str) -> String {
    format!("SdkAppid={APP}&CallbackCommand={command}&contenttype=json&ClientIP=203.0.113.24&OptPlatform=RESTAPI")
}

/// The query of a message webhook, signed with `token` at `time_secs`.
pub(crate) fn signed_query(token: &str, time_secs: u64) -> String {
    let request_time = time_secs.to_string();
    let sign = sign::sign(token, &request_time);
    format!("{}&Sign={sign}&RequestTime={request_time}", query_of("Group.CallbackAfterSendMsg"))
}

/// The body of a message webhook.
pub(crate) fn message(room: &str, seq: u64) -> Value {
    json!({
        "CallbackCommand": "Group.CallbackAfterSendMsg", "GroupId": room, "Type": "Live", "From_Account": "ana_k",
        "Operator_Account": "administrator", "Random": seq, "MsgId": format!("144115188075855873-{NOW_SECS}-{seq}"), "MsgSeq": seq,
        "MsgTime": NOW_SECS, "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "does it ship today?"}}],
        "CloudCustomData": "", "EventTime": NOW,
    })
}

pub(crate) fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}
