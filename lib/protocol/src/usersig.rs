//! `UserSig`: the ticket by which a user or an admin proves who they are (protocol: usersig).
//!
//! ```
//! use roomhook_protocol::{codes, usersig::{self, Mint}};
//!
//! let key = "0123456789abcdef";
//! let ticket = usersig::mint(&Mint { sdkappid: 1400000001, key, userid: "ana_k", expire_secs: 3600, now_secs: 1_700_000_000, userbuf: None });
//!
//! let claims = usersig::verify(&ticket, 1400000001, "ana_k", Some(key), 1_700_000_100)?;
//! assert_eq!(claims.expires_at(), 1_700_003_600);
//!
//! let late = usersig::verify(&ticket, 1400000001, "ana_k", Some(key), 1_700_003_600).unwrap_err();
//! assert_eq!(late.code(), codes::USERSIG_EXPIRED);
//! # Ok::<(), roomhook_protocol::usersig::UserSigError>(())
//! ```
//!
//! The text of a ticket is not canonical (key order, escapes and compression differ between the official packages), so two
//! tickets are never compared: they are decoded and the signature is computed again.

use std::{fmt, io::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, Decompress, FlushDecompress, Status, write::ZlibEncoder};
use ring::hmac;
use serde::Deserialize;

use crate::{codes, json};

/// The longest ticket that is looked at, in bytes of its text.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// The largest JSON that a ticket may inflate to, in bytes.
pub const INFLATED_BYTES_MAX: usize = 16 * 1024;

/// What a ticket is made from.
#[derive(Clone, Copy)]
pub struct Mint<'a> {
    /// The app.
    pub sdkappid: u32,
    /// The app's secret key. Its UTF-8 bytes are the HMAC key, also when they look like hex.
    pub key: &'a str,
    /// Must not hold control characters: [`decode`] refuses such ids.
    pub userid: &'a str,
    /// Lifetime in seconds.
    pub expire_secs: u64,
    /// Unix seconds.
    pub now_secs: u64,
    /// Opaque bytes signed along, e.g. those of a private map key.
    pub userbuf: Option<&'a [u8]>,
}

impl fmt::Debug for Mint<'_> {
    /// The key stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sdkappid, userid, expire_secs, now_secs, .. } = self;
        write!(f, "Mint({sdkappid}, {userid:?}, {now_secs}+{expire_secs}s, key [redacted])")
    }
}

/// Makes a ticket (protocol: usersig §1).
#[must_use]
pub fn mint(mint: &Mint<'_>) -> String {
    let mut claims = Claims {
        identifier: mint.userid.to_owned(),
        sdkappid: mint.sdkappid.into(),
        time: mint.now_secs,
        expire: mint.expire_secs,
        userbuf: mint.userbuf.map(|bytes| STANDARD.encode(bytes)),
        sig: String::new(),
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, mint.key.as_bytes());
    claims.sig = STANDARD.encode(hmac::sign(&key, claims.content().as_bytes()));
    let packed = compress(&claims.to_json());
    STANDARD.encode(packed).chars().map(to_url_alphabet).collect()
}

/// What a ticket says. Nothing of it is to be believed before [`Claims::verify`] said yes.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Claims {
    /// The user id.
    #[serde(rename = "TLS.identifier")]
    pub identifier: String,
    /// The app; wider than an app id can be, so that a foreign number is "another app" and not "malformed".
    #[serde(rename = "TLS.sdkappid", deserialize_with = "json::number_or_text")]
    pub sdkappid: u64,
    /// When it was made, Unix seconds.
    #[serde(rename = "TLS.time", deserialize_with = "json::number_or_text")]
    pub time: u64,
    /// Lifetime in seconds.
    #[serde(rename = "TLS.expire", deserialize_with = "json::number_or_text")]
    pub expire: u64,
    /// Base64 of the bytes signed along.
    #[serde(rename = "TLS.userbuf", default)]
    pub userbuf: Option<String>,
    #[serde(rename = "TLS.sig")]
    sig: String,
}

impl fmt::Debug for Claims {
    /// The signature stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identifier, sdkappid, time, expire, .. } = self;
        write!(f, "Claims({sdkappid}, {identifier:?}, {time}+{expire}s)")
    }
}

/// Reads a ticket without checking its signature.
///
/// # Errors
/// [`UserSigError::Empty`] and [`UserSigError::Malformed`]; nothing else. Inflates to at most [`INFLATED_BYTES_MAX`].
pub fn decode(usersig: &str) -> Result<Claims, UserSigError> {
    if usersig.is_empty() {
        return Err(UserSigError::Empty);
    }
    if usersig.len() > TEXT_BYTES_MAX {
        return Err(UserSigError::Malformed("longer than any real usersig"));
    }
    let text: Option<String> = usersig.chars().map(from_url_alphabet).collect();
    let text = text.ok_or(UserSigError::Malformed("a character that is not of its alphabet"))?;
    let packed = STANDARD.decode(text).map_err(|_| UserSigError::Malformed("not base64"))?;
    let json = decompress(&packed).ok_or(UserSigError::Malformed("not zlib, or cut off, or too large"))?;
    let claims: Claims =
        serde_json::from_slice(&json).map_err(|_| UserSigError::Malformed("not JSON with the expected members"))?;
    // A line break in one value could pose as the next line of what is signed, so that a signature over one user's id
    // would also be one over another's. Neither value can hold one honestly.
    if claims.identifier.chars().any(char::is_control) {
        return Err(UserSigError::Malformed("control character in the user id"));
    }
    if claims.userbuf.as_ref().is_some_and(|text| STANDARD.decode(text).is_err()) {
        return Err(UserSigError::Malformed("userbuf is not base64"));
    }
    Ok(claims)
}

