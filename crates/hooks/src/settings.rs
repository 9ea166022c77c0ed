//! An endpoint's settings, made ready for sending: parsed once per change, not once per delivery.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use roomhook_protocol::{
    sign::Signed,
    standard_webhooks::{Secret, sign_all},
    webhook::{Platform, Query, Style, callback_url},
};
use roomhook_room::{self as room, Endpoint, Origin, Positions};
use url::{Position, Url};

use crate::{
    config::Config,
    engine::{Content, Job, Policy},
    http::{KEPT_BYTES, Multiplex, Request, Roots, Target},
    plan::{self, Switches},
    retry::millis,
};

/// A compiled endpoint.
#[derive(Debug)]
pub struct Settings {
    pub endpoint: Arc<Endpoint>,
    pub switches: Arc<Switches>,
    /// What was switched on from which records on, as [`Switches::timeline`] tells it.
    pub timeline: Vec<(Positions, Arc<Switches>)>,
    pub policy: Policy,
    pub style: Style,
    /// Where to, or why nothing can be sent.
    pub destination: Result<Destination, String>,
    secrets: Vec<Secret>,
    timeout: Duration,
}

/// A parsed URL with its TLS settings.
#[derive(Clone)]
pub struct Destination {
    pub target: Arc<Target>,
    /// Path and query as configured, before what each request adds.
    base: String,
}

impl fmt::Debug for Destination {
    /// Path and query may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").field("target", &self.target).finish_non_exhaustive()
    }
}

/// What is to be posted, before it is addressed and signed.
pub(crate) struct Letter {
    pub(crate) webhook_id: String,
    /// The command word.
    pub(crate) command: &'static str,
    pub(crate) origin: Option<Origin>,
    /// From 1.
    pub(crate) attempt: u32,
    pub(crate) body: Bytes,
    pub(crate) timeout: Duration,
    /// See [`Request::kept_bytes`].
    pub(crate) kept_bytes: usize,
}

impl Settings {
    /// Never fails: what cannot be used is remembered as the reason why each attempt fails.
    /// Connections of `previous` stay usable when nothing about them changed.
    pub fn new(endpoint: Arc<Endpoint>, config: &Config, roots: &Roots, previous: Option<&Self>) -> Self {
        let secrets: Result<Vec<_>, _> = endpoint.signing_secrets.iter().map(|text| Secret::parse(text)).collect();
        let (secrets, bad_secret) = match secrets {
            Ok(secrets) => (secrets, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let unchanged = previous.filter(|previous| previous.connects_like(&endpoint));
        let destination = match (bad_secret, unchanged) {
            (Some(reason), _) => Err(reason),
            (None, Some(previous)) => previous.destination.clone(),
            (None, None) => Destination::new(&endpoint.url, &endpoint, roots),
        };
        let concurrency = endpoint.concurrency.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        Self {
            switches: Arc::new(Switches::of(&endpoint)),
            timeline: Switches::timeline(&endpoint),
            policy: Policy {
                sendable: !endpoint.url.is_empty(),
                order: endpoint.order.unwrap_or(config.order),
                concurrency: concurrency.unwrap_or(config.concurrency.get()),
                retry: config.retry.with_profile(endpoint.retry),
                hold_ms: millis(config.hold),
                paused: endpoint.paused,
                catch_up_per_s: config.catch_up_per_s,
                limits: config.limits,
            },
            style: plan::style(&endpoint),
            destination,
            secrets,
            timeout: endpoint.timeout_ms.map_or(config.timeout, |ms| Duration::from_millis(ms.max(1).into())),
            endpoint,
        }
    }

    /// The request of one attempt, as of now. `elsewhere` replaces the endpoint's own URL (for replays).
    ///
    /// # Errors
    /// Why nothing can be sent.
    pub fn request(
        &self,
        job: &Job,
        content: &Content,
        elsewhere: Option<&Destination>,
        now_ms: u64,
    ) -> Result<Request, String> {
        let letter = Letter {
            webhook_id: webhook_id(&self.endpoint, job),
            command: content.command.word(),
            origin: content.origin,
            attempt: job.attempt,
            body: content.body.clone(),
            timeout: self.timeout,
            kept_bytes: KEPT_BYTES,
        };
        self.post(letter, elsewhere, now_ms)
    }

    /// Addresses and signs a letter, as of now.
    ///
    /// # Errors
    /// Why nothing can be sent.
    pub(crate) fn post(&self, letter: Letter, elsewhere: Option<&Destination>, now_ms: u64) -> Result<Request, String> {
        let destination = match elsewhere {
            Some(destination) => destination,
            None => self.destination.as_ref().map_err(String::clone)?,
        };
        let Letter { webhook_id, command, origin, attempt, body, timeout, kept_bytes } = letter;
        let now_secs = now_ms / 1_000;
        let signature = (!self.secrets.is_empty()).then(|| sign_all(&self.secrets, &webhook_id, now_secs, &body));
        let query = Query {
            sdkappid: self.endpoint.app.0,
            command,
            client_ip: origin.map(|origin| origin.client_ip),
            platform: origin.map(|origin| platform(origin.platform)),
            signed: None,
        };
        let path = match self.signed(now_secs) {
            Some(signed) => callback_url(&destination.base, &Query { signed: Some(&signed), ..query }),
            None => callback_url(&destination.base, &query),
        };
        let target = destination.target.clone();
        Ok(Request { target, path, webhook_id, timestamp: now_secs, signature, attempt, body, timeout, kept_bytes })
    }

    /// For the whole exchange of one attempt.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn connects_like(&self, other: &Endpoint) -> bool {
        let own = &self.endpoint;
        self.destination.is_ok()
            && own.url == other.url
            && own.extra_roots_pem == other.extra_roots_pem
            && own.client_cert_pem == other.client_cert_pem
            && own.client_key_pem == other.client_key_pem
    }

    fn signed(&self, now_secs: u64) -> Option<Signed> {
        let token = self.endpoint.token.as_ref().filter(|token| token.enabled && !token.value.is_empty())?;
        Some(Signed::new(&token.value, now_secs))
    }
}

/// Stable over attempts, restarts and endpoints of the app: names the event by where it lies, and by its time, so that a
/// store that was made anew does not reuse the ids of the old one.
fn webhook_id(endpoint: &Endpoint, job: &Job) -> String {
    format!("evt_{}_{}_{}_{}_{}", endpoint.app.0, job.id.shard, job.id.pos.lsn.0, job.id.pos.index, job.at)
}

impl Destination {
    /// # Errors
    /// What is wrong with the URL or the endpoint's certificates.
    pub fn new(url: &str, endpoint: &Endpoint, roots: &Roots) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("the URL cannot be used: {error}"))?;
        let tls = match url.scheme() {
            "http" => None,
            "https" => Some(
                roots
                    .client_config(&endpoint.extra_roots_pem, &endpoint.client_cert_pem, &endpoint.client_key_pem)
                    .map_err(|error| error.to_string())?,
            ),
            scheme => return Err(format!("the URL cannot be used: scheme {scheme} is neither http nor https")),
        };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err("the URL cannot be used: it names no host".into());
        };
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let host_header = HeaderValue::from_str(authority).map_err(|error| error.to_string())?;
        let target = Target { host: host.to_owned(), port, host_header, tls, multiplex: Multiplex::default() };
        Ok(Self { target: Arc::new(target), base: url[Position::BeforePath..Position::AfterQuery].to_owned() })
    }
}

