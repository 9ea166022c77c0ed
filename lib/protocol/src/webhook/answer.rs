//! What a receiver answers, and what a before-webhook's answer means (protocol: webhooks §1.5).

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Serialize,
    de::{self, Deserializer, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    codes,
    envelope::ActionStatus,
    message::{Content, Limits, MessageError, MsgBody},
};

/// The JSON of an answer. For an after-webhook its content is ignored.
///
/// ```
/// use roomhook_protocol::webhook::{Answer, Verdict};
///
/// let answer = Answer::parse(br#"{"ActionStatus":"OK","ErrorInfo":"no links","ErrorCode":10107}"#)?;
/// assert!(matches!(answer.verdict(), Verdict::Refuse { code: 10107, .. }));
/// assert_eq!(Answer::OK_JSON, serde_json::to_string(&Answer::ok())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer<'a> {
    /// `ActionStatus`.
    #[serde(rename = "ActionStatus")]
    pub action_status: ActionStatus,
    /// `ErrorInfo`.
    #[serde(rename = "ErrorInfo", borrow)]
    pub error_info: Cow<'a, str>,
    /// `ErrorCode`. One that is out of range reads as the nearest that is not: it means nothing either, and a refusal must
    /// not become a failed call, which may let the message pass.
    #[serde(rename = "ErrorCode", deserialize_with = "nearest")]
    pub error_code: i32,
    /// `MsgBody`: only in answers to a before-send webhook: replaces the message's body.
    #[serde(rename = "MsgBody", borrow, default, skip_serializing_if = "Option::is_none")]
    pub msg_body: Option<&'a RawValue>,
    /// `CloudCustomData`: only in answers to a before-send webhook: replaces the message's custom data.
    #[serde(rename = "CloudCustomData", borrow, default, skip_serializing_if = "Option::is_none")]
    pub cloud_custom_data: Option<Cow<'a, str>>,
}

impl<'a> Answer<'a> {
    /// The answer of a receiver that took the event.
    pub const OK_JSON: &'static str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;

    /// The value of [`Answer::OK_JSON`].
    #[must_use]
    pub const fn ok() -> Self {
        Self::with_code(0, "")
    }

    /// A verdict with a code and a text (samples keep `ActionStatus` at `OK` even for refusals).
    #[must_use]
    pub const fn with_code(error_code: i32, error_info: &'a str) -> Self {
        Self {
            action_status: ActionStatus::Ok,
            error_info: Cow::Borrowed(error_info),
            error_code,
            msg_body: None,
            cloud_custom_data: None,
        }
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// When it is not a JSON object with the three documented members. For a before-webhook that counts as a failed call.
    pub fn parse(body: &'a [u8]) -> Result<Self, AnswerError> {
        let text = std::str::from_utf8(body).map_err(|_| AnswerError::Malformed)?;
        // serde would also read a struct from an array of its members.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(AnswerError::Malformed);
        }
        serde_json::from_str(text).map_err(|_| AnswerError::Malformed)
    }

    /// What the answer decides, by `ErrorCode` alone.
    #[must_use]
    pub fn verdict(&self) -> Verdict<'_> {
        match self.error_code {
            0 => match (self.msg_body, &self.cloud_custom_data) {
                (None, None) => Verdict::Allow,
                (body, custom_data) => {
                    Verdict::Replace { body: body.map(RawValue::get), custom_data: custom_data.as_deref() }
                }
            },
            2 => Verdict::Discard,
            code if codes::WEBHOOK_OWN.contains(&code) => Verdict::Refuse { code, info: &self.error_info },
            given => Verdict::Refuse {
                code: codes::WEBHOOK_REFUSED,
                info: match given {
                    1 if !self.error_info.is_empty() => &self.error_info,
                    _ => codes::text(codes::WEBHOOK_REFUSED).unwrap_or_default(),
                },
            },
        }
    }

    /// Whether `ErrorCode` is one that no document explains; it counts as a refusal, and is worth a log line.
    #[must_use]
    pub fn is_undocumented(&self) -> bool {
        !matches!(self.error_code, 0..=2) && !codes::WEBHOOK_OWN.contains(&self.error_code)
    }
}

/// A whole number, however it is written.
fn nearest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    struct Whole;
    impl Visitor<'_> for Whole {
        type Value = i32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number")
        }
        fn visit_i64<E>(self, number: i64) -> Result<i32, E> {
            let nearest = number.clamp(i32::MIN.into(), i32::MAX.into());
            Ok(i32::try_from(nearest).unwrap_or(i32::MAX))
        }
        fn visit_u64<E>(self, number: u64) -> Result<i32, E> {
            Ok(i32::try_from(number).unwrap_or(i32::MAX))
        }
        fn visit_f64<E: de::Error>(self, number: f64) -> Result<i32, E> {
            match number.fract() == 0.0 {
                // Casts of this kind go to the nearest number there is.
                true => Ok(number as i32),
                false => Err(E::invalid_type(de::Unexpected::Float(number), &self)),
            }
        }
    }
    deserializer.deserialize_any(Whole)
}

/// What becomes of a message after the before-send webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Deliver as it is.
    Allow,
    /// Deliver, with these parts in place of the sender's. They come from outside: see [`Verdict::apply`].
    Replace {
        /// JSON text, unchecked.
        body: Option<&'a str>,
        /// Text, not JSON.
        custom_data: Option<&'a str>,
    },
    /// Drop, and tell the sender that all went well.
    Discard,
    /// Drop, and tell the sender this code and text.
    Refuse {
        /// [`codes::WEBHOOK_REFUSED`], or the webhook's own.
        code: i32,
        /// `ErrorInfo` for the sender.
        info: &'a str,
    },
}

impl Verdict<'_> {
    /// The content to deliver: the sender's, with the checked replacements where there are some. Does nothing for
    /// [`Verdict::Discard`] and [`Verdict::Refuse`].
    ///
    /// # Errors
    /// When a replacement is not acceptable as a message. That counts as a failed call, not as a refusal.
    pub fn apply(&self, sent: Content, limits: &Limits) -> Result<Content, MessageError> {
        let Self::Replace { body, custom_data } = *self else { return Ok(sent) };
        let body = match body {
            Some(raw) => MsgBody::check(raw, limits)?,
            None => sent.body,
        };
        let custom_data = match custom_data {
            Some(text) => crate::message::string_literal(text),
            None => sent.custom_data,
        };
        Content::from_checked(body, custom_data, limits)
    }
}

/// An answer that is not of the documented form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    #[error("not a JSON object with ActionStatus, ErrorInfo and ErrorCode")]
    Malformed,
}
