//! What a receiver expects of its sender.

use std::fmt;

use roomhook_protocol::standard_webhooks::{Secret, SecretError};

use crate::tracker::Limits;

/// What a receiver expects of its sender. Secrets print as `[redacted]`.
#[derive(Clone)]
pub struct Config {
    pub(crate) sdkappid: u32,
    pub(crate) tokens: Vec<String>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) limits: Limits,
}

impl Config {
    /// Accepts requests for this app, signed or not. Without a [`token`](Self::token) or a [`signing_secret`](Self::signing_secret)
    /// anybody who finds the URL can invent events: fine on a closed network, nowhere else.
    #[must_use]
    pub fn new(sdkappid: u32) -> Self {
        Self { sdkappid, tokens: Vec::new(), secrets: Vec::new(), limits: Limits::default() }
    }

    /// Requires `Sign` and `RequestTime` made with this token (protocol: webhooks §1.2). Called twice, either token will do: so a token
    /// can be changed without losing requests. An empty token fits nothing: every request is refused then.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.tokens.push(token.into());
        self
    }

    /// Requires Standard Webhooks headers signed with this secret (`whsec_…`), which proves the body as well. Called twice, either
    /// secret will do.
    ///
    /// # Errors
    /// If the text is not a secret.
    pub fn signing_secret(mut self, secret: &str) -> Result<Self, SecretError> {
        self.secrets.push(Secret::parse(secret)?);
        Ok(self)
    }

    /// How much to remember of what was handled.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("sdkappid", &self.sdkappid)
            .field("tokens", &format_args!("{} [redacted]", self.tokens.len()))
            .field("secrets", &format_args!("{} [redacted]", self.secrets.len()))
            .field("limits", &self.limits)
            .finish()
    }
}
