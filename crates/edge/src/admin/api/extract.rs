//! Reading requests, with errors in the shape of this API.

use axum::{
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    http::{header, request::Parts},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;

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
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Self).map_err(|error| ApiError::bad(format!("the body is not as documented: {error}")))
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
