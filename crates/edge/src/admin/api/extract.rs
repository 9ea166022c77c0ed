//! Reading requests, with errors in the shape of this API that name what is wrong.

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
    let mut json = serde_json::Deserializer::from_slice(bytes);
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
