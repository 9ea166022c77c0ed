//! What goes wrong: an HTTP status, a code that stays the same, and a text for people.

use std::fmt;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use roomhook_shard::ExecuteError;

use super::schema::{object, words};

words! {
    /// What went wrong. These words do not change.
    pub enum Code {
        /// the bearer token is missing or wrong
        Unauthorized = "unauthorized",
        /// no token is configured, and the caller is not a program on this machine
        NotLocal = "not_local",
        /// the request is not as the document says
        BadRequest = "bad_request",
        /// the request is as the document says, but what it asks for cannot be
        Unusable = "unusable",
        /// no such path
        PathMissing = "path_missing",
        /// the path does not know this method
        MethodWrong = "method_wrong",
        /// the app is not configured
        AppMissing = "app_missing",
        EndpointMissing = "endpoint_missing",
        /// there is no such delivery, or it is not in a state for this
        DeliveryMissing = "delivery_missing",
        /// the event is not in the log, or not any more
        EventMissing = "event_missing",
        ReplayMissing = "replay_missing",
        /// the event is none that this endpoint is to get; the message says why
        NotOwed = "not_owed",
        /// retention dropped events after the cursor; `next` goes on without them
        CursorExpired = "cursor_expired",
        /// the request would do more at once than is allowed
        TooMuch = "too_much",
        /// nothing happened; try again later
        Unavailable = "unavailable",
        /// a mistake of this server, or a damaged store
        Internal = "internal",
    }
}

object! { answer
    /// The body of every answer that is not a success.
    pub(super) struct ErrorBody {
        pub(super) error: ErrorDetail,
    }
}

object! { answer
    /// What went wrong.
    pub(super) struct ErrorDetail {
        pub(super) code: Code,
        /// For people; may change.
        pub(super) message: String,
        /// Which member of the body, part of the path or parameter of the query is wrong, if it is about one.
        pub(super) field: Option<String>,
        /// Of `cursor_expired`: the cursor to go on with.
        pub(super) next: Option<String>,
    }
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: Code,
    pub message: String,
    /// What of the request is wrong, if it is one member of it.
    pub field: Option<String>,
    /// The cursor to go on with, for [`Code::CursorExpired`].
    pub next: Option<String>,
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None, next: None }
    }

    /// A member of the request is wrong: its name comes first in the message, too.
    pub fn field(field: impl Into<String>, message: impl fmt::Display) -> Self {
        let field = field.into();
        Self { message: format!("{field}: {message}"), field: Some(field), code: Code::BadRequest, next: None }
    }

    /// A member of the request has the documented form, and yet it cannot be so.
    pub fn unusable(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { code: Code::Unusable, ..Self::field(field, message) }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    fn status(&self) -> StatusCode {
        match self.code {
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::NotLocal => StatusCode::FORBIDDEN,
            Code::BadRequest => StatusCode::BAD_REQUEST,
            Code::Unusable => StatusCode::UNPROCESSABLE_ENTITY,
            Code::MethodWrong => StatusCode::METHOD_NOT_ALLOWED,
            Code::PathMissing
            | Code::AppMissing
            | Code::EndpointMissing
            | Code::DeliveryMissing
            | Code::EventMissing
            | Code::ReplayMissing => StatusCode::NOT_FOUND,
            Code::NotOwed => StatusCode::CONFLICT,
            Code::CursorExpired => StatusCode::GONE,
            Code::TooMuch => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<ExecuteError> for ApiError {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Rejected(reject) => Self::bad(reject.to_string()),
            ExecuteError::Busy | ExecuteError::Unavailable(_) => Self::new(Code::Unavailable, error.to_string()),
            ExecuteError::Unknown(_) => Self::new(Code::Unavailable, format!("{error}; look before you repeat it")),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let Self { code, message, field, next } = self;
        let body = ErrorBody { error: ErrorDetail { code, message, field, next } };
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Bearer realm=\"roomhook admin\"");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
