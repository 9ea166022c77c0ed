//! Connecting and staying connected (protocol: realtime §5, §9).

use std::time::Duration;

use bytes::Bytes;
use roomhook_centrifuge::{
    ConnectRequest, ConnectResult, Error, RefreshResult, ReplyBody, ServerSubscription, SubscribeResult,
    codes::{self, close_reason},
};
use roomhook_room::{AppId, Platform, UserId};
use serde::Deserialize;

use super::{Action, Denied, Goodbye, Identity, Pending, Phase, Session, Step};

/// The longest `ttl` worth announcing: SDKs in JavaScript cannot set a timer beyond 2^31 ms, and one that fires early
/// would ask for a token that nobody needs. Tokens that last longer just end the connection when they end.
const TTL_S_MAX: u64 = 2_147_483;

impl Session {
    pub(super) fn connect(&mut self, id: u32, request: ConnectRequest) -> Step {
        if request.token.is_empty() {
            return self.give_up(id, codes::error::UNAUTHORIZED.into());
        }
        self.pending = Some(Pending::Connect { id, platform: platform(&request.data) });
        Step::Do(Action::Authenticate { token: request.token, known: None })
    }

    pub(super) fn connected(
        &mut self,
        id: u32,
        platform: Platform,
        result: Result<Identity, Denied>,
        now: Duration,
    ) -> Step {
        let Identity { app, user, expires_in } = match result {
            Ok(identity) => identity,
            Err(Denied::Expired) => return self.give_up(id, codes::error::TOKEN_EXPIRED.into()),
            Err(Denied::AppDisabled) => return self.give_up(id, codes::error::UNAUTHORIZED.into()),
            Err(Denied::Unavailable) => return self.give_up(id, codes::error::INTERNAL.into()),
            Err(Denied::TooManyConnections) => return self.close(codes::disconnect::CONNECTION_LIMIT),
            Err(Denied::Invalid(reason)) => return self.close(invalid_token(&reason)),
        };
        let (expires, ttl) = self.good_for(expires_in, now);
        // Personal notices come on a channel of the user's own, which nobody has to ask for.
        let own_channel = ServerSubscription { channel: user_channel(&user), result: SubscribeResult::default() };
        let result = ConnectResult {
            client: self.client_id.to_string(),
            version: self.settings.version.clone(),
            expires,
            ttl,
            data: Bytes::new(),
            subs: vec![own_channel],
            ping: u32::try_from(self.settings.ping_every.as_secs()).unwrap_or(u32::MAX).max(1),
            pong: true,
            ..ConnectResult::default()
        };
        self.phase = Phase::Ready { app, user, platform };
        self.reply(id, ReplyBody::Connect(result))
    }

    pub(super) fn refresh(&mut self, id: u32, token: String) -> Step {
        let Phase::Ready { app, user, .. } = &self.phase else {
            return self.close(codes::disconnect::BAD_REQUEST);
        };
        if token.is_empty() {
            return self.refuse(id, codes::error::BAD_REQUEST);
        }
        let known: (AppId, UserId) = (*app, user.clone());
        self.pending = Some(Pending::Refresh { id });
        Step::Do(Action::Authenticate { token, known: Some(known) })
    }

    pub(super) fn refreshed(&mut self, id: u32, result: Result<Identity, Denied>, now: Duration) -> Step {
        match result {
            Ok(Identity { expires_in, .. }) => {
                let (expires, ttl) = self.good_for(expires_in, now);
                let client = self.client_id.to_string();
                let version = self.settings.version.clone();
                self.reply(id, ReplyBody::Refresh(RefreshResult { client, version, expires, ttl }))
            }
            // Temporary, so that the SDK asks again for a better one; if none comes the connection ends at its time.
            Err(Denied::Expired) => self.refuse(id, Error { temporary: true, ..codes::error::TOKEN_EXPIRED.into() }),
            Err(Denied::Unavailable) => self.refuse(id, codes::error::INTERNAL),
            Err(Denied::Invalid(reason)) => self.close(invalid_token(&reason)),
            Err(Denied::AppDisabled | Denied::TooManyConnections) => self.close(codes::disconnect::PERMISSION_DENIED),
        }
    }

    /// Notes when the connection ends and says what to tell the client: never `expires` with a `ttl` of 0.
    fn good_for(&mut self, expires_in: Duration, now: Duration) -> (bool, u32) {
        self.timers.renew(now.saturating_add(expires_in).saturating_add(self.settings.expiry_grace));
        match expires_in.as_secs() {
            ttl @ 0..=TTL_S_MAX => (true, ttl.max(1) as u32),
            _ => (false, 0),
        }
    }

    /// An error answers the connect command; nothing after it is executed, and the client closes.
    fn give_up(&mut self, id: u32, error: Error) -> Step {
        self.phase = Phase::Over;
        self.refuse(id, error)
    }
}

fn invalid_token(reason: &str) -> Goodbye {
    let code = codes::disconnect::INVALID_TOKEN;
    Goodbye { code: code.code, reason: close_reason(reason, code.reason).into() }
}

/// The channel of a user's own.
pub(crate) fn user_channel(user: &UserId) -> String {
    format!("user:{user}")
}

/// `OptPlatform` of the connect data; anything else in there is the app's own business.
fn platform(data: &[u8]) -> Platform {
    #[derive(Deserialize)]
    struct ConnectData<'a> {
        #[serde(rename = "OptPlatform", borrow)]
        platform: std::borrow::Cow<'a, str>,
    }
    match serde_json::from_slice::<ConnectData<'_>>(data).as_ref().map(|data| &*data.platform) {
        Ok("Web") => Platform::Web,
        Ok("Android") => Platform::Android,
        Ok("iOS") => Platform::Ios,
        Ok("Windows") => Platform::Windows,
        Ok("Mac") => Platform::Mac,
        Ok("iPad") => Platform::Ipad,
        _ => Platform::Unknown,
    }
}
