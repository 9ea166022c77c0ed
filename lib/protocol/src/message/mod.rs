//! What a message says: `MsgBody`, `CloudCustomData`, and the parts of `MsgId` (protocol: messages).
//!
//! A body is checked once, on the way in, and from then on carried as JSON text in its shortest spelling: no white space between
//! tokens, no escapes that need not be there. Members and element types that are not known here pass with the rest.
//!
//! ```
//! use roomhook_protocol::message::{Content, Limits, MsgBody};
//!
//! let raw = r#"[ {"MsgType": "TIMTextElem", "MsgContent": {"Text": "hello"}} ]"#;
//! let body = MsgBody::check(raw, &Limits::default())?;
//! assert_eq!(body, r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"hello"}}]"#);
//!
//! let content = Content::text("hello", "{\"badge\":7}", &Limits::default())?;
//! assert_eq!(content.body, body);
//! assert_eq!(content.custom_data, r#""{\"badge\":7}""#);
//! # Ok::<(), roomhook_protocol::message::MessageError>(())
//! ```

mod body;
mod id;

use bytes::Bytes;

pub use body::MsgBody;
pub use id::{MsgIdError, MsgIdParts};

use crate::{codes, json};

/// Bounds on what a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of UTF-8 that `MsgBody` and `CloudCustomData` (as a JSON string literal) take together in their shortest spelling,
    /// however they were spelled by their sender.
    pub size_bytes_max: usize,
    /// Nesting of `MsgBody`: the array is level 1, an element 2, its `MsgContent` 3.
    pub depth_max: usize,
    /// Elements of one `MsgBody`.
    pub elements_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size_bytes_max: 12_288, depth_max: 32, elements_max: 256 }
    }
}

impl Limits {
    fn check_size(&self, size: usize) -> Result<(), MessageError> {
        let max = self.size_bytes_max;
        if size > max { Err(MessageError::TooLong { size, max }) } else { Ok(()) }
    }
}

/// A message's two parts as JSON text, checked and within [`Limits`]. Spliced verbatim into webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// `MsgBody`: an array, in its shortest spelling.
    pub body: Bytes,
    /// `CloudCustomData`: a string literal, quotes included.
    pub custom_data: Bytes,
}

impl Content {
    /// A body as it came (`send_group_msg`, a verdict of the before-send webhook), and custom data, `""` when unset.
    ///
    /// # Errors
    /// Any [`MessageError`].
    pub fn check(raw_body: &str, custom_data: &str, limits: &Limits) -> Result<Self, MessageError> {
        Self::within(MsgBody::check(raw_body, limits)?, custom_data, limits)
    }

    /// `send_text_msg`: one text element.
    ///
    /// # Errors
    /// [`MessageError::TooLong`].
    pub fn text(text: &str, custom_data: &str, limits: &Limits) -> Result<Self, MessageError> {
        Self::within(text_body(text), custom_data, limits)
    }

    /// `send_custom_msg`: one custom element.
    ///
    /// # Errors
    /// [`MessageError::TooLong`].
    pub fn custom(business_id: &str, data: &str, limits: &Limits) -> Result<Self, MessageError> {
        Self::within(custom_body(business_id, data), "", limits)
    }

    /// What can be told of a message that was refused, perhaps for what it says (`Group.CallbackSendMsgException`): the
    /// parts that have the documented shape and are within the limits; an empty array and an empty text in place of
    /// those that are not, since a receiver could not read them.
    #[must_use]
    pub fn attempted(raw_body: &str, custom_data: &str, limits: &Limits) -> Self {
        let body = MsgBody::readable(raw_body, limits).unwrap_or(Bytes::from_static(b"[]"));
        let custom_data = if custom_data.len() > limits.size_bytes_max { "" } else { custom_data };
        Self { body, custom_data: string_literal(custom_data) }
    }

    fn within(body: Bytes, custom_data: &str, limits: &Limits) -> Result<Self, MessageError> {
        Self::from_checked(body, string_literal(custom_data), limits)
    }

    /// Two parts that were checked one by one; together they must still be within the limit.
    pub(crate) fn from_checked(body: Bytes, custom_data: Bytes, limits: &Limits) -> Result<Self, MessageError> {
        limits.check_size(body.len() + custom_data.len())?;
        Ok(Self { body, custom_data })
    }
}

/// The `MsgBody` of `send_text_msg` (protocol: messages §3).
#[must_use]
pub fn text_body(text: &str) -> Bytes {
    one_element("TIMTextElem", "Text", text)
}

/// The `MsgBody` of `send_custom_msg`: `Data` is itself JSON text of `BusinessId` and `Data`, compact, in this order
/// (protocol: messages §3).
#[must_use]
pub fn custom_body(business_id: &str, data: &str) -> Bytes {
    let mut inner = br#"{"BusinessId":"#.to_vec();
    json::push_string(&mut inner, business_id);
    inner.extend_from_slice(br#","Data":"#);
    json::push_string(&mut inner, data);
    inner.push(b'}');
    // Made of two strings and ASCII between them.
    one_element("TIMCustomElem", "Data", &String::from_utf8_lossy(&inner))
}

fn one_element(msg_type: &str, field: &str, value: &str) -> Bytes {
    let mut out = Vec::with_capacity(value.len() + 64);
    out.extend_from_slice(br#"[{"MsgType":""#);
    out.extend_from_slice(msg_type.as_bytes());
    out.extend_from_slice(br#"","MsgContent":{""#);
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(br#"":"#);
    json::push_string(&mut out, value);
    out.extend_from_slice(b"}}]");
    out.into()
}

/// A text as a JSON string literal, quotes included: the form in which `CloudCustomData` is carried.
#[must_use]
pub fn string_literal(text: &str) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 2);
    json::push_string(&mut out, text);
    out.into()
}

/// Why a message is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    #[error("message has {size} bytes, at most {max} are allowed")]
    TooLong { size: usize, max: usize },
    #[error("MsgBody is not valid UTF-8")]
    Utf8,
    #[error("MsgBody is not valid JSON")]
    Json,
    #[error("MsgBody must be an array of objects")]
    Shape,
    #[error("MsgBody nests deeper than {max} levels")]
    TooDeep { max: usize },
    #[error("MsgBody has no element")]
    Empty,
    #[error("MsgBody has more than {max} elements")]
    TooManyElements { max: usize },
    #[error("MsgBody has more than one TIMCustomElem")]
    TwoCustomElements,
    /// A member is missing, of the wrong JSON type, or there twice.
    #[error("{field} of a MsgBody element {problem}")]
    Field { field: &'static str, problem: &'static str },
}

impl MessageError {
    /// The documented error code for the sender.
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self {
            Self::TooLong { .. } => codes::MESSAGE_TOO_LONG,
            _ => codes::GROUP_BAD_PARAMETER,
        }
    }
}
