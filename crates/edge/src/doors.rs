//! What stands behind the public listener: REST first, everything else by an axum router.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;

use crate::{
    listener::{Body, Door, Peer},
    rest::Rest,
};

/// The public door. REST calls go straight to their handler: they are the hot path, and a router would only repeat what
/// [`Rest`] has to do anyway.
#[derive(Clone, Debug)]
pub struct Doors {
    rest: Arc<Rest>,
    others: axum::Router,
}

impl Doors {
    /// `others` answers every path outside `/v4/`: realtime, console.
    pub fn new(rest: Arc<Rest>, others: axum::Router) -> Self {
        Self { rest, others }
    }
}

impl Door for Doors {
    async fn call(&self, peer: Peer, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path().starts_with("/v4/") {
            let client_ip = peer.client_ip(request.headers());
            return self.rest.call(client_ip, request).await.map(Either::Left);
        }
        self.others.call(peer, request).await
    }
}
