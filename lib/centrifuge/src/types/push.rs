//! Pushes that are not publications (protocol: realtime §6).

use bytes::Bytes;
use serde::Deserialize;

use super::connect::{ServerSubscription, server_subscriptions, write_subscriptions};
use crate::{
    json::{Object, WriteJson},
    raw,
};

/// The server ended a subscription. Below 2500 it is over, from 2500 on SDKs subscribe again at once.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct UnsubscribePush {
    #[prost(uint32, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub code: u32,
    #[prost(string, tag = "3")]
    #[serde(deserialize_with = "raw::nullable")]
    pub reason: String,
}

impl WriteJson for UnsubscribePush {
    fn write(&self, o: &mut Object<'_>) {
        o.always_uint("code", self.code.into());
        o.always_str("reason", &self.reason);
    }
}

/// The server subscribed this connection to a channel.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct SubscribePush {
    #[prost(bool, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub recoverable: bool,
    #[prost(string, tag = "4")]
    #[serde(deserialize_with = "raw::nullable")]
    pub epoch: String,
    #[prost(uint64, tag = "5")]
    #[serde(deserialize_with = "raw::nullable")]
    pub offset: u64,
    #[prost(bool, tag = "6")]
    #[serde(deserialize_with = "raw::nullable")]
    pub positioned: bool,
    #[prost(bytes = "bytes", tag = "7")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
}

impl WriteJson for SubscribePush {
    fn write(&self, o: &mut Object<'_>) {
        o.bool("recoverable", self.recoverable);
        o.str("epoch", &self.epoch);
        o.uint("offset", self.offset);
        o.bool("positioned", self.positioned);
        o.raw("data", &self.data);
    }
}

/// A message to the connection, outside of channels.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct MessagePush {
    #[prost(bytes = "bytes", tag = "1")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
}

impl WriteJson for MessagePush {
    fn write(&self, o: &mut Object<'_>) {
        o.raw("data", &self.data);
    }
}

/// The connect result of unidirectional transports.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
pub struct ConnectPush {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub client: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub version: String,
    #[prost(bytes = "bytes", tag = "3")]
    #[serde(deserialize_with = "raw::deserialize")]
    pub data: Bytes,
    #[prost(message, repeated, tag = "4")]
    #[serde(deserialize_with = "server_subscriptions")]
    pub subs: Vec<ServerSubscription>,
    #[prost(bool, tag = "5")]
    #[serde(deserialize_with = "raw::nullable")]
    pub expires: bool,
    #[prost(uint32, tag = "6")]
    #[serde(deserialize_with = "raw::nullable")]
    pub ttl: u32,
    #[prost(uint32, tag = "7")]
    #[serde(deserialize_with = "raw::nullable")]
    pub ping: u32,
    #[prost(bool, tag = "8")]
    #[serde(deserialize_with = "raw::nullable")]
    pub pong: bool,
    #[prost(string, tag = "9")]
    #[serde(deserialize_with = "raw::nullable")]
    pub session: String,
    #[prost(string, tag = "10")]
    #[serde(deserialize_with = "raw::nullable")]
    pub node: String,
    #[prost(int64, tag = "11")]
    #[serde(deserialize_with = "raw::nullable")]
    pub time: i64,
}

impl WriteJson for ConnectPush {
    fn write(&self, o: &mut Object<'_>) {
        o.str("client", &self.client);
        o.str("version", &self.version);
        o.raw("data", &self.data);
        write_subscriptions(o, &self.subs);
        o.bool("expires", self.expires);
        o.uint("ttl", self.ttl);
        o.uint("ping", self.ping);
        o.bool("pong", self.pong);
        o.str("session", &self.session);
        o.str("node", &self.node);
        o.int("time", self.time);
    }
}

/// Acts like a close frame, for transports that have none.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct DisconnectPush {
    #[prost(uint32, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub code: u32,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub reason: String,
    #[prost(bool, tag = "3")]
    #[serde(deserialize_with = "raw::nullable")]
    pub reconnect: bool,
}

impl WriteJson for DisconnectPush {
    fn write(&self, o: &mut Object<'_>) {
        o.always_uint("code", self.code.into());
        o.always_str("reason", &self.reason);
        o.bool("reconnect", self.reconnect);
    }
}

/// Unidirectional transports: the connection's new time to live.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message, Deserialize)]
#[serde(default)]
pub struct RefreshPush {
    #[prost(bool, tag = "1")]
    #[serde(deserialize_with = "raw::nullable")]
    pub expires: bool,
    #[prost(uint32, tag = "2")]
    #[serde(deserialize_with = "raw::nullable")]
    pub ttl: u32,
}

impl WriteJson for RefreshPush {
    fn write(&self, o: &mut Object<'_>) {
        o.bool("expires", self.expires);
        o.uint("ttl", self.ttl);
    }
}
