//! The API of operators, `/admin/api/`: endpoints with their settings and state, and what can be done about deliveries. JSON
//! over the private listener; `docs/openapi.json` is its document.
//!
//! Routes and document are made from one table ([`routes::table`]), and shapes from the types that are sent and read.

mod answers;
mod auth;
mod control;
mod deliveries;
mod endpoints;
mod error;
mod extract;
mod openapi;
mod replays;
mod routes;
mod schema;
mod settings;

use std::{fmt, sync::Arc};

use axum::{Router, middleware};
use roomhook_room::{AppId, EndpointId};

pub use answers::{
    Attempt, DeliveryState, EndpointState, EndpointTrail, EventPage, Held, MessageTrail, Mode, PulledEvent, Question,
    ReplayState, ReplayStatus, Replayable, Replayed, RoomRange, TimeRange, Timings,
};
pub use control::{DeliveryRef, EndpointRef, Replay, WebhookControl, What};
pub use error::{ApiError, Code};
pub use openapi::document;

use crate::Services;

/// The longest body of a request: certificates are the largest thing in it.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// What every request is given.
#[derive(Clone)]
struct Context {
    services: Services,
    control: Arc<dyn WebhookControl>,
    token: Arc<str>,
}

impl fmt::Debug for Context {
    /// The token stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

/// The routes under `/admin/api/`. `token`: the bearer token to ask for; empty: only programs on this machine may call.
pub fn router(services: Services, control: Arc<dyn WebhookControl>, token: &str) -> Router {
    let context = Context { services, control, token: token.into() };
    let missing = async || ApiError::new(Code::PathMissing, "no such path; see /admin/api/openapi.json");
    let wrong = async || ApiError::new(Code::MethodWrong, "this path does not know this method");
    let api = routes::table()
        .into_router()
        .fallback(missing)
        .method_not_allowed_fallback(wrong)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(context.clone(), auth::check))
        .with_state(context);
    // What lies beside the API, `/admin/api/` among it, is told in the same shape.
    Router::new().nest("/admin/api", api).fallback(missing)
}

impl Context {
    fn app(&self, app: u32) -> Result<AppId, ApiError> {
        let known = self.services.apps.get(AppId(app)).map(|app| app.id);
        known.ok_or_else(|| ApiError::new(Code::AppMissing, format!("app {app} is not configured")))
    }

    fn endpoint(&self, app: u32, id: &str) -> Result<Arc<roomhook_room::Endpoint>, ApiError> {
        let endpoint = self.services.directory.endpoint(self.app(app)?, &EndpointId(id.to_owned()));
        endpoint.ok_or_else(|| ApiError::new(Code::EndpointMissing, format!("app {app} has no endpoint \"{id}\"")))
    }

    fn endpoint_ref(&self, app: u32, id: &str) -> Result<EndpointRef, ApiError> {
        let endpoint = self.endpoint(app, id)?;
        Ok(EndpointRef { app: endpoint.app, id: endpoint.id.clone() })
    }
}
