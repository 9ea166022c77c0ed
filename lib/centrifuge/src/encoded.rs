//! Publications encoded once and shared; replies made of them by concatenation.

use std::ops::Range;

use bytes::Bytes;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use crate::{
    frame::Format,
    json,
    types::{HistoryResult, Publication, SubscribeResult},
};

/// Tags of the schema that splicing writes by hand.
mod tag {
    pub(super) const REPLY_ID: u32 = 1;
    pub(super) const REPLY_PUSH: u32 = 4;
    pub(super) const REPLY_SUBSCRIBE: u32 = 6;
    pub(super) const REPLY_HISTORY: u32 = 11;
    pub(super) const PUSH_CHANNEL: u32 = 2;
    pub(super) const PUSH_PUB: u32 = 4;
    pub(super) const SUBSCRIBE_PUBLICATIONS: u32 = 7;
    pub(super) const HISTORY_PUBLICATIONS: u32 = 1;
}

/// A publication push in both formats, built once. Cheap to clone.
///
/// ```
/// use roomhook_centrifuge::{EncodedPublication, Format, Publication, SubscribeResult};
///
/// let publication = Publication { data: r#"{"a":1}"#.into(), offset: 11, ..Publication::default() };
/// let encoded = EncodedPublication::new("room:1", &publication);
/// assert_eq!(encoded.push(Format::Json), r#"{"push":{"channel":"room:1","pub":{"data":{"a":1},"offset":11}}}"#);
///
/// // A member that comes back gets the same bytes inside its subscribe reply.
/// let result = SubscribeResult { recovered: true, offset: 10, ..SubscribeResult::default() };
/// let mut out = Vec::new();
/// Format::Json.write_subscribe_reply(&mut out, 2, &result, [encoded.element(Format::Json)].into_iter());
/// assert_eq!(out, br#"{"id":2,"subscribe":{"recovered":true,"offset":10,"publications":[{"data":{"a":1},"offset":11}]}}"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPublication {
    json: Bytes,
    json_element: Range<usize>,
    protobuf: Bytes,
    protobuf_element: Range<usize>,
}

impl EncodedPublication {
    #[must_use]
    pub fn new(channel: &str, publication: &Publication) -> Self {
        let (mut json, mut protobuf) = (Vec::new(), Vec::new());
        let json_element = Format::Json.write_publication_push(&mut json, channel, publication);
        let protobuf_element = Format::Protobuf.write_publication_push(&mut protobuf, channel, publication);
        Self { json: json.into(), json_element, protobuf: protobuf.into(), protobuf_element }
    }

    /// The whole push: one message of a frame, or a frame of its own.
    #[must_use]
    pub fn push(&self, format: Format) -> &Bytes {
        match format {
            Format::Json => &self.json,
            Format::Protobuf => &self.protobuf,
        }
    }

    /// The publication alone, as [`Format::write_subscribe_reply`] and [`Format::write_history_reply`] want it.
    #[must_use]
    pub fn element(&self, format: Format) -> &[u8] {
        let (push, element) = match format {
            Format::Json => (&self.json, &self.json_element),
            Format::Protobuf => (&self.protobuf, &self.protobuf_element),
        };
        push.get(element.clone()).unwrap_or_default()
    }
}

impl Format {
    /// Appends a publication push and says where in `out` the publication itself lies: those bytes are an *element*
    /// for [`Format::write_subscribe_reply`] and [`Format::write_history_reply`].
    pub fn write_publication_push(self, out: &mut Vec<u8>, channel: &str, publication: &Publication) -> Range<usize> {
        match self {
            Self::Json => {
                out.reserve(publication.data.len() + channel.len() + 128);
                out.extend_from_slice(b"{\"push\":{");
                if !channel.is_empty() {
                    out.extend_from_slice(b"\"channel\":");
                    json::string(out, channel);
                    out.push(b',');
                }
                out.extend_from_slice(b"\"pub\":");
                let start = out.len();
                json::message(out, publication);
                let element = start..out.len();
                out.extend_from_slice(b"}}");
                element
            }
            Self::Protobuf => {
                let publication_len = publication.encoded_len();
                let channel_len = if channel.is_empty() { 0 } else { field_len(tag::PUSH_CHANNEL, channel.len()) };
                let push_len = channel_len + field_len(tag::PUSH_PUB, publication_len);
                let reply_len = field_len(tag::REPLY_PUSH, push_len);
                out.reserve(reply_len + 10);
                encode_varint(reply_len as u64, out);
                open_field(out, tag::REPLY_PUSH, push_len);
                if !channel.is_empty() {
                    open_field(out, tag::PUSH_CHANNEL, channel.len());
                    out.extend_from_slice(channel.as_bytes());
                }
                open_field(out, tag::PUSH_PUB, publication_len);
                let start = out.len();
                publication.encode_raw(out);
                start..out.len()
            }
        }
    }

