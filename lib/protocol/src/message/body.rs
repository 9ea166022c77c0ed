//! The check of a `MsgBody`: one pass of serde over the text, building nothing.

use std::{borrow::Cow, cell::RefCell, fmt};

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Limits, MessageError};
use crate::{json, webhook::event::Element as Readable};

/// `MsgBody`: an array of `{MsgType, MsgContent}` (protocol: messages §1).
#[derive(Clone, Copy, Debug)]
pub struct MsgBody;

impl MsgBody {
    /// Checks a body and gives it back in its shortest spelling: the same JSON by value, without white space between tokens (so
    /// without a raw line break anywhere) and without escapes in strings that need not be there. That is what its size is
    /// measured by, and what is stored and passed on: whether its writer says `中` or `\u4e2d` makes no difference.
    ///
    /// Checked: valid JSON throughout (escapes and number ranges included, so that every receiver can read it); a
    /// non-empty array of objects; `MsgType` a non-empty string; `MsgContent` an object; at most one `TIMCustomElem`;
    /// documented members of known types have the documented JSON type, and a text element has its `Text`; depth and
    /// size. A member that is checked may be there only once: two readers might disagree on which of two counts, and
    /// one of them might be the moderator. Everything else passes as it is.
    ///
    /// # Errors
    /// Any [`MessageError`].
    pub fn check(raw: &str, limits: &Limits) -> Result<Bytes, MessageError> {
        // Before any parsing, so that the recursion below is bounded.
        let shape = json::shape(raw.as_bytes());
        if shape.depth > limits.depth_max {
            return Err(MessageError::TooDeep { max: limits.depth_max });
        }
        let check = Check { limits, found: RefCell::new(None) };
        let mut deserializer = serde_json::Deserializer::from_str(raw);
        let parsed = Elements(&check).deserialize(&mut deserializer).and_then(|()| deserializer.end());
        if let Err(error) = parsed {
            let general = if error.is_data() { MessageError::Shape } else { MessageError::Json };
            return Err(check.found.take().unwrap_or(general));
        }
        let body = json::minify(raw, shape);
        limits.check_size(body.len())?;
        Ok(match body {
            Cow::Borrowed(text) => Bytes::copy_from_slice(text),
            Cow::Owned(text) => text.into(),
        })
    }

    /// A body that need not be acceptable, in its shortest spelling: an array of elements as receivers read them, within depth
    /// and size.
    pub(super) fn readable(raw: &str, limits: &Limits) -> Option<Bytes> {
        let shape = json::shape(raw.as_bytes());
        if shape.depth > limits.depth_max {
            return None;
        }
        serde_json::from_str::<Vec<Readable>>(raw).ok()?;
        let body = json::minify(raw, shape);
        limits.check_size(body.len()).ok()?;
        Some(Bytes::from(body.into_owned()))
    }

    /// [`MsgBody::check`] for bytes that may not be UTF-8.
    ///
    /// # Errors
    /// Any [`MessageError`].
    pub fn check_bytes(raw: &[u8], limits: &Limits) -> Result<Bytes, MessageError> {
        Self::check(std::str::from_utf8(raw).map_err(|_| MessageError::Utf8)?, limits)
    }
}

/// Carries our typed error around serde's, which is text only.
struct Check<'a> {
    limits: &'a Limits,
    found: RefCell<Option<MessageError>>,
}

impl Check<'_> {
    fn fail<E: serde::de::Error>(&self, error: MessageError) -> E {
        self.found.replace(Some(error));
        E::custom("refused")
    }
}

/// The JSON type of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Array,
    Object,
    Other,
}

impl Kind {
    const fn must_be(self) -> &'static str {
        match self {
            Self::Text => "must be a string",
            Self::Number => "must be a number",
            Self::Array => "must be an array",
            Self::Object | Self::Other => "must be an object",
        }
    }
}

