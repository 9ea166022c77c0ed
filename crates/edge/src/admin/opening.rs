//! The operators' door while the server is still starting: whoever watches it learns that it lives and what it waits for, also
//! when opening a store takes minutes.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use axum::{Router, http::StatusCode, response::IntoResponse as _, routing::get};
use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::{Reason, not_ready};
use crate::listener::{Body, Door, Peer};

/// Answers `/healthz`, and `/readyz` with the reason, until the whole door takes over. Cheap to clone.
#[derive(Clone)]
pub struct Opening {
    whole: Arc<OnceLock<Router>>,
    waits_for: Arc<Mutex<Reason>>,
    meanwhile: Router,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

impl Opening {
    /// With what the server waits for first.
    #[must_use]
    pub fn new(waits_for: Reason) -> Self {
        let waits_for = Arc::new(Mutex::new(waits_for));
        let (probed, asked) = (Arc::clone(&waits_for), Arc::clone(&waits_for));
        let meanwhile = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(async move || not_ready(vec![probed.lock().clone()])))
            .fallback(async move || {
                let Reason { part, message } = asked.lock().clone();
                (StatusCode::SERVICE_UNAVAILABLE, format!("starting: {part} {message}\n")).into_response()
            });
        Self { whole: Arc::default(), waits_for, meanwhile }
    }

    /// What it waits for now.
    pub fn waits_for(&self, reason: Reason) {
        *self.waits_for.lock() = reason;
    }

    /// From here on the whole door answers.
    pub fn open(&self, whole: Router) {
        // Only the first one counts.
        let _ = self.whole.set(whole);
    }
}

impl Door for Opening {
    async fn call(&self, peer: Peer, request: Request<Incoming>) -> Response<Body> {
        self.whole.get().unwrap_or(&self.meanwhile).call(peer, request).await
    }
}
