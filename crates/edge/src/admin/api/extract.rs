//! Reading requests, with errors in the shape of this API that name what is wrong.

use std::borrow::Cow;

use axum::{
    extract::{
        FromRequest, FromRequestParts, Request,
        path::ErrorKind,
        rejection::{BytesRejection, PathRejection},
    },
    http::{header, request::Parts},
};
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Number;

use super::error::ApiError;

/// A JSON body. Announced as JSON, so that no form of a web page passes for one.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let announced = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let announced = announced.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        if !announced.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::bad("send the header: Content-Type: application/json"));
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|error: BytesRejection| ApiError::bad(error.body_text()))?;
        parse(&bytes).map(Self)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let plain = plain_numbers(bytes);
    let mut json = serde_json::Deserializer::from_slice(&plain);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (at, error) = (error.path().to_string(), error.inner().to_string());
        match member(&at, &error) {
            Some(field) => ApiError::field(field, error),
            None => ApiError::bad(format!("the body is not as documented: {error}")),
        }
    })?;
    match json.end() {
        Ok(()) => Ok(parsed),
        Err(error) => Err(ApiError::bad(format!("the body is not as documented: {error}"))),
    }
}

/// The same text with whole numbers written as such: to JSON Schema, and to programs whose numbers are all floating, `1.0` and
/// `1e3` are as whole as 1 and 1000. Larger ones than a floating number holds exactly stay as they are.
fn plain_numbers(text: &[u8]) -> Cow<'_, [u8]> {
    const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
    let mut out = Cow::Borrowed(text);
    let (mut at, mut in_string) = (0, false);
    while let Some(&byte) = out.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let rest = out.get(at..).unwrap_or_default();
                let is_part = |byte: &&u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let len = rest.iter().take_while(is_part).count();
                let number = rest.get(..len).and_then(|number| serde_json::from_slice::<Number>(number).ok());
                let whole = number.filter(Number::is_f64).and_then(|number| number.as_f64());
                let whole = whole.filter(|number| number.fract() == 0.0 && number.abs() < EXACT_BELOW);
                let written = whole.map_or(len, |whole| {
                    // Negative zero, too, is zero.
                    let plain = format!("{:.0}", whole + 0.0).into_bytes();
                    let written = plain.len();
                    out.to_mut().splice(at..at + len, plain);
                    written
                });
                at += written;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    out
}

/// The member of the body that an error is about. Of one that is unknown or missing only the object around it is known by its place.
fn member(at: &str, error: &str) -> Option<String> {
    let around = if at == "." { "" } else { at };
    let named = ["unknown field `", "missing field `"].into_iter().find_map(|start| error.strip_prefix(start));
    match named.and_then(|rest| rest.split_once('`')) {
        Some((name, _)) if around.is_empty() => Some(name.to_owned()),
        Some((name, _)) if around == name || around.ends_with(&format!(".{name}")) => Some(around.to_owned()),
        Some((name, _)) => Some(format!("{around}.{name}")),
        None => Some(around.to_owned()).filter(|around| !around.is_empty()),
    }
}

/// The query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| ApiError::bad(error.body_text()))
    }
}

/// What the path names.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(bad_path)
    }
}

fn bad_path(rejection: PathRejection) -> ApiError {
    if let PathRejection::FailedToDeserializePathParams(error) = &rejection {
        match error.kind() {
            ErrorKind::ParseErrorAtKey { key, value, .. } => {
                return ApiError::field(key, format!("{value:?} in the path is no such number"));
            }
            ErrorKind::InvalidUtf8InPathParam { key } => {
                return ApiError::field(key, "what the path says is not UTF-8");
            }
            _ => {}
        }
    }
    ApiError::bad(rejection.body_text())
}

/// `/apps/{app}`.
#[derive(Deserialize)]
pub(super) struct OfApp {
    pub(super) app: u32,
}

/// `/apps/{app}/endpoints/{endpoint}`.
#[derive(Deserialize)]
pub(super) struct OfEndpoint {
    pub(super) app: u32,
    pub(super) endpoint: String,
}

/// `/apps/{app}/rooms/{room}/messages/{msg_seq}`.
#[derive(Deserialize)]
pub(super) struct OfMessage {
    pub(super) app: u32,
    pub(super) room: String,
    pub(super) msg_seq: u64,
}

/// `/replays/{replay}`.
#[derive(Deserialize)]
pub(super) struct OfReplay {
    pub(super) replay: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Outer {
        number: u8,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        texts: Vec<String>,
    }

    #[test]
    fn whole_numbers_may_be_written_as_programs_write_them_that_know_no_others() {
        let plain = |text: &str| String::from_utf8(plain_numbers(text.as_bytes()).into_owned()).unwrap();
        for (text, same) in [
            (
                r#"{"a": 1.0, "b": [2e3,-3.00 , -0.0], "c\"1.0": "1.0"}"#,
                r#"{"a": 1, "b": [2000,-3 , 0], "c\"1.0": "1.0"}"#,
            ),
            ("[1, -2, 1.5, 1e300, 18446744073709551615]", "[1, -2, 1.5, 1e300, 18446744073709551615]"),
            (r#"["\\", 7.0"#, r#"["\\", 7"#),
            ("--1.0e", "--1.0e"),
            (r#""\"#, r#""\"#),
        ] {
            assert_eq!(plain(text), same);
        }
        assert_eq!(parse::<Outer>(br#"{"number": 3.0}"#).unwrap().number, 3);
        assert_eq!(parse::<Outer>(br#"{"number": 3.5}"#).unwrap_err().field.as_deref(), Some("number"));
    }

    #[test]
    fn the_member_that_is_wrong_is_named() {
        for (body, field) in [
            (r#"{"number": 300}"#, Some("number")),
            (r#"{"colour": 1}"#, Some("colour")),
            ("{}", Some("number")),
            (r#"{"number": 1, "inner": {"texts": ["a", 2]}}"#, Some("inner.texts[1]")),
            (r#"{"number": 1, "inner": {"colour": 2}}"#, Some("inner.colour")),
            (r#"{"number": 1, "inner": {}}"#, Some("inner.texts")),
            ("[", None),
            (r#"{"number": 1} x"#, None),
        ] {
            let error = parse::<Outer>(body.as_bytes()).expect_err(body);
            assert_eq!(error.field.as_deref(), field, "{body}: {error}");
            assert!(field.is_none_or(|field| error.message.starts_with(field)), "{error}");
        }
    }
}
