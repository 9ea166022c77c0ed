//! What a client does in a channel it joined, and calls outside of channels.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use super::{ClientInfo, Publication};
use crate::{
    json::{Object, WriteJson, message},
    raw,
};

#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct PublishRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub channel: String,
    #[prost(bytes = "bytes", tag = "2")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
    /// Map channels only, as the fields that follow.
    #[prost(int32, tag = "3")]
    #[serde(rename = "type", deserialize_with = "raw::nullable")]
    pub kind: i32,
    #[prost(string, tag = "4")]
    #[serde(deserialize_with = "raw::nullable")]
    pub key: String,
    #[prost(bool, tag = "5")]
    #[serde(deserialize_with = "raw::nullable")]
    pub removed: bool,
}

impl WriteJson for PublishRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.str("channel", &self.channel);
        o.raw("data", &self.data);
        o.int("type", self.kind);
        o.str("key", &self.key);
        o.bool("removed", self.removed);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct PublishResult {}

impl WriteJson for PublishResult {
    fn write(&self, _: &mut Object<'_>) {}
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct PresenceRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub channel: String,
}

impl WriteJson for PresenceRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.str("channel", &self.channel);
    }
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct PresenceResult {
    /// By connection id.
    #[prost(btree_map = "string, message", tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub presence: BTreeMap<String, ClientInfo>,
}

impl WriteJson for PresenceResult {
    fn write(&self, o: &mut Object<'_>) {
        o.always_map("presence", &self.presence, message);
    }
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct PresenceStatsRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub channel: String,
}

impl WriteJson for PresenceStatsRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.str("channel", &self.channel);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct PresenceStatsResult {
    #[prost(uint32, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub num_clients: u32,
    #[prost(uint32, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub num_users: u32,
}

impl WriteJson for PresenceStatsResult {
    fn write(&self, o: &mut Object<'_>) {
        o.always_uint("num_clients", self.num_clients.into());
        o.always_uint("num_users", self.num_users.into());
    }
}

/// A place in a channel's stream.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct StreamPosition {
    #[prost(uint64, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub offset: u64,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub epoch: String,
}

impl WriteJson for StreamPosition {
    fn write(&self, o: &mut Object<'_>) {
        o.uint("offset", self.offset);
        o.str("epoch", &self.epoch);
    }
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct HistoryRequest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub channel: String,
    /// 0 asks for the position alone, -1 for all.
    #[prost(int32, tag = "7")]
    #[serde(deserialize_with = "raw::nullable")]
    pub limit: i32,
    /// Exclusive: forward returns what lies above, `reverse` what lies below.
    #[prost(message, optional, tag = "8")]
    pub since: Option<StreamPosition>,
    #[prost(bool, tag = "9")]
    #[serde(deserialize_with = "raw::nullable")]
    pub reverse: bool,
}

impl WriteJson for HistoryRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.str("channel", &self.channel);
        o.int("limit", self.limit);
        o.message("since", self.since.as_ref());
        o.bool("reverse", self.reverse);
    }
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct HistoryResult {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub publications: Vec<Publication>,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub epoch: String,
    /// Top of the stream.
    #[prost(uint64, tag = "3")]
    #[serde(deserialize_with = "raw::nullable")]
    pub offset: u64,
}

impl WriteJson for HistoryResult {
    fn write(&self, o: &mut Object<'_>) {
        o.always_list("publications", &self.publications, message);
        self.write_tail(o);
    }
}

impl HistoryResult {
    /// All fields but `publications`.
    pub(crate) fn write_tail(&self, o: &mut Object<'_>) {
        o.always_str("epoch", &self.epoch);
        o.always_uint("offset", self.offset);
    }
}

/// Calls a method of the application.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct RpcRequest {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub method: String,
}

impl WriteJson for RpcRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.raw("data", &self.data);
        o.str("method", &self.method);
    }
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct RpcResult {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
}

impl WriteJson for RpcResult {
    fn write(&self, o: &mut Object<'_>) {
        o.raw("data", &self.data);
    }
}

/// A message to the application without an answer: the only command, besides the pong, without an id.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct SendRequest {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
}

impl WriteJson for SendRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.raw("data", &self.data);
    }
}
