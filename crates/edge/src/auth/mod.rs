//! Who is calling: UserSig verification with a cache of verified signatures.

mod cache;

use std::sync::Arc;

use roomhook_protocol::{
    codes,
    usersig::{self, UserSigError},
};
use roomhook_room::{AppId, UnixMillis, UserId};

use crate::{
    apps::{App, Apps},
    telemetry::AuthMetrics,
};
use cache::SignatureCache;

pub use cache::CacheLimits;

/// What a REST caller says of itself, percent-decoded (protocol: rest §1). `None`: the parameter is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    pub sdkappid: Option<&'a str>,
    pub identifier: Option<&'a str>,
    pub usersig: Option<&'a str>,
}

/// An app admin who proved to be one.
#[derive(Clone, Debug)]
pub struct Caller {
    pub app: Arc<App>,
    pub user: UserId,
}

/// Why a caller was not let in. Variants in the order of the checks (protocol: rest §1, "Common error codes").
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("sdkappid is missing")]
    NoApp,
    #[error("sdkappid is not a number or names no app of this server")]
    UnknownApp,
    #[error("the app is disabled")]
    AppDisabled,
    #[error("identifier is missing")]
    NoIdentifier,
    #[error("usersig is missing")]
    NoUserSig,
    #[error(transparent)]
    UserSig(#[from] UserSigError),
    #[error("identifier is not an app admin")]
    NotAdmin,
}

impl AuthError {
    /// The documented `ErrorCode`.
    pub fn code(&self) -> i32 {
        match self {
            Self::NoApp => codes::SDKAPPID_MISSING,
            Self::UnknownApp => codes::SDKAPPID_INVALID,
            Self::AppDisabled => codes::APP_DISABLED,
            Self::NoIdentifier | Self::NoUserSig => codes::CREDENTIALS_MISSING,
            Self::UserSig(error) => error.code(),
            Self::NotAdmin => codes::NOT_APP_ADMIN,
        }
    }
}

/// Verifies signatures, each string once while it lives.
#[derive(Debug)]
pub struct Authenticator {
    apps: Arc<Apps>,
    cache: SignatureCache,
}

impl Authenticator {
    pub fn new(apps: Arc<Apps>, limits: CacheLimits, metrics: AuthMetrics) -> Self {
        Self { apps, cache: SignatureCache::new(limits, metrics) }
    }

    /// Lets an app admin in, or says why not.
    ///
    /// # Errors
    /// In the order of [`AuthError`]'s variants.
    pub fn admin(&self, credentials: Credentials<'_>, now: UnixMillis) -> Result<Caller, AuthError> {
        let app = self.app(credentials.sdkappid)?;
        let identifier = credentials.identifier.filter(|id| !id.is_empty()).ok_or(AuthError::NoIdentifier)?;
        let usersig = credentials.usersig.ok_or(AuthError::NoUserSig)?;
        self.user(&app, identifier, usersig, now)?;
        let user = app.admins.get(identifier).cloned().ok_or(AuthError::NotAdmin)?;
        Ok(Caller { app, user })
    }

    /// Checks that `usersig` was made for `identifier` with the app's key and has not expired. Returns the Unix second
    /// at which it expires.
    ///
    /// # Errors
    /// The first check of protocol: usersig §2 that fails.
    pub fn user(&self, app: &App, identifier: &str, usersig: &str, now: UnixMillis) -> Result<u64, UserSigError> {
        let now_secs = now.secs();
        if let Some(expires_at) = self.cache.get(&app.key, app.id, identifier, usersig, now_secs) {
            return Ok(expires_at);
        }
        let claims = usersig::decode(usersig)?;
        claims.verify(&app.key, app.id.0, identifier, now_secs)?;
        let expires_at = claims.expires_at();
        self.cache.put(&app.key, app.id, identifier, usersig, expires_at);
        Ok(expires_at)
    }

    fn app(&self, sdkappid: Option<&str>) -> Result<Arc<App>, AuthError> {
        let text = sdkappid.filter(|text| !text.is_empty()).ok_or(AuthError::NoApp)?;
        // `u32::from_str` takes a plus sign, which no client of the real service ever sent.
        let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let app = number.and_then(|id| self.apps.get(AppId(id))).ok_or(AuthError::UnknownApp)?;
        if app.disabled { Err(AuthError::AppDisabled) } else { Ok(app) }
    }
}
