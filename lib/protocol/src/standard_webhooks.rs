//! Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature` (<https://www.standardwebhooks.com>), an
//! HMAC-SHA256 over id, time and body. Several secrets may be active at once, for rotation: each signs.
//!
//! ```
//! use roomhook_protocol::standard_webhooks::{self, Headers, Secret};
//!
//! let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
//! let signature = standard_webhooks::sign_all(&[secret.clone()], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, br#"{"test": 2432232314}"#);
//! assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
//!
//! let headers = Headers { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: "1614265330", signature: &signature };
//! standard_webhooks::verify(&headers, br#"{"test": 2432232314}"#, &[secret], 1614265400)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

use crate::json;

/// Name of the header with the id, which stays the same over retries.
pub const HEADER_ID: &str = "webhook-id";
/// Name of the header with the time of the attempt.
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
/// Name of the header with the signatures.
pub const HEADER_SIGNATURE: &str = "webhook-signature";

/// How far `webhook-timestamp` may be from the receiver's clock, in seconds, either way.
pub const TOLERANCE_SECS: u64 = 300;

/// The most signatures of one header that are looked at.
const SIGNATURES_MAX: usize = 16;

/// A signing secret, `whsec_` and base64 of 24 to 64 bytes. Prints as `[redacted]`.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// Reads `whsec_<base64>`; the prefix may be missing.
    ///
    /// # Errors
    /// When it is not base64 or too short or too long to be a secret.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let bytes = STANDARD.decode(encoded).map_err(|_| SecretError::Encoding)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(SecretError::Length { len: bytes.len() });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// One signature, `v1,<base64>`. `timestamp` is Unix seconds of this attempt.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let tag = content(&self.0, id, &timestamp.to_string(), body).sign();
        format!("v1,{}", STANDARD.encode(tag))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// The value of `webhook-signature` when all these secrets are active.
#[must_use]
pub fn sign_all(secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let signatures: Vec<_> = secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect();
    signatures.join(" ")
}

/// The three headers of a request, as received.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// [`HEADER_ID`].
    pub id: &'a str,
    /// [`HEADER_TIMESTAMP`].
    pub timestamp: &'a str,
    /// [`HEADER_SIGNATURE`].
    pub signature: &'a str,
}

/// Checks that one of `secrets` signed this body within [`TOLERANCE_SECS`] of `now_secs`.
///
/// # Errors
/// When the time is malformed or too far off, or no signature fits.
pub fn verify(headers: &Headers<'_>, body: &[u8], secrets: &[Secret], now_secs: u64) -> Result<(), VerifyError> {
    verify_within(headers, body, secrets, now_secs, TOLERANCE_SECS)
}

/// [`verify`] with a tolerance of one's own, in seconds.
///
/// # Errors
/// As [`verify`].
pub fn verify_within(
    headers: &Headers<'_>,
    body: &[u8],
    secrets: &[Secret],
    now_secs: u64,
    tolerance_secs: u64,
) -> Result<(), VerifyError> {
    let timestamp = json::plain_decimal(headers.timestamp).ok_or(VerifyError::Timestamp)?;
    let off_secs = now_secs.abs_diff(timestamp);
    if off_secs > tolerance_secs {
        return Err(VerifyError::Stale { off_secs });
    }
    // Versions other than v1 are for receivers of another time: skipped, not refused.
    let tokens = headers.signature.split_ascii_whitespace().take(SIGNATURES_MAX);
    let given: Vec<_> =
        tokens.filter_map(|token| token.strip_prefix("v1,")).filter_map(|text| STANDARD.decode(text).ok()).collect();
    // Every pair is compared, also after one that fits: the time taken does not tell which it was.
    let fits = secrets.iter().fold(false, |fits, secret| {
        let expected = content(&secret.0, headers.id, headers.timestamp, body).sign();
        given.iter().fold(fits, |fits, tag| fits | same(expected.as_ref(), tag))
    });
    if fits { Ok(()) } else { Err(VerifyError::Signature) }
}

fn content(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> hmac::Context {
    let mut context = hmac::Context::with_key(key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
    context
}

fn same(left: &[u8], right: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(left, right).into()
}

/// Why a text is no signing secret. Does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    #[error("a signing secret is whsec_ followed by standard base64")]
    Encoding,
    #[error("a signing secret has 24 to 64 bytes, this one has {len}")]
    Length { len: usize },
}

/// Why a signed request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    #[error("webhook-timestamp is no Unix time in seconds")]
    Timestamp,
    #[error("webhook-timestamp is {off_secs} s away from our clock")]
    Stale { off_secs: u64 },
    #[error("no signature fits any of our secrets")]
    Signature,
}
