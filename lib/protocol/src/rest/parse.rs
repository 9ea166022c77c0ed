//! From bytes to a request, with the documented code for each way to fail.

use serde::Deserialize;

use crate::{
    codes::{self, Family},
    envelope::Failure,
    json,
};

/// How deep the JSON of a request may nest.
pub const DEPTH_MAX: usize = 40;

/// The longest `ErrorInfo` that quotes a parser, in bytes.
const INFO_BYTES_MAX: usize = 200;

/// Reads the body of a call. An empty body counts as `{}`.
///
/// # Errors
/// 60003 when the body is not JSON (or nests deeper than [`DEPTH_MAX`]); the family's code when it is JSON but no object, or a
/// member is missing, there twice, or of the wrong type. The text names the member.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], family: Family) -> Result<T, Failure> {
    let broken = |info: String| Failure::new(codes::JSON_MALFORMED, cut(info));
    let text = std::str::from_utf8(body).map_err(|_| broken("the body is not valid UTF-8".to_owned()))?;
    let text = if text.trim_ascii().is_empty() { "{}" } else { text };
    if json::shape(text.as_bytes()).depth > DEPTH_MAX {
        return Err(broken(format!("the JSON nests deeper than {DEPTH_MAX} levels")));
    }
    // serde would also read a struct from an array of its members.
    let is_object = text.trim_ascii_start().starts_with('{');
    let parsed = if is_object { serde_json::from_str(text).map_err(Some) } else { Err(None) };
    // What kind of error serde reports decides nothing: a wrong member may stand before a broken end, and where one of a
    // few words is expected, another type counts as bad syntax. Only a full reading tells (`IgnoredAny` skips some checks).
    parsed.map_err(|error: Option<serde_json::Error>| match serde_json::from_str::<serde_json::Value>(text) {
        Err(syntax) => broken(syntax.to_string()),
        Ok(_) => {
            let info = error.map_or_else(|| "the body must be a JSON object".to_owned(), |error| error.to_string());
            Failure::new(family.bad_parameter(), cut(info))
        }
    })
}

fn cut(mut info: String) -> String {
    if info.len() > INFO_BYTES_MAX {
        let end = (0..=INFO_BYTES_MAX).rev().find(|&at| info.is_char_boundary(at)).unwrap_or(0);
        info.truncate(end);
        info.push('…');
    }
    info
}
