//! Publications and who made them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    json::{Object, WriteJson, string},
    raw,
};

/// Who is behind a connection.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct ClientInfo {
    /// User id.
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub user: String,
    /// Connection id.
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub client: String,
    /// Raw JSON about the connection.
    #[prost(bytes = "bytes", tag = "3")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub conn_info: Bytes,
    /// Raw JSON about the subscription.
    #[prost(bytes = "bytes", tag = "4")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub chan_info: Bytes,
}

impl WriteJson for ClientInfo {
    fn write(&self, o: &mut Object<'_>) {
        o.always_str("user", &self.user);
        o.always_str("client", &self.client);
        o.raw("conn_info", &self.conn_info);
        o.raw("chan_info", &self.chan_info);
    }
}

/// One thing published to a channel. With an `offset` it is part of the channel's stream and replayable; without one
/// it is delivered once or lost.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct Publication {
    /// Raw JSON.
    #[prost(bytes = "bytes", tag = "4")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
    /// Who published it, if a client did.
    #[prost(message, optional, tag = "5")]
    pub info: Option<ClientInfo>,
    /// Position in the channel's stream, from 1; 0 = not in the stream. Below 2^53, as JS keeps it in a double.
    #[prost(uint64, tag = "6")]
    #[serde(deserialize_with = "raw::nullable")]
    pub offset: u64,
    #[prost(btree_map = "string, string", tag = "7")]
    #[serde(deserialize_with = "raw::nullable")]
    pub tags: BTreeMap<String, String>,
    /// `data` is a delta to the one before (never sent by us).
    #[prost(bool, tag = "8")]
    #[serde(deserialize_with = "raw::nullable")]
    pub delta: bool,
    /// Unix milliseconds.
    #[prost(int64, tag = "9")]
    #[serde(deserialize_with = "raw::nullable")]
    pub time: i64,
    /// The publication's channel, where the subscription is to a pattern.
    #[prost(string, tag = "10")]
    #[serde(deserialize_with = "raw::nullable")]
    pub channel: String,
    /// Map and keyed channels only, as all fields that follow but `epoch`.
    #[prost(string, tag = "11")]
    #[serde(deserialize_with = "raw::nullable")]
    pub key: String,
    #[prost(bool, tag = "12")]
    #[serde(deserialize_with = "raw::nullable")]
    pub removed: bool,
    #[prost(sint64, tag = "13")]
    #[serde(deserialize_with = "raw::nullable")]
    pub score: i64,
    #[prost(string, tag = "14")]
    #[serde(deserialize_with = "raw::nullable")]
    pub epoch: String,
    #[prost(bytes = "bytes", tag = "15")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub prev_data: Bytes,
    #[prost(uint64, tag = "16")]
    #[serde(deserialize_with = "raw::nullable")]
    pub version: u64,
}

impl WriteJson for Publication {
    fn write(&self, o: &mut Object<'_>) {
        o.raw("data", &self.data);
        o.message("info", self.info.as_ref());
        o.uint("offset", self.offset);
        if !self.tags.is_empty() {
            o.always_map("tags", &self.tags, |out, value| string(out, value));
        }
        o.bool("delta", self.delta);
        o.int("time", self.time);
        o.str("channel", &self.channel);
        o.str("key", &self.key);
        o.bool("removed", self.removed);
        o.int("score", self.score);
        o.str("epoch", &self.epoch);
        o.raw("prev_data", &self.prev_data);
        o.uint("version", self.version);
    }
}

/// Somebody subscribed to the channel.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct Join {
    /// Always present: SDKs read it without asking.
    #[prost(message, required, tag = "1")]
    pub info: ClientInfo,
}

impl WriteJson for Join {
    fn write(&self, o: &mut Object<'_>) {
        o.always_message("info", &self.info);
    }
}

/// Somebody's subscription to the channel ended.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct Leave {
    /// Always present: SDKs read it without asking.
    #[prost(message, required, tag = "1")]
    pub info: ClientInfo,
}

impl WriteJson for Leave {
    fn write(&self, o: &mut Object<'_>) {
        o.always_message("info", &self.info);
    }
}
