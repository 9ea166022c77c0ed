//! Connecting, staying connected, and errors.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use serde::{Deserialize, Deserializer};

use super::{SubscribeRequest, SubscribeResult, redacted};
use crate::{
    codes::ErrorCode,
    json::{Object, WriteJson, message, string},
    raw,
};

/// Why a command failed. Build it from [`crate::codes`] or with a code of the application's range (400–1999).
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct Error {
    #[prost(uint32, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub code: u32,
    /// Never empty on the wire: the Python SDK breaks without it.
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub message: String,
    /// Trying again later may succeed.
    #[prost(bool, tag = "3")]
    #[serde(deserialize_with = "raw::nullable")]
    pub temporary: bool,
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Self { code: code.code, message: code.message.to_owned(), temporary: code.temporary }
    }
}

impl WriteJson for Error {
    fn write(&self, o: &mut Object<'_>) {
        o.always_uint("code", self.code.into());
        o.always_str("message", if self.message.is_empty() { "error" } else { &self.message });
        o.bool("temporary", self.temporary);
    }
}

/// The first command of a connection.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[prost(skip_debug)]
#[serde(default)]
pub struct ConnectRequest {
    /// A secret: `Debug` does not show it.
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub token: String,
    /// Raw JSON of the application.
    #[prost(bytes = "bytes", tag = "2")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
    /// Positions in server-side subscriptions that the client had before, by channel.
    #[prost(btree_map = "string, message", tag = "3")]
    #[serde(deserialize_with = "raw::nullable")]
    pub subs: BTreeMap<String, SubscribeRequest>,
    /// The SDK's name.
    #[prost(string, tag = "4")]
    #[serde(deserialize_with = "raw::nullable")]
    pub name: String,
    #[prost(string, tag = "5")]
    #[serde(deserialize_with = "raw::nullable")]
    pub version: String,
    /// Headers a browser could not put in the upgrade request: untrusted, and perhaps secret.
    #[prost(btree_map = "string, string", tag = "6")]
    #[serde(deserialize_with = "raw::nullable")]
    pub headers: BTreeMap<String, String>,
    #[prost(int64, tag = "7")]
    #[serde(deserialize_with = "raw::nullable")]
    pub flag: i64,
    #[prost(string, tag = "8")]
    #[serde(deserialize_with = "raw::nullable")]
    pub dict: String,
    #[prost(string, tag = "9")]
    #[serde(deserialize_with = "raw::nullable")]
    pub profile: String,
}

impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("token", &redacted(&self.token))
            .field("subs", &self.subs)
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl WriteJson for ConnectRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.str("token", &self.token);
        o.raw("data", &self.data);
        if !self.subs.is_empty() {
            o.always_map("subs", &self.subs, message);
        }
        o.str("name", &self.name);
        o.str("version", &self.version);
        if !self.headers.is_empty() {
            o.always_map("headers", &self.headers, |out, value| string(out, value));
        }
        o.int("flag", self.flag);
        o.str("dict", &self.dict);
        o.str("profile", &self.profile);
    }
}

/// A channel that the server subscribed the client to.
///
/// On the wire this is an entry of a map, but not written as Protobuf libraries write one: they leave out a value without
/// fields, and `protobufjs`, which the JavaScript SDK uses, reads that as null and breaks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerSubscription {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(message, required, tag = "2")]
    pub result: SubscribeResult,
}

/// JSON has an object of results by channel.
pub(super) fn server_subscriptions<'de, D: Deserializer<'de>>(de: D) -> Result<Vec<ServerSubscription>, D::Error> {
    let by_channel: BTreeMap<String, SubscribeResult> = raw::nullable(de)?;
    Ok(by_channel.into_iter().map(|(channel, result)| ServerSubscription { channel, result }).collect())
}

pub(super) fn write_subscriptions(o: &mut Object<'_>, subs: &[ServerSubscription]) {
    if !subs.is_empty() {
        o.always_map("subs", subs.iter().map(|sub| (&sub.channel, &sub.result)), message);
    }
}

/// The connection is accepted.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct ConnectResult {
    /// Connection id.
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub client: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub version: String,
    /// The client must send a fresh token after `ttl` seconds. Never set it with a `ttl` of 0: JS would loop.
    #[prost(bool, tag = "3")]
    #[serde(deserialize_with = "raw::nullable")]
    pub expires: bool,
    #[prost(uint32, tag = "4")]
    #[serde(deserialize_with = "raw::nullable")]
    pub ttl: u32,
    #[prost(bytes = "bytes", tag = "5")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
    /// Server-side subscriptions.
    #[prost(message, repeated, tag = "6")]
    #[serde(deserialize_with = "server_subscriptions")]
    pub subs: Vec<ServerSubscription>,
    /// Seconds between the server's pings; always above 0.
    #[prost(uint32, tag = "7")]
    #[serde(deserialize_with = "raw::nullable")]
    pub ping: u32,
    /// The client must answer pings.
    #[prost(bool, tag = "8")]
    #[serde(deserialize_with = "raw::nullable")]
    pub pong: bool,
    #[prost(string, tag = "9")]
    #[serde(deserialize_with = "raw::nullable")]
    pub session: String,
    #[prost(string, tag = "10")]
    #[serde(deserialize_with = "raw::nullable")]
    pub node: String,
    /// Unix milliseconds.
    #[prost(int64, tag = "11")]
    #[serde(deserialize_with = "raw::nullable")]
    pub time: i64,
    #[prost(int64, tag = "12")]
    #[serde(deserialize_with = "raw::nullable")]
    pub flag: i64,
}

impl WriteJson for ConnectResult {
    fn write(&self, o: &mut Object<'_>) {
        o.str("client", &self.client);
        o.str("version", &self.version);
        o.bool("expires", self.expires);
        o.uint("ttl", self.ttl);
        o.raw("data", &self.data);
        write_subscriptions(o, &self.subs);
        o.uint("ping", self.ping);
        o.bool("pong", self.pong);
        o.str("session", &self.session);
        o.str("node", &self.node);
        o.int("time", self.time);
        o.int("flag", self.flag);
    }
}

/// A fresh connection token.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[prost(skip_debug)]
#[serde(default)]
pub struct RefreshRequest {
    /// A secret: `Debug` does not show it.
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub token: String,
}

impl fmt::Debug for RefreshRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshRequest").field("token", &redacted(&self.token)).finish()
    }
}

impl WriteJson for RefreshRequest {
    fn write(&self, o: &mut Object<'_>) {
        o.str("token", &self.token);
    }
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct RefreshResult {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub client: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub version: String,
    #[prost(bool, tag = "3")]
    #[serde(deserialize_with = "raw::nullable")]
    pub expires: bool,
    /// Seconds until the next refresh.
    #[prost(uint32, tag = "4")]
    #[serde(deserialize_with = "raw::nullable")]
    pub ttl: u32,
}

impl WriteJson for RefreshResult {
    fn write(&self, o: &mut Object<'_>) {
        o.str("client", &self.client);
        o.str("version", &self.version);
        o.bool("expires", self.expires);
        o.uint("ttl", self.ttl);
    }
}

/// No SDK sends it; the protocol has it. Not to be confused with a pong, which is an empty command.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct PingRequest {}

impl WriteJson for PingRequest {
    fn write(&self, _: &mut Object<'_>) {}
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct PingResult {}

impl WriteJson for PingResult {
    fn write(&self, _: &mut Object<'_>) {}
}
