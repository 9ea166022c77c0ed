//! Answers of REST calls (protocol: rest §1, "Response envelope"). HTTP status is 200 whatever happened; the outcome is here.
//!
//! ```
//! use roomhook_protocol::{codes, envelope::{Failure, LiveAnswer, RequestId}, rest::SendPayload};
//!
//! let id = RequestId::new(0x4f0c9a71b2d84e6fa35d17c08be92001, 41001);
//! let sent = SendPayload { msg_time: 1767225663, msg_seq: 318, msg_drop_reason: "".into() };
//! let answer = serde_json::to_string(&LiveAnswer::ok(id, sent))?;
//! assert_eq!(answer, concat!(
//!     r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0,"RequestId":"Id-4f0c9a71b2d84e6fa35d17c08be92001-O-Seq-41001","#,
//!     r#""Response":{"MsgTime":1767225663,"MsgSeq":318,"MsgDropReason":""}}"#));
//!
//! let failed = LiveAnswer::<()>::failed(id, &Failure::of(codes::ROOM_MISSING));
//! assert_eq!(failed.error_code, 100_004);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::{
    borrow::Cow,
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::codes;

/// `ActionStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ActionStatus {
    /// `OK`.
    Ok,
    /// `FAIL`.
    Fail,
}

/// Why a call failed: what goes into `ErrorCode` and `ErrorInfo`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{info} ({code})")]
pub struct Failure {
    /// `ErrorCode`: one of [`codes`], or a webhook's own code.
    pub code: i32,
    /// `ErrorInfo`.
    pub info: Cow<'static, str>,
}

impl Failure {
    /// A failure with a text of its own.
    pub fn new(code: i32, info: impl Into<Cow<'static, str>>) -> Self {
        Self { code, info: info.into() }
    }

    /// A failure with the table's text.
    #[must_use]
    pub fn of(code: i32) -> Self {
        Self::new(code, codes::text(code).unwrap_or_default())
    }
}

/// An answer of a Chat API (`group_open_http_svc`, `im_open_login_svc`): the payload lies at the top level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatAnswer<T> {
    /// `ActionStatus`.
    #[serde(rename = "ActionStatus")]
    pub action_status: ActionStatus,
    /// `ErrorInfo`.
    #[serde(rename = "ErrorInfo")]
    pub error_info: Cow<'static, str>,
    /// `ErrorCode`.
    #[serde(rename = "ErrorCode")]
    pub error_code: i32,
    /// Absent when the call failed or has nothing to say.
    #[serde(flatten, bound(deserialize = "T: Deserialize<'de>"))]
    pub payload: Option<T>,
}

impl<T> ChatAnswer<T> {
    /// Success with a payload.
    pub const fn ok(payload: T) -> Self {
        Self::make(ActionStatus::Ok, 0, Cow::Borrowed(""), Some(payload))
    }

    /// Success with nothing to say.
    #[must_use]
    pub const fn done() -> Self {
        Self::make(ActionStatus::Ok, 0, Cow::Borrowed(""), None)
    }

    /// Failure: its code and text.
    #[must_use]
    pub fn failed(failure: &Failure) -> Self {
        Self::make(ActionStatus::Fail, failure.code, failure.info.clone(), None)
    }

    const fn make(
        action_status: ActionStatus,
        error_code: i32,
        error_info: Cow<'static, str>,
        payload: Option<T>,
    ) -> Self {
        Self { action_status, error_info, error_code, payload }
    }
}

/// An answer of a Live API (`live_engine_http_srv`, `live_config`): a `RequestId`, and the payload in `Response`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveAnswer<T> {
    /// `ActionStatus`.
    #[serde(rename = "ActionStatus")]
    pub action_status: ActionStatus,
    /// `ErrorInfo`.
    #[serde(rename = "ErrorInfo")]
    pub error_info: Cow<'static, str>,
    /// `ErrorCode`.
    #[serde(rename = "ErrorCode")]
    pub error_code: i32,
    /// `RequestId`.
    #[serde(rename = "RequestId")]
    pub request_id: RequestId,
    /// `Response`: absent when the call failed or has nothing to say.
    #[serde(rename = "Response", skip_serializing_if = "Option::is_none")]
    #[serde(bound(deserialize = "T: Deserialize<'de>"))]
    pub response: Option<T>,
}

impl<T> LiveAnswer<T> {
    /// Success with a payload.
    pub const fn ok(request_id: RequestId, response: T) -> Self {
        Self::make(request_id, ActionStatus::Ok, 0, Cow::Borrowed(""), Some(response))
    }

    /// Success with nothing to say.
    #[must_use]
    pub const fn done(request_id: RequestId) -> Self {
        Self::make(request_id, ActionStatus::Ok, 0, Cow::Borrowed(""), None)
    }

    /// Failure: its code and text.
    #[must_use]
    pub fn failed(request_id: RequestId, failure: &Failure) -> Self {
        Self::make(request_id, ActionStatus::Fail, failure.code, failure.info.clone(), None)
    }

    const fn make(
        request_id: RequestId,
        action_status: ActionStatus,
        error_code: i32,
        error_info: Cow<'static, str>,
        response: Option<T>,
    ) -> Self {
        Self { action_status, error_info, error_code, request_id, response }
    }
}

/// `RequestId`: `Id-<32 lower-case hex>-O-Seq-<decimal>`, unique per call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    random: u128,
    seq: u64,
}

impl RequestId {
    /// From a number that the caller drew and the number of the call.
    #[must_use]
    pub const fn new(random: u128, seq: u64) -> Self {
        Self { random, seq }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id-{:032x}-O-Seq-{}", self.random, self.seq)
    }
}

impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.strip_prefix("Id-").and_then(|rest| rest.split_once("-O-Seq-"));
        let (random, seq) = parts.ok_or(RequestIdError)?;
        let hex = random.len() == 32 && random.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let random = if hex { u128::from_str_radix(random, 16).ok() } else { None };
        let seq = crate::json::plain_decimal(seq);
        random.zip(seq).map(|(random, seq)| Self { random, seq }).ok_or(RequestIdError)
    }
}

/// A text that is no `RequestId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form Id-<32 hex>-O-Seq-<number>")]
pub struct RequestIdError;

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Hands out request ids that never repeat: one random number per process, and a counter. Shared by reference.
#[derive(Debug)]
pub struct RequestIds {
    start: u128,
    seq: AtomicU64,
}

impl RequestIds {
    /// `start` is drawn by the caller, once per process.
    #[must_use]
    pub const fn new(start: u128) -> Self {
        Self { start, seq: AtomicU64::new(0) }
    }

    /// The next id.
    pub fn next(&self) -> RequestId {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // An odd factor makes the hex part differ for each call too, and look like it.
        let spread = u128::from(seq).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        RequestId { random: self.start.wrapping_add(spread), seq }
    }
}
