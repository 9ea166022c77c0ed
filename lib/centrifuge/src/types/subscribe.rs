//! Joining and leaving channels.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;

use super::{Publication, redacted};
use crate::{
    json::{Object, WriteJson, string},
    raw,
};

/// Asks to join a channel, perhaps resuming from a position.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[prost(skip_debug)]
#[serde(default)]
pub struct SubscribeRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub channel: String,
    /// A secret: `Debug` does not show it.
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub token: String,
    /// Resume after (`epoch`, `offset`).
    #[prost(bool, tag = "3")]
    #[serde(deserialize_with = "raw::nullable")]
    pub recover: bool,
    #[prost(string, tag = "6")]
    #[serde(deserialize_with = "raw::nullable")]
    pub epoch: String,
    #[prost(uint64, tag = "7")]
    #[serde(deserialize_with = "raw::nullable")]
    pub offset: u64,
    #[prost(bytes = "bytes", tag = "8")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
    #[prost(bool, tag = "9")]
    #[serde(deserialize_with = "raw::nullable")]
    pub positioned: bool,
    #[prost(bool, tag = "10")]
    #[serde(deserialize_with = "raw::nullable")]
    pub recoverable: bool,
    #[prost(bool, tag = "11")]
    #[serde(deserialize_with = "raw::nullable")]
    pub join_leave: bool,
    #[prost(string, tag = "12")]
    #[serde(deserialize_with = "raw::nullable")]
    pub delta: String,
    #[prost(message, optional, boxed, tag = "13")]
    pub tf: Option<Box<FilterNode>>,
    /// Bits: see [`SubscribeRequest::FLAG_COMPACTION`], [`SubscribeRequest::FLAG_UNRECOVERABLE_IS_ERROR`].
    #[prost(int64, tag = "14")]
    #[serde(deserialize_with = "raw::nullable")]
    pub flag: i64,
    #[prost(int32, tag = "15")]
    #[serde(rename = "type", deserialize_with = "raw::nullable")]
    pub kind: i32,
    #[prost(int32, tag = "16")]
    #[serde(deserialize_with = "raw::nullable")]
    pub phase: i32,
    #[prost(string, tag = "17")]
    #[serde(deserialize_with = "raw::nullable")]
    pub cursor: String,
    #[prost(int32, tag = "18")]
    #[serde(deserialize_with = "raw::nullable")]
    pub limit: i32,
    #[prost(bool, tag = "19")]
    #[serde(deserialize_with = "raw::nullable")]
    pub asc: bool,
}

impl SubscribeRequest {
    /// The client can read numeric channel ids.
    pub const FLAG_COMPACTION: i64 = 1;
    /// Where recovery is impossible, answer error 112 instead of `recovered: false`.
    pub const FLAG_UNRECOVERABLE_IS_ERROR: i64 = 2;
}

impl fmt::Debug for SubscribeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeRequest")
            .field("channel", &self.channel)
            .field("token", &redacted(&self.token))
            .field("recover", &self.recover)
            .field("epoch", &self.epoch)
            .field("offset", &self.offset)
            .field("flag", &self.flag)
            .finish_non_exhaustive()
    }
}

impl WriteJson for SubscribeRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.str("channel", &self.channel);
        o.str("token", &self.token);
        o.bool("recover", self.recover);
        o.str("epoch", &self.epoch);
        o.uint("offset", self.offset);
        o.raw("data", &self.data);
        o.bool("positioned", self.positioned);
        o.bool("recoverable", self.recoverable);
        o.bool("join_leave", self.join_leave);
        o.str("delta", &self.delta);
        o.message("tf", self.tf.as_deref());
        o.int("flag", self.flag);
        o.int("type", self.kind);
        o.int("phase", self.phase);
        o.str("cursor", &self.cursor);
        o.int("limit", self.limit);
        o.bool("asc", self.asc);
    }
}

/// A filter over publication tags.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct FilterNode {
    /// Empty for a leaf, else `and`, `or`, `not`.
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub op: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub key: String,
    /// `eq`, `neq`, `in`, `nin`, `ex`, `nex`, `sw`, `ew`, `ct`, `lt`, `lte`, `gt`, `gte`.
    #[prost(string, tag = "3")]
    #[serde(deserialize_with = "raw::nullable")]
    pub cmp: String,
    #[prost(string, tag = "4")]
    #[serde(deserialize_with = "raw::nullable")]
    pub val: String,
    #[prost(string, repeated, tag = "5")]
    #[serde(deserialize_with = "raw::nullable")]
    pub vals: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    #[serde(deserialize_with = "raw::nullable")]
    pub nodes: Vec<FilterNode>,
}