/// The documented members of the documented types. The same name has the same JSON type everywhere, but a name only counts
/// within the types that have it.
const MEMBERS: &[(&str, Kind, &[&str])] = &[
    ("Text", Kind::Text, &["TIMTextElem"]),
    ("Data", Kind::Text, &["TIMCustomElem", "TIMFaceElem"]),
    ("Desc", Kind::Text, &["TIMCustomElem", "TIMLocationElem"]),
    ("Ext", Kind::Text, &["TIMCustomElem"]),
    ("Sound", Kind::Text, &["TIMCustomElem"]),
    ("Index", Kind::Number, &["TIMFaceElem"]),
    ("Latitude", Kind::Number, &["TIMLocationElem"]),
    ("Longitude", Kind::Number, &["TIMLocationElem"]),
    ("UUID", Kind::Text, &["TIMImageElem", "TIMSoundElem", "TIMFileElem"]),
    ("ImageFormat", Kind::Number, &["TIMImageElem"]),
    ("ImageInfoArray", Kind::Array, &["TIMImageElem"]),
    ("Url", Kind::Text, &["TIMSoundElem", "TIMFileElem"]),
    ("Size", Kind::Number, &["TIMSoundElem"]),
    ("Second", Kind::Number, &["TIMSoundElem"]),
    ("Download_Flag", Kind::Number, &["TIMSoundElem", "TIMFileElem"]),
    ("FileSize", Kind::Number, &["TIMFileElem"]),
    ("FileName", Kind::Text, &["TIMFileElem"]),
    ("VideoUrl", Kind::Text, &["TIMVideoFileElem"]),
    ("VideoUUID", Kind::Text, &["TIMVideoFileElem"]),
    ("VideoSize", Kind::Number, &["TIMVideoFileElem"]),
    ("VideoSecond", Kind::Number, &["TIMVideoFileElem"]),
    ("VideoFormat", Kind::Text, &["TIMVideoFileElem"]),
    ("VideoDownloadFlag", Kind::Number, &["TIMVideoFileElem"]),
    ("ThumbUrl", Kind::Text, &["TIMVideoFileElem"]),
    ("ThumbUUID", Kind::Text, &["TIMVideoFileElem"]),
    ("ThumbSize", Kind::Number, &["TIMVideoFileElem"]),
    ("ThumbWidth", Kind::Number, &["TIMVideoFileElem"]),
    ("ThumbHeight", Kind::Number, &["TIMVideoFileElem"]),
    ("ThumbFormat", Kind::Text, &["TIMVideoFileElem"]),
    ("ThumbDownloadFlag", Kind::Number, &["TIMVideoFileElem"]),
    ("Title", Kind::Text, &["TIMRelayElem"]),
    ("MsgNum", Kind::Number, &["TIMRelayElem"]),
    ("CompatibleText", Kind::Text, &["TIMRelayElem"]),
    ("AbstractList", Kind::Array, &["TIMRelayElem"]),
    ("MsgList", Kind::Array, &["TIMRelayElem"]),
    ("JsonMsgKey", Kind::Text, &["TIMRelayElem"]),
];

/// What one `MsgContent` holds of [`MEMBERS`]; judged when the element's type is known, which may come later.
#[derive(Default)]
struct Seen {
    /// A bit per member that is there.
    present: u64,
    /// A bit per member that is there twice.
    repeated: u64,
    /// A bit per member that has another type than documented.
    mistyped: u64,
}

const _: () = assert!(MEMBERS.len() <= 64, "Seen has a bit per member");

impl Seen {
    fn note(&mut self, member: usize, kind: Kind) {
        let bit = 1u64 << member;
        self.repeated |= self.present & bit;
        self.present |= bit;
        if MEMBERS.get(member).is_some_and(|(_, documented, _)| *documented != kind) {
            self.mistyped |= bit;
        }
    }

    fn judge(&self, msg_type: &str) -> Result<(), MessageError> {
        let wrong = self.repeated | self.mistyped;
        let of_type = |(_, (_, _, types)): &(usize, &(&str, Kind, &[&str]))| types.contains(&msg_type);
        if wrong != 0 {
            for (member, (field, kind, _)) in MEMBERS.iter().enumerate().filter(of_type) {
                if self.mistyped & (1 << member) != 0 {
                    return Err(MessageError::Field { field, problem: kind.must_be() });
                }
                if self.repeated & (1 << member) != 0 {
                    return Err(MessageError::Field { field, problem: "is there twice" });
                }
            }
        }
        // The first member of the table.
        if msg_type == "TIMTextElem" && self.present & 1 == 0 {
            return Err(MessageError::Field { field: "Text", problem: "is missing" });
        }
        Ok(())
    }
}

