//! The REST API for app backends: `POST /v4/<service>/<command>` (protocol: rest §1).
//!
//! The status is 200 whatever happened; the outcome is in the body. Checks in this order, each with its documented code:
//! the path (60009), the method (60008), the query (60002), the caller (see [`crate::auth::AuthError`]), the size of the
//! body (80002 for messages, else 60008), its JSON (60003), its members (the API's own code), then what the command says.

mod not_served;
mod route;

mod body;
mod query;

mod answer;

mod accounts;
mod live_config;
mod messages;
mod rooms;

use std::{
    collections::HashMap,
    future::Future,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Body;
use prometheus_client::metrics::gauge::Gauge;
use roomhook_protocol::{
    codes::{self, Family},
    envelope::{Failure, RequestIds},
    rest::{self, Nothing},
};
use roomhook_room::{RoomId, RoomKey, UnixMillis, UserId};
use roomhook_shard::ExecuteError;
use serde::Deserialize;

use crate::{
    auth::Caller,
    services::Services,
    telemetry::{CommandMetrics, RestMetrics},
};
use answer::{Answer, Codes};
use query::Query;
use route::{Command, Route, Wrapping};

pub use body::BodyLimits;

/// Settings of the REST door.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub body: BodyLimits,
    /// How long the engine may take for one call (protocol: rest §1).
    pub backend_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { body: BodyLimits::default(), backend_timeout: Duration::from_secs(3) }
    }
}

/// The REST door.
#[derive(Debug)]
pub struct Rest {
    services: Services,
    config: Config,
    request_ids: RequestIds,
    metrics: RestMetrics,
    by_command: HashMap<Command, CommandMetrics, ahash::RandomState>,
    other: CommandMetrics,
}

/// One call that was let in.
struct Call<'a> {
    services: &'a Services,
    caller: &'a Caller,
    client_ip: IpAddr,
    body: &'a [u8],
    now: UnixMillis,
    family: Family,
    backend_timeout: Duration,
}

impl Rest {
    pub fn new(services: Services, config: Config, metrics: RestMetrics) -> Self {
        let start = u128::from(services.entropy.draw()) << 64 | u128::from(services.entropy.draw());
        let by_command = Command::ALL.iter().map(|command| (*command, metrics.command(command.name()))).collect();
        let other = metrics.command("other");
        let request_ids = RequestIds::new(start);
        Self { services, config, request_ids, metrics, by_command, other }
    }