impl WriteJson for FilterNode {
    fn write(&self, o: &mut Object<'_>) {
        o.str("op", &self.op);
        o.str("key", &self.key);
        o.str("cmp", &self.cmp);
        o.str("val", &self.val);
        if !self.vals.is_empty() {
            o.always_list("vals", &self.vals, |out, value| string(out, value));
        }
        o.messages("nodes", &self.nodes);
    }
}

/// The subscription stands.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct SubscribeResult {
    #[prost(bool, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub expires: bool,
    #[prost(uint32, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub ttl: u32,
    #[prost(bool, tag = "3")]
    #[serde(deserialize_with = "raw::nullable")]
    pub recoverable: bool,
    #[prost(string, tag = "6")]
    #[serde(deserialize_with = "raw::nullable")]
    pub epoch: String,
    /// What the client missed, ascending; only with `recovered`.
    #[prost(message, repeated, tag = "7")]
    #[serde(deserialize_with = "raw::nullable")]
    pub publications: Vec<Publication>,
    #[prost(bool, tag = "8")]
    #[serde(deserialize_with = "raw::nullable")]
    pub recovered: bool,
    #[prost(uint64, tag = "9")]
    #[serde(deserialize_with = "raw::nullable")]
    pub offset: u64,
    #[prost(bool, tag = "10")]
    #[serde(deserialize_with = "raw::nullable")]
    pub positioned: bool,
    #[prost(bytes = "bytes", tag = "11")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
    #[prost(bool, tag = "12")]
    #[serde(deserialize_with = "raw::nullable")]
    pub was_recovering: bool,
    #[prost(bool, tag = "13")]
    #[serde(deserialize_with = "raw::nullable")]
    pub delta: bool,
    /// Numeric channel id (compaction).
    #[prost(int64, tag = "14")]
    #[serde(deserialize_with = "raw::nullable")]
    pub id: i64,
    #[prost(int32, tag = "15")]
    #[serde(rename = "type", deserialize_with = "raw::nullable")]
    pub kind: i32,
    #[prost(int32, tag = "16")]
    #[serde(deserialize_with = "raw::nullable")]
    pub phase: i32,
    #[prost(string, tag = "17")]
    #[serde(deserialize_with = "raw::nullable")]
    pub cursor: String,
    #[prost(message, repeated, tag = "18")]
    #[serde(deserialize_with = "raw::nullable")]
    pub state: Vec<Publication>,
    /// Milliseconds. Makes JS keep only the newest publish of each window.
    #[prost(uint32, tag = "19")]
    #[serde(deserialize_with = "raw::nullable")]
    pub publish_debounce: u32,
}

impl WriteJson for SubscribeResult {
    fn write(&self, o: &mut Object<'_>) {
        self.write_head(o);
        o.messages("publications", &self.publications);
    }
}

impl SubscribeResult {
    /// All fields but `publications`.
    pub(crate) fn write_head(&self, o: &mut Object<'_>) {
        o.bool("expires", self.expires);
        o.uint("ttl", self.ttl);
        o.bool("recoverable", self.recoverable);
        o.str("epoch", &self.epoch);
        o.bool("recovered", self.recovered);
        o.uint("offset", self.offset);
        o.bool("positioned", self.positioned);
        o.raw("data", &self.data);
        o.bool("was_recovering", self.was_recovering);
        o.bool("delta", self.delta);
        o.int("id", self.id);
        o.int("type", self.kind);
        o.int("phase", self.phase);
        o.str("cursor", &self.cursor);
        o.messages("state", &self.state);
        o.uint("publish_debounce", self.publish_debounce);
    }
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct UnsubscribeRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub channel: String,
}

impl WriteJson for UnsubscribeRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.str("channel", &self.channel);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct UnsubscribeResult {}

impl WriteJson for UnsubscribeResult {
    fn write(&self, _: &mut Object<'_>) {}
}

/// A fresh subscription token.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[prost(skip_debug)]
#[serde(default)]
pub struct SubRefreshRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub channel: String,
    /// A secret: `Debug` does not show it.
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub token: String,
}

impl fmt::Debug for SubRefreshRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubRefreshRequest")
            .field("channel", &self.channel)
            .field("token", &redacted(&self.token))
            .finish()
    }
}

impl WriteJson for SubRefreshRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.str("channel", &self.channel);
        o.str("token", &self.token);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct SubRefreshResult {
    #[prost(bool, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub expires: bool,
    #[prost(uint32, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub ttl: u32,
}

impl WriteJson for SubRefreshResult {
    fn write(&self, o: &mut Object<'_>) {
        o.bool("expires", self.expires);
        o.uint("ttl", self.ttl);
    }
}