/// Decodes and checks a ticket in the recommended order: 70002, 70003, 70014, 70013, 70016, 70009, 70001, so that nothing
/// inside an unsigned ticket decides more than which error is shown. `key` is `None` when the app has none.
///
/// # Errors
/// Any [`UserSigError`].
pub fn verify(
    usersig: &str,
    sdkappid: u32,
    userid: &str,
    key: Option<&str>,
    now_secs: u64,
) -> Result<Claims, UserSigError> {
    let claims = decode(usersig)?;
    claims.check_subject(sdkappid, userid)?;
    claims.verify(key.ok_or(UserSigError::NoKey)?, sdkappid, userid, now_secs)?;
    Ok(claims)
}

impl Claims {
    /// Checks that the ticket was signed with `key` for this app and user and is still good. A `TLS.time` in the future is
    /// accepted: clocks of app backends differ.
    ///
    /// # Errors
    /// [`UserSigError::OtherApp`], [`UserSigError::OtherUser`], [`UserSigError::Forged`], [`UserSigError::Expired`], in
    /// this order. The signature is compared in constant time.
    pub fn verify(&self, key: &str, sdkappid: u32, userid: &str, now_secs: u64) -> Result<(), UserSigError> {
        self.check_subject(sdkappid, userid)?;
        let sig = STANDARD.decode(&self.sig).map_err(|_| UserSigError::Forged)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        hmac::verify(&key, self.content().as_bytes(), &sig).map_err(|_| UserSigError::Forged)?;
        if self.expires_at() <= now_secs {
            return Err(UserSigError::Expired);
        }
        Ok(())
    }

    /// The first Unix second at which the ticket is no longer good.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.time.saturating_add(self.expire)
    }

    fn check_subject(&self, sdkappid: u32, userid: &str) -> Result<(), UserSigError> {
        if self.sdkappid != u64::from(sdkappid) {
            return Err(UserSigError::OtherApp);
        }
        if self.identifier != userid {
            return Err(UserSigError::OtherUser);
        }
        Ok(())
    }

    /// The text that is signed (protocol: usersig §1, step 1).
    fn content(&self) -> String {
        let Self { identifier, sdkappid, time, expire, .. } = self;
        let mut content =
            format!("TLS.identifier:{identifier}\nTLS.sdkappid:{sdkappid}\nTLS.time:{time}\nTLS.expire:{expire}\n");
        if let Some(userbuf) = &self.userbuf {
            content.extend(["TLS.userbuf:", userbuf, "\n"]);
        }
        content
    }

    fn to_json(&self) -> Vec<u8> {
        let mut out = br#"{"TLS.ver":"2.0","TLS.identifier":"#.to_vec();
        json::push_string(&mut out, &self.identifier);
        for (name, number) in [("sdkappid", self.sdkappid), ("expire", self.expire), ("time", self.time)] {
            out.extend_from_slice(b",\"TLS.");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            json::push_u64(&mut out, number);
        }
        for (name, text) in [("userbuf", self.userbuf.as_deref()), ("sig", Some(self.sig.as_str()))] {
            let Some(text) = text else { continue };
            out.extend_from_slice(b",\"TLS.");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            json::push_string(&mut out, text);
        }
        out.push(b'}');
        out
    }
}

/// Why a ticket is no good. Each has the documented number (protocol: usersig §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserSigError {
    #[error("usersig is empty")]
    Empty,
    #[error("usersig cannot be decoded: {0}")]
    Malformed(&'static str),
    #[error("usersig was made for another sdkappid")]
    OtherApp,
    #[error("usersig was made for another user id")]
    OtherUser,
    #[error("the app has no secret key")]
    NoKey,
    #[error("usersig does not match, check the secret key")]
    Forged,
    #[error("usersig expired")]
    Expired,
}

impl UserSigError {
    /// The documented error code.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Empty => codes::USERSIG_EMPTY,
            Self::Malformed(_) => codes::USERSIG_MALFORMED,
            Self::OtherApp => codes::USERSIG_OTHER_APP,
            Self::OtherUser => codes::USERSIG_OTHER_USER,
            Self::NoKey => codes::KEY_MISSING,
            Self::Forged => codes::USERSIG_FORGED,
            Self::Expired => codes::USERSIG_EXPIRED,
        }
    }
}

const fn to_url_alphabet(symbol: char) -> char {
    match symbol {
        '+' => '*',
        '/' => '-',
        '=' => '_',
        other => other,
    }
}

/// Strict: the plain base64 symbols are not accepted beside their replacements, so one ticket has one spelling.
const fn from_url_alphabet(symbol: char) -> Option<char> {
    match symbol {
        '*' => Some('+'),
        '-' => Some('/'),
        '_' => Some('='),
        '+' | '/' | '=' => None,
        other => Some(other),
    }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len()), Compression::default());
    // Writing into memory cannot fail; flate2 has no interface that says so.
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

fn decompress(packed: &[u8]) -> Option<Vec<u8>> {
    // The spare capacity is the cap: `decompress_vec` never grows its output.
    let mut out = Vec::with_capacity(INFLATED_BYTES_MAX);
    let status = Decompress::new(true).decompress_vec(packed, &mut out, FlushDecompress::Finish).ok()?;
    (status == Status::StreamEnd).then_some(out)
}
