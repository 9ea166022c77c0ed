//! Every code a client may see, once, with what SDKs do about it (protocol: realtime §8).

/// An error in a reply. 100–399 belong to the protocol, 400–1999 to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode {
    pub code: u32,
    pub message: &'static str,
    /// SDKs try a failed connect, subscribe or refresh again when this is set, and give up when it is not.
    pub temporary: bool,
}

/// A WebSocket close code with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DisconnectCode {
    pub code: u16,
    /// Never empty and never JSON: JS ignores the code when it cannot read the reason as text.
    pub reason: &'static str,
}

/// Why the server ended a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnsubscribeCode {
    pub code: u32,
    pub reason: &'static str,
}

impl DisconnectCode {
    /// Whether SDKs come back after this code.
    #[must_use]
    pub const fn reconnects(self) -> bool {
        reconnects(self.code)
    }
}

impl UnsubscribeCode {
    /// Whether SDKs subscribe again at once.
    #[must_use]
    pub const fn resubscribes(self) -> bool {
        self.code >= 2500
    }
}

/// Whether SDKs come back after a close with this code. (1009 is terminal in JS, Java and Swift all the same.)
///
/// ```
/// use roomhook_centrifuge::codes::{disconnect, reconnects};
/// assert!(disconnect::SLOW.reconnects() && !disconnect::INVALID_TOKEN.reconnects());
/// assert!(reconnects(1006) && reconnects(4000) && !reconnects(4500) && reconnects(5000));
/// ```
#[must_use]
pub const fn reconnects(code: u16) -> bool {
    !matches!(code, 3500..=3999 | 4500..=4999)
}

/// The longest close reason, in bytes.
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// Makes a close reason that SDKs can read out of any text: cut to 123 bytes, not empty, not JSON.
///
/// ```
/// use roomhook_centrifuge::codes::close_reason;
/// assert_eq!(close_reason("", "bad request"), "bad request");
/// assert_eq!(close_reason("{\"reconnect\":true}", "bad request"), "bad request: {\"reconnect\":true}");
/// assert!(close_reason(&"é".repeat(100), "x").len() <= 123);
/// ```
#[must_use]
pub fn close_reason(text: &str, fallback: &str) -> String {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let mut reason = if text.trim().is_empty() {
        fallback.to_owned()
    } else if is_json {
        format!("{fallback}: {text}")
    } else {
        text.to_owned()
    };
    let mut end = reason.len().min(CLOSE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}

macro_rules! table {
    ($type:ident: $($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: $type = $value;)*
        /// All of this table, in order of code.
        pub const ALL: &[$type] = &[$($name),*];
    };
}

/// Errors in replies.
pub mod error {
    use super::ErrorCode;

    const fn lasting(code: u32, message: &'static str) -> ErrorCode {
        ErrorCode { code, message, temporary: false }
    }

    const fn temporary(code: u32, message: &'static str) -> ErrorCode {
        ErrorCode { code, message, temporary: true }
    }

    table! { ErrorCode:
        INTERNAL = temporary(100, "internal server error");
        UNAUTHORIZED = lasting(101, "unauthorized");
        UNKNOWN_CHANNEL = lasting(102, "unknown channel");
        PERMISSION_DENIED = lasting(103, "permission denied");
        METHOD_NOT_FOUND = lasting(104, "method not found");
        ALREADY_SUBSCRIBED = lasting(105, "already subscribed");
        LIMIT_EXCEEDED = lasting(106, "limit exceeded");
        BAD_REQUEST = lasting(107, "bad request");
        NOT_AVAILABLE = lasting(108, "not available");
        /// The SDK asks the application for a fresh token and tries again.
        TOKEN_EXPIRED = lasting(109, "token expired");
        EXPIRED = lasting(110, "expired");
        TOO_MANY_REQUESTS = temporary(111, "too many requests");
        /// The SDK reloads its state when the application uses `getState`, and gives up otherwise.
        UNRECOVERABLE_POSITION = lasting(112, "unrecoverable position");
        CONCURRENT_PAGINATION = temporary(113, "concurrent pagination");
    }
}

/// Codes of an unsubscribe push. 2100–2499 (over) and 2600–2999 (subscribe again) belong to the application.
pub mod unsubscribe {
    use super::UnsubscribeCode;

    const fn code(code: u32, reason: &'static str) -> UnsubscribeCode {
        UnsubscribeCode { code, reason }
    }

    table! { UnsubscribeCode:
        SERVER = code(2000, "server unsubscribe");
        INSUFFICIENT_STATE = code(2500, "insufficient state");
        SUBSCRIPTION_EXPIRED = code(2501, "subscription expired");
        /// The SDK also drops its subscription token and position.
        STATE_INVALIDATED = code(2502, "state invalidated");
    }
}

/// WebSocket close codes. 4000–4499 (come back) and 4500–4999 (give up) belong to the application.
pub mod disconnect {
    use super::DisconnectCode;

    const fn code(code: u16, reason: &'static str) -> DisconnectCode {
        DisconnectCode { code, reason }
    }

    table! { DisconnectCode:
        /// The WebSocket layer's own. Terminal in JS, Java and Swift; Python, Go and Dart come back.
        MESSAGE_TOO_BIG = code(1009, "message too big");
        /// Never sent: what a server calls a connection that the client closed.
        CONNECTION_CLOSED = code(3000, "connection closed");
        SHUTDOWN = code(3001, "shutdown");
        INTERNAL = code(3004, "internal server error");
        EXPIRED = code(3005, "connection expired");
        SUBSCRIPTION_EXPIRED = code(3006, "subscription expired");
        SLOW = code(3008, "slow");
        WRITE_ERROR = code(3009, "write error");
        INSUFFICIENT_STATE = code(3010, "insufficient state");
        FORCE_RECONNECT = code(3011, "force reconnect");
        NO_PONG = code(3012, "no pong");
        TOO_MANY_REQUESTS = code(3013, "too many requests");
        /// The SDK also drops its token and positions.
        STATE_INVALIDATED = code(3014, "state invalidated");
        INVALID_TOKEN = code(3500, "invalid token");
        BAD_REQUEST = code(3501, "bad request");
        /// No connect command in time.
        STALE = code(3502, "stale");
        FORCE_DISCONNECT = code(3503, "force disconnect");
        CONNECTION_LIMIT = code(3504, "connection limit");
        CHANNEL_LIMIT = code(3505, "channel limit");
        INAPPROPRIATE_PROTOCOL = code(3506, "inappropriate protocol");
        PERMISSION_DENIED = code(3507, "permission denied");
        NOT_AVAILABLE = code(3508, "not available");
        TOO_MANY_ERRORS = code(3509, "too many errors");
    }
}