fn platform(platform: room::Platform) -> Platform {
    match platform {
        room::Platform::RestApi => Platform::RestApi,
        room::Platform::Web => Platform::Web,
        room::Platform::Android => Platform::Android,
        room::Platform::Ios => Platform::Ios,
        room::Platform::Windows => Platform::Windows,
        room::Platform::Mac => Platform::Mac,
        room::Platform::Ipad => Platform::Ipad,
        room::Platform::Unknown => Platform::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use roomhook_room::{AppId, EndpointId};

    use super::*;

    #[test]
    fn settings_and_requests_print_without_secrets_and_bodies() {
        let token = room::Token { value: "planted-token".into(), enabled: true };
        let endpoint = Endpoint {
            url: "http://hook.example/planted-path?key=planted-query".into(),
            token: Some(token),
            signing_secrets: vec!["whsec_cGxhbnRlZC1zZWNyZXQtMDEyMzQ1Njc4OQ==".into()],
            ..Endpoint::new(AppId(7), EndpointId("default".into()))
        };
        let settings = Settings::new(Arc::new(endpoint), &Config::default(), &Roots::default(), None);
        let letter = Letter {
            webhook_id: "evt_1".into(),
            command: "Group.CallbackAfterSendMsg",
            origin: None,
            attempt: 1,
            body: Bytes::from_static(b"planted-body"),
            timeout: settings.timeout,
            kept_bytes: KEPT_BYTES,
        };
        let request = settings.post(letter, None, 1_767_225_663_000).expect("a request");
        assert!(request.path.contains("planted-query") && request.path.contains("Sign="), "{}", request.path);
        let sign = request.path.split("Sign=").nth(1).expect("a sign").split('&').next().expect("a sign");
        let printed = format!("{settings:?} {request:?}");
        let signature = request.signature.as_deref().expect("a signature");
        for secret in ["planted", "cGxhbn", sign, signature] {
            assert!(!printed.contains(secret), "{secret} in {printed}");
        }
        assert!(printed.contains("evt_1") && printed.contains("hook.example"), "{printed}");
    }
}