    /// Appends the answer to a subscribe: `result` (whose own `publications` are not looked at) with `elements` as its
    /// publications, copied as they are. Without elements the field is left out.
    pub fn write_subscribe_reply<'a>(
        self,
        out: &mut Vec<u8>,
        id: u32,
        result: &SubscribeResult,
        elements: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        match self {
            Self::Json => json::object(out, |reply| {
                reply.uint("id", id);
                json::object(reply.field("subscribe"), |o| {
                    result.write_head(o);
                    if elements.clone().next().is_some() {
                        o.always_list("publications", elements, |out, element| out.extend_from_slice(element));
                    }
                });
            }),
            Self::Protobuf => {
                if result.publications.is_empty() {
                    spliced(out, id, tag::REPLY_SUBSCRIBE, result, tag::SUBSCRIBE_PUBLICATIONS, elements);
                } else {
                    let head = SubscribeResult { publications: Vec::new(), ..result.clone() };
                    spliced(out, id, tag::REPLY_SUBSCRIBE, &head, tag::SUBSCRIBE_PUBLICATIONS, elements);
                }
            }
        }
    }

    /// Appends the answer to a history request with `elements` as its publications, copied as they are. `epoch` and
    /// `offset` are the stream's top position.
    pub fn write_history_reply<'a>(
        self,
        out: &mut Vec<u8>,
        id: u32,
        epoch: &str,
        offset: u64,
        elements: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        let result = HistoryResult { publications: Vec::new(), epoch: epoch.to_owned(), offset };
        match self {
            Self::Json => json::object(out, |reply| {
                reply.uint("id", id);
                json::object(reply.field("history"), |o| {
                    o.always_list("publications", elements, |out, element| out.extend_from_slice(element));
                    result.write_tail(o);
                });
            }),
            Self::Protobuf => spliced(out, id, tag::REPLY_HISTORY, &result, tag::HISTORY_PUBLICATIONS, elements),
        }
    }
}

/// A delimited reply whose result is `head` followed by `elements` as repeated field `element_tag`: in Protobuf the
/// order of fields does not matter, so joining bytes is encoding.
fn spliced<'a>(
    out: &mut Vec<u8>,
    id: u32,
    body_tag: u32,
    head: &impl Message,
    element_tag: u32,
    elements: impl Iterator<Item = &'a [u8]> + Clone,
) {
    let elements_len: usize = elements.clone().map(|element| field_len(element_tag, element.len())).sum();
    let body_len = head.encoded_len() + elements_len;
    let id_len = if id == 0 { 0 } else { key_len(tag::REPLY_ID) + encoded_len_varint(id.into()) };
    let reply_len = id_len + field_len(body_tag, body_len);
    out.reserve(reply_len + 10);
    encode_varint(reply_len as u64, out);
    if id != 0 {
        encode_key(tag::REPLY_ID, WireType::Varint, out);
        encode_varint(id.into(), out);
    }
    open_field(out, body_tag, body_len);
    head.encode_raw(out);
    for element in elements {
        open_field(out, element_tag, element.len());
        out.extend_from_slice(element);
    }
}

fn open_field(out: &mut Vec<u8>, tag: u32, len: usize) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

/// Bytes of a length-delimited field, its key and length included.
fn field_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}
