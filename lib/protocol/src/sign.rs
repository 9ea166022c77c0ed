//! The token signature in a webhook's query: `Sign` and `RequestTime` (protocol: webhooks §1.2).
//!
//! It shows that the sender knows the token and when it sent; it says nothing about the body. For that, see
//! [`crate::standard_webhooks`].
//!
//! ```
//! use roomhook_protocol::sign;
//!
//! let sign = sign::sign("lantern-9f21", "1767225663");
//! assert_eq!(sign, "32737a5c76449e88fd643090f61d848c64b887704d38f5e6a4b392f0b5252a6a");
//! assert!(sign::verify("lantern-9f21", "1767225663", &sign));
//! assert!(sign::check_fresh("1767225663", 1767225700).is_ok());
//! assert!(sign::check_fresh("1767225663", 1767225724).is_err());
//! ```

use std::fmt;

use ring::digest;
use subtle::ConstantTimeEq as _;

use crate::json;

/// How far `RequestTime` may be from the receiver's clock, in seconds, either way.
pub const FRESH_SECS: u64 = 60;

/// `lowercase_hex(SHA256(token ‖ request_time))`; `request_time` is decimal Unix seconds.
#[must_use]
pub fn sign(token: &str, request_time: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(token.as_bytes());
    hash.update(request_time.as_bytes());
    let hash = hash.finish();
    let digits = hash.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(HEX[usize::from(digit)])).collect()
}

/// Whether `sign` is the signature of `request_time` under `token`. Takes the same time wherever they differ.
///
/// Nothing is signed under an empty token: anybody could do that, so a setting that was left out must not let them in.
#[must_use]
pub fn verify(token: &str, request_time: &str, sign: &str) -> bool {
    let fits: bool = self::sign(token, request_time).as_bytes().ct_eq(sign.as_bytes()).into();
    fits && !token.is_empty()
}

/// Checks that a request was made within [`FRESH_SECS`] of `now_secs`.
///
/// # Errors
/// When the time is no plain decimal number or too far off.
pub fn check_fresh(request_time: &str, now_secs: u64) -> Result<(), Stale> {
    let made = json::plain_decimal(request_time).ok_or(Stale::Malformed)?;
    let off_secs = now_secs.abs_diff(made);
    if off_secs > FRESH_SECS { Err(Stale::Off { off_secs }) } else { Ok(()) }
}

/// Why a `RequestTime` was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stale {
    #[error("RequestTime is no Unix time in seconds")]
    Malformed,
    #[error("RequestTime is {off_secs} s away from our clock, at most {FRESH_SECS} s are allowed")]
    Off { off_secs: u64 },
}

/// The two query parameters together, made for one request.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// `Sign`.
    pub sign: String,
    /// `RequestTime`.
    pub request_time: String,
}

impl Signed {
    /// Signs the time at which a request is sent (Unix seconds).
    #[must_use]
    pub fn new(token: &str, now_secs: u64) -> Self {
        let request_time = now_secs.to_string();
        Self { sign: sign(token, &request_time), request_time }
    }
}

impl fmt::Debug for Signed {
    /// A fresh signature is as good as the token for a minute, so it stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed([redacted] at {})", self.request_time)
    }
}