struct Elements<'a>(&'a Check<'a>);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (mut elements, mut custom_elements) = (0usize, 0usize);
        while let Some(is_custom) = seq.next_element_seed(Element(self.0))? {
            elements += 1;
            custom_elements += usize::from(is_custom);
            let max = self.0.limits.elements_max;
            if elements > max {
                return Err(self.0.fail(MessageError::TooManyElements { max }));
            }
        }
        match (elements, custom_elements) {
            (0, _) => Err(self.0.fail(MessageError::Empty)),
            (_, 0 | 1) => Ok(()),
            _ => Err(self.0.fail(MessageError::TwoCustomElements)),
        }
    }
}

/// One element; says whether it is a `TIMCustomElem`.
struct Element<'a>(&'a Check<'a>);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with MsgType and MsgContent")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let field = |field, problem| MessageError::Field { field, problem };
        let mut msg_type: Option<Cow<'de, str>> = None;
        let mut content: Option<Seen> = None;
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "MsgType" => {
                    let Some(Text(value)) = map.next_value_seed(MaybeText)? else {
                        return Err(self.0.fail(field("MsgType", "must be a string")));
                    };
                    if value.is_empty() {
                        return Err(self.0.fail(field("MsgType", "is empty")));
                    }
                    if msg_type.replace(value).is_some() {
                        return Err(self.0.fail(field("MsgType", "is there twice")));
                    }
                }
                "MsgContent" => {
                    let mut seen = Seen::default();
                    if map.next_value_seed(Value { members: Some(&mut seen) })? != Kind::Object {
                        return Err(self.0.fail(field("MsgContent", "must be an object")));
                    }
                    if content.replace(seen).is_some() {
                        return Err(self.0.fail(field("MsgContent", "is there twice")));
                    }
                }
                _ => {
                    map.next_value_seed(Value { members: None })?;
                }
            }
        }
        let msg_type = msg_type.ok_or_else(|| self.0.fail(field("MsgType", "is missing")))?;
        let content = content.ok_or_else(|| self.0.fail(field("MsgContent", "is missing")))?;
        content.judge(&msg_type).map_err(|error| self.0.fail(error))?;
        Ok(msg_type == "TIMCustomElem")
    }
}

/// A string, borrowed where it has no escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = MaybeText.deserialize(deserializer)?;
        text.ok_or_else(|| D::Error::custom("expected a string"))
    }
}

/// A string, or `None` for anything else.
struct MaybeText;

impl<'de> DeserializeSeed<'de> for MaybeText {
    type Value = Option<Text<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MaybeText {
    type Value = Option<Text<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Text(Cow::Borrowed(text))))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Text(Cow::Owned(text.to_owned()))))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element_seed(Value { members: None })?.is_some() {}
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_key::<Text<'de>>()?.is_some() {
            map.next_value_seed(Value { members: None })?;
        }
        Ok(None)
    }
}

/// Any value, read in full (unlike serde's `IgnoredAny`, which lets broken surrogate pairs and numbers out of range pass)
/// and dropped. Notes the members of an object when asked to.
struct Value<'a> {
    members: Option<&'a mut Seen>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Kind;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_str<E>(self, _: &str) -> Result<Kind, E> {
        Ok(Kind::Text)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
        Ok(Kind::Other)
    }
    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Other)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
        Ok(Kind::Number)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Kind, E> {
        Ok(Kind::Number)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Kind, E> {
        Ok(Kind::Number)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        while seq.next_element_seed(Value { members: None })?.is_some() {}
        Ok(Kind::Array)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut members = self.members;
        while let Some(Text(key)) = map.next_key()? {
            let kind = map.next_value_seed(Value { members: None })?;
            let Some(seen) = members.as_deref_mut() else { continue };
            if let Some(member) = MEMBERS.iter().position(|(name, ..)| *name == key) {
                seen.note(member, kind);
            }
        }
        Ok(Kind::Object)
    }
}
