//! Endpoints as bytes.

use bytes::Bytes;

use super::{CodecError, encode_versioned, versioned, wire};
use crate::{
    endpoint::{Endpoint, EndpointId, GateFailure, Order, PastSwitches, Positions, RetryProfile, Start, Token},
    ids::{AppId, UnixMillis},
};

impl Endpoint {
    /// The whole endpoint as bytes, secrets included.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode_versioned(&wire::Endpoint::from(self))
    }

    /// Reads [`Endpoint::encode`] back.
    ///
    /// # Errors
    /// [`CodecError`]; never panics, whatever the bytes are.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        versioned::<wire::Endpoint>(Bytes::copy_from_slice(bytes))?.try_into()
    }
}

impl From<&Endpoint> for wire::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        let Endpoint {
            app,
            id,
            url,
            commands,
            token,
            signing_secrets,
            room_prefix,
            event_time_as_string,
            extra_fields,
            order,
            retry,
            timeout_ms,
            concurrency,
            extra_roots_pem,
            client_cert_pem,
            client_key_pem,
            gate_failure,
            gate_shadow,
            paused,
            start,
            generation,
            created_at,
            begins,
            past,
        } = endpoint.clone();
        let (start, start_ms) = match start {
            Start::Tail => (0, 0),
            Start::Time(ms) => (1, ms),
            Start::Oldest => (2, 0),
        };
        Self {
            app: app.0,
            id: id.0,
            url,
            commands,
            token: token.map(|Token { value, enabled }| wire::Token { value, enabled }),
            signing_secrets,
            room_prefix,
            event_time_as_string,
            extra_fields,
            order: order.map(|order| match order {
                Order::Room => 0,
                Order::None => 1,
            }),
            retry: retry.map(|retry| match retry {
                RetryProfile::Durable => 0,
                RetryProfile::DurableSkip => 1,
                RetryProfile::Tencent => 2,
            }),
            timeout_ms,
            concurrency,
            extra_roots_pem,
            client_cert_pem,
            client_key_pem,
            paused,
            start,
            start_ms,
            generation,
            created_at_ms: created_at.0,
            gate_failure: gate_failure.map(|failure| match failure {
                GateFailure::Pass => 0,
                GateFailure::Drop => 1,
            }),
            gate_shadow,
            past: past.into_iter().map(wire::PastSwitches::from).collect(),
            begins: begins.0,
        }
    }
}

impl From<PastSwitches> for wire::PastSwitches {
    fn from(past: PastSwitches) -> Self {
        let PastSwitches { until, has_url, commands, room_prefix } = past;
        Self { has_url, commands, room_prefix, until: until.0 }
    }
}

impl From<wire::PastSwitches> for PastSwitches {
    fn from(past: wire::PastSwitches) -> Self {
        let wire::PastSwitches { has_url, commands, room_prefix, until } = past;
        Self { until: Positions(until), has_url, commands, room_prefix }
    }
}

impl TryFrom<wire::Endpoint> for Endpoint {
    type Error = CodecError;

    fn try_from(endpoint: wire::Endpoint) -> Result<Self, CodecError> {
        let order = match endpoint.order {
            None => None,
            Some(0) => Some(Order::Room),
            Some(1) => Some(Order::None),
            Some(_) => return Err(CodecError::Field("order")),
        };
        let retry = match endpoint.retry {
            None => None,
            Some(0) => Some(RetryProfile::Durable),
            Some(1) => Some(RetryProfile::DurableSkip),
            Some(2) => Some(RetryProfile::Tencent),
            Some(_) => return Err(CodecError::Field("retry")),
        };
        let gate_failure = match endpoint.gate_failure {
            None => None,
            Some(0) => Some(GateFailure::Pass),
            Some(1) => Some(GateFailure::Drop),
            Some(_) => return Err(CodecError::Field("gate_failure")),
        };
        let start = match endpoint.start {
            0 => Start::Tail,
            1 => Start::Time(endpoint.start_ms),
            2 => Start::Oldest,
            _ => return Err(CodecError::Field("start")),
        };
        Ok(Self {
            app: AppId(endpoint.app),
            id: EndpointId(endpoint.id),
            url: endpoint.url,
            commands: endpoint.commands,
            token: endpoint.token.map(|wire::Token { value, enabled }| Token { value, enabled }),
            signing_secrets: endpoint.signing_secrets,
            room_prefix: endpoint.room_prefix,
            event_time_as_string: endpoint.event_time_as_string,
            extra_fields: endpoint.extra_fields,
            order,
            retry,
            timeout_ms: endpoint.timeout_ms,
            concurrency: endpoint.concurrency,
            extra_roots_pem: endpoint.extra_roots_pem,
            client_cert_pem: endpoint.client_cert_pem,
            client_key_pem: endpoint.client_key_pem,
            gate_failure,
            gate_shadow: endpoint.gate_shadow,
            paused: endpoint.paused,
            start,
            generation: endpoint.generation,
            created_at: UnixMillis(endpoint.created_at_ms),
            begins: Positions(endpoint.begins),
            past: endpoint.past.into_iter().map(PastSwitches::from).collect(),
        })
    }
}
