//! Why a request was refused, and what to do about it.

use roomhook_protocol::sign::Stale;
use roomhook_protocol::standard_webhooks::VerifyError;

/// Why a request was refused. The text says what to do; it never repeats secrets, signatures or message bodies.
///
/// Nothing is remembered of a refused request. Answer [`Error::status`], so that the sender sees the failure and tries again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A documented query parameter is missing.
    #[error(
        "the query has no {name}: is this request from a webhook sender, and does a proxy in between keep the query?"
    )]
    MissingQuery {
        /// The parameter.
        name: &'static str,
    },
    /// A query parameter cannot be read.
    #[error("the query parameter {name} cannot be read: look for a proxy that rewrites the URL")]
    BadQuery {
        /// The parameter.
        name: &'static str,
    },
    /// A query parameter stands there twice; which one counts is anybody's guess.
    #[error("the query has {name} more than once: remove it from the URL that is configured at the sender")]
    RepeatedQuery {
        /// The parameter.
        name: &'static str,
    },
    /// A header that matters stands there twice; which one counts is anybody's guess.
    #[error("the header {name} is there more than once: look for a proxy that adds one")]
    RepeatedHeader {
        /// The header.
        name: &'static str,
    },
    /// The request is for another app.
    #[error(
        "the request is for SdkAppid {got}, this receiver serves {expected}: fix the webhook URL of that app, or Config::new here"
    )]
    WrongApp {
        /// The app this receiver serves.
        expected: u32,
        /// The app of the request.
        got: u32,
    },
    /// A token is configured here, but the request carries no `Sign` and `RequestTime`.
    #[error(
        "the request is not signed with a token: set one at the sender (live_config/set_callback_token, IsTokenEnable true) or remove Config::token here"
    )]
    Unsigned,
    /// `Sign` fits none of the tokens.
    #[error(
        "Sign fits no configured token: compare the sender's token (live_config/get_callback_token) with Config::token here"
    )]
    WrongSign,
    /// `RequestTime` is malformed or too far off.
    #[error("{0}: compare the clocks of sender and receiver; if they agree, somebody repeats an old request")]
    Stale(Stale),
    /// A signing secret is configured here, but the request lacks the Standard Webhooks headers.
    #[error(
        "the body is not signed, header {name} is missing: set signing_secret at the sender or remove Config::signing_secret here"
    )]
    UnsignedBody {
        /// The header.
        name: &'static str,
    },
    /// The Standard Webhooks signature does not hold.
    #[error(
        "{0}: compare signing_secret at the sender with Config::signing_secret here, and check that nothing rewrites the body"
    )]
    WrongBodySignature(VerifyError),
    /// The body is not what its command word promises.
    #[error("the body cannot be read as {command}: {reason}")]
    BadBody {
        /// The command word of the query.
        command: String,
        /// What is wrong, without the content.
        reason: String,
    },
    /// Query and body name different commands.
    #[error("the query says {query} but the body says {body}: somebody changed one of the two")]
    OtherCommand {
        /// Of the query.
        query: String,
        /// Of the body.
        body: String,
    },
}

impl Error {
    /// The HTTP status to answer: 401 if the sender could not prove who it is, 403 for another app, 400 for all else.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Unsigned
            | Self::WrongSign
            | Self::Stale(_)
            | Self::UnsignedBody { .. }
            | Self::WrongBodySignature(_) => 401,
            Self::WrongApp { .. } => 403,
            Self::MissingQuery { .. }
            | Self::BadQuery { .. }
            | Self::RepeatedQuery { .. }
            | Self::RepeatedHeader { .. }
            | Self::BadBody { .. }
            | Self::OtherCommand { .. } => 400,
        }
    }
}
