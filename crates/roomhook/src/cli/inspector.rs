//! A webhook receiver for people: verifies what comes in with `roomhook-receiver` and hands it over to be shown.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
};
use bytes::Bytes;
use roomhook_receiver::{
    Config, Notice, Received, Receiver,
    axum::{BODY_BYTES_MAX, Handler, Shared, take},
};
use tokio::net::TcpListener;

use super::{
    breakable::{Breakable, Fate},
    misbehave::{Misbehavior, Plan},
};
use crate::app::stop::Stop;

/// Apps that an inspector without `--sdkappid` keeps apart; more are refused.
const APPS_MAX: usize = 64;

/// What a sender must prove.
#[derive(Clone, Default)]
pub(crate) struct Expect {
    /// `None`: any app.
    pub(crate) sdkappid: Option<u32>,
    pub(crate) token: Option<String>,
    pub(crate) signing_secret: Option<String>,
}

/// One request, with what became of it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) body: Bytes,
    pub(crate) outcome: Outcome,
    pub(crate) notices: Vec<Notice>,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    New(Box<Received>),
    /// Handled before: acknowledged again.
    Repeat,
    /// On purpose. Most ways acknowledge nothing, so that it comes again.
    TreatedBadly(Misbehavior),
    Refused {
        status: u16,
        reason: String,
    },
}

/// A bound receiver that serves nothing yet.
pub(crate) struct Inspector {
    socket: TcpListener,
    expect: Expect,
    plan: Plan,
}

impl Inspector {
    pub(crate) async fn bind(addr: SocketAddr, expect: Expect) -> anyhow::Result<Self> {
        if let Some(secret) = &expect.signing_secret {
            Config::new(0).signing_secret(secret).context("the signing secret")?;
        }
        let socket = TcpListener::bind(addr).await.with_context(|| format!("listen for webhooks on {addr}"))?;
        Ok(Self { socket, expect, plan: Plan::default() })
    }

    /// Treats requests badly, as planned.
    pub(crate) fn misbehaving(self, plan: Plan) -> Self {
        Self { plan, ..self }
    }

    pub(crate) fn addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Serves until `stop`. `seen` is called for each request, before its answer is sent.
    pub(crate) async fn serve(self, seen: impl Fn(Seen) + Send + Sync + 'static, stop: Stop) -> anyhow::Result<()> {
        let desk = Arc::new(Desk { expect: self.expect, plan: self.plan, receivers: Mutex::default(), seen });
        let router = axum::Router::new()
            .fallback(move |ConnectInfo(fate): ConnectInfo<Fate>, request| Arc::clone(&desk).one(fate, request));
        let service = router.into_make_service_with_connect_info::<Fate>();
        Ok(axum::serve(Breakable(self.socket), service).with_graceful_shutdown(stop.wait()).await?)
    }
}

struct Desk<S> {
    expect: Expect,
    plan: Plan,
    receivers: Mutex<HashMap<u32, Shared>>,
    seen: S,
}

impl<S: Fn(Seen) + Send + Sync + 'static> Desk<S> {
    async fn one(self: Arc<Self>, fate: Fate, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
            return self.refuse(Bytes::new(), 413, "the body is cut off or larger than 1 MiB");
        };
        if let Some(bad) = self.plan.next()
            && let Some(answer) = bad.answer(&fate).await
        {
            (self.seen)(Seen { body, outcome: Outcome::TreatedBadly(bad.clone()), notices: Vec::new() });
            return answer;
        }
        let Some(receiver) = self.receiver(head.uri.query().unwrap_or_default()) else {
            return self.refuse(body, 403, "too many different apps send here; give --sdkappid");
        };
        let caught = Catch::default();
        let response = take(receiver, caught.clone(), Request::from_parts(head, Body::from(body.clone()))).await;
        let (received, notices) = caught.into_parts();
        match (received, response.status().as_u16()) {
            (Some(received), 200) => {
                (self.seen)(Seen { body, outcome: Outcome::New(Box::new(received)), notices });
                response
            }
            (None, 200) => {
                (self.seen)(Seen { body, outcome: Outcome::Repeat, notices });
                response
            }
            (_, status) => {
                let reason = axum::body::to_bytes(response.into_body(), BODY_BYTES_MAX).await.unwrap_or_default();
                self.refuse(body, status, &String::from_utf8_lossy(&reason))
            }
        }
    }

    fn refuse(&self, body: Bytes, status: u16, reason: &str) -> Response {
        let outcome = Outcome::Refused { status, reason: reason.to_owned() };
        (self.seen)(Seen { body, outcome, notices: Vec::new() });
        let mut response = Response::new(Body::from(reason.to_owned()));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_REQUEST);
        response
    }

    /// The receiver of the app that the query names. `None` when there would be too many.
    fn receiver(&self, query: &str) -> Option<Shared> {
        let named = query.split('&').find_map(|pair| pair.strip_prefix("SdkAppid=")?.parse().ok());
        let sdkappid = self.expect.sdkappid.or(named).unwrap_or(0);
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        if receivers.len() >= APPS_MAX && !receivers.contains_key(&sdkappid) {
            return None;
        }
        let shared =
            receivers.entry(sdkappid).or_insert_with(|| Shared::new(Receiver::new(self.expect.config(sdkappid))));
        Some(shared.clone())
    }
}

impl Expect {
    fn config(&self, sdkappid: u32) -> Config {
        let mut config = Config::new(sdkappid);
        if let Some(token) = &self.token {
            config = config.token(token);
        }
        if let Some(secret) = &self.signing_secret {
            // It was parsed when the inspector was bound.
            config = config.clone().signing_secret(secret).unwrap_or(config);
        }
        config
    }
}

/// Keeps what the receiver hands to the app.
#[derive(Clone, Default)]
struct Catch(Arc<Mutex<(Option<Received>, Vec<Notice>)>>);

impl Catch {
    fn into_parts(self) -> (Option<Received>, Vec<Notice>) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Handler for Catch {
    type Error = std::convert::Infallible;

    async fn handle(&self, received: Received) -> Result<(), Self::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(received);
        Ok(())
    }

    fn notice(&self, notice: Notice) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.push(notice);
    }
}
