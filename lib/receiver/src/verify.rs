//! Whether a request is genuine. Pure; signatures are compared in constant time.

use roomhook_protocol::{sign, standard_webhooks};

use crate::config::Config;
use crate::error::Error;
use crate::request::{Query, Request};

/// Checks app, token signature and body signature, in this order, against what the configuration asks for.
pub(crate) fn verify(config: &Config, request: &Request<'_>, query: &Query<'_>, now_secs: u64) -> Result<(), Error> {
    if query.sdkappid != config.sdkappid {
        return Err(Error::WrongApp { expected: config.sdkappid, got: query.sdkappid });
    }
    if !config.tokens.is_empty() {
        verify_token(config, query, now_secs)?;
    }
    if !config.secrets.is_empty() {
        verify_body(config, request, now_secs)?;
    }
    Ok(())
}

fn verify_token(config: &Config, query: &Query<'_>, now_secs: u64) -> Result<(), Error> {
    let (Some(given), Some(request_time)) = (&query.sign, &query.request_time) else { return Err(Error::Unsigned) };
    // Every token is tried, also after one that fits: the time taken does not tell which one it was.
    let fits = config.tokens.iter().fold(false, |fits, token| sign::verify(token, request_time, given) | fits);
    if !fits {
        return Err(Error::WrongSign);
    }
    sign::check_fresh(request_time, now_secs).map_err(Error::Stale)
}

fn verify_body(config: &Config, request: &Request<'_>, now_secs: u64) -> Result<(), Error> {
    let need = |value: Option<_>, name| value.ok_or(Error::UnsignedBody { name });
    let headers = standard_webhooks::Headers {
        id: need(request.webhook_id, standard_webhooks::HEADER_ID)?,
        timestamp: need(request.webhook_timestamp, standard_webhooks::HEADER_TIMESTAMP)?,
        signature: need(request.webhook_signature, standard_webhooks::HEADER_SIGNATURE)?,
    };
    standard_webhooks::verify(&headers, request.body, &config.secrets, now_secs).map_err(Error::WrongBodySignature)
}