    /// Answers one request. `client_ip` becomes the `ClientIP` of messages it sends.
    ///
    /// Not cancel safe: a dropped call may or may not have done its work.
    pub async fn call<B: Body<Data = Bytes>>(&self, client_ip: IpAddr, request: Request<B>) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let in_work = InWork::start(&self.metrics.in_work);
        let (route, wrapping) = route::find(request.uri().path());
        let (metrics, answer) = match route {
            Route::Served(command) => {
                let metrics = self.by_command.get(&command).unwrap_or(&self.other);
                (metrics, self.serve(command, wrapping, client_ip, request).await)
            }
            Route::NotServed | Route::Unknown => {
                let failure = not_here(route, request.uri().path());
                let (parts, body) = request.into_parts();
                body::turn_away(&parts.headers, body).await;
                (&self.other, self.failed(wrapping, failure))
            }
        };
        metrics.answered(answer.code, started.elapsed().as_secs_f64());
        drop(in_work);
        let mut response = Response::new(Full::new(answer.body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    async fn serve<B: Body<Data = Bytes>>(
        &self,
        command: Command,
        wrapping: Wrapping,
        client_ip: IpAddr,
        request: Request<B>,
    ) -> Answer {
        let now = self.services.now();
        let (parts, body) = request.into_parts();
        let caller = match self.let_in(&parts, now) {
            Ok(caller) => caller,
            Err(failure) => {
                body::turn_away(&parts.headers, body).await;
                return self.failed(wrapping, failure);
            }
        };
        let body = match body::read(&parts.headers, body, self.config.body).await {
            Ok(body) => body,
            Err(error) => return self.failed(wrapping, answer::of_body(error, command.sends_message())),
        };
        let call = Call {
            services: &self.services,
            caller: &caller,
            client_ip,
            body: &body,
            now,
            family: command.family(),
            backend_timeout: self.config.backend_timeout,
        };
        self.run(command, wrapping, &call).await
    }

    fn let_in(&self, parts: &http::request::Parts, now: UnixMillis) -> Result<Caller, Failure> {
        if parts.method != Method::POST {
            return Err(Failure::new(codes::HTTP_MALFORMED, "only POST is allowed"));
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default()).map_err(answer::of_query)?;
        self.services.authenticator.admin(query.credentials(), now).map_err(|error| answer::of_auth(&error))
    }

    async fn run(&self, command: Command, wrapping: Wrapping, call: &Call<'_>) -> Answer {
        let id = || self.request_ids.next();
        match command {
            Command::SendGroupMsg => Answer::new(wrapping, id, messages::send_group_msg(call).await),
            Command::SendTextMsg => Answer::new(wrapping, id, messages::send_text_msg(call).await),
            Command::SendCustomMsg => Answer::new(wrapping, id, messages::send_custom_msg(call).await),
            Command::CreateRoom => Answer::new(wrapping, id, rooms::create(call).await),
            Command::DestroyRoom => Answer::new(wrapping, id, rooms::destroy(call).await),
            Command::GetRoomInfo => match rooms::info(call).await {
                Ok(info) => Answer::new(wrapping, id, Ok(Some(info.payload()))),
                Err(failure) => self.failed(wrapping, failure),
            },
            Command::AccountImport => Answer::new(wrapping, id, accounts::import(call).await),
            Command::MultiaccountImport => Answer::new(wrapping, id, accounts::import_many(call).await),
            Command::AccountCheck => Answer::new(wrapping, id, accounts::check(call)),
            Command::GetCallback => Answer::new(wrapping, id, live_config::get(call)),
            Command::GetCallbackToken => Answer::new(wrapping, id, live_config::get_token(call)),
            Command::SetCallback
            | Command::UpdateCallback
            | Command::DeleteCallback
            | Command::SetCallbackToken
            | Command::DeleteCallbackToken => Answer::new(wrapping, id, live_config::change(command, call).await),
        }
    }

    fn failed(&self, wrapping: Wrapping, failure: Failure) -> Answer {
        Answer::new::<Nothing>(wrapping, || self.request_ids.next(), Err(failure))
    }
}

impl<'a> Call<'a> {
    fn codes(&self) -> Codes {
        Codes(self.family)
    }

    fn parse<T: Deserialize<'a>>(&self) -> Result<T, Failure> {
        rest::parse(self.body, self.family)
    }

    fn room(&self, id: &str) -> Result<RoomId, Failure> {
        RoomId::new(id).map_err(|error| self.codes().room_id(error))
    }

    fn room_key(&self, id: &str) -> Result<RoomKey, Failure> {
        Ok(RoomKey { app: self.caller.app.id, room: self.room(id)? })
    }

    /// The user named, or the calling admin where none is.
    fn user_or_caller(&self, id: Option<&str>) -> Result<UserId, Failure> {
        match id {
            Some(id) => UserId::new(id).map_err(|error| self.codes().user_id(error)),
            None => Ok(self.caller.user.clone()),
        }
    }

    /// Whether there is such an account; admins always are.
    fn is_account(&self, user: &str) -> bool {
        self.caller.app.admins.contains(user) || self.services.directory.account(self.caller.app.id, user).is_some()
    }

    /// Waits for the engine up to the backend deadline.
    async fn engine<T>(&self, work: impl Future<Output = Result<T, ExecuteError>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.backend_timeout, work).await {
            Ok(outcome) => outcome.map_err(|error| self.codes().engine(error)),
            Err(_late) => Err(self.codes().late()),
        }
    }
}

/// Counts a call for as long as it lives, also when its future is dropped half-way.
struct InWork<'a>(&'a Gauge);

impl<'a> InWork<'a> {
    fn start(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn not_here(route: Route, path: &str) -> Failure {
    // Only what is in our list is quoted unchanged; of the rest, no more than fits a line.
    let shown: String = path.chars().filter(|c| !c.is_control()).take(96).collect();
    let why = if route == Route::NotServed { "is not served here" } else { "is no resource of this API" };
    Failure::new(codes::RESOURCE_MISSING, format!("{shown} {why}"))
}

/// The REST API as an axum router, for who mounts it beside other routes.
pub fn router(rest: Arc<Rest>) -> axum::Router {
    axum::Router::new().fallback(move |request: axum::extract::Request| {
        let rest = Arc::clone(&rest);
        async move {
            let peer = request.extensions().get::<crate::listener::Peer>();
            let client_ip =
                peer.map_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |peer| peer.client_ip(request.headers()));
            rest.call(client_ip, request).await
        }
    })
}
