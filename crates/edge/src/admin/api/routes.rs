//! Every operation of the API: its route, its handler, and what the document says of it.

use axum::{
    Router,
    handler::Handler,
    http::StatusCode,
    routing::{MethodFilter, on},
};
use serde_json::Value;

use super::{
    Context,
    answers::{Attempt, EventPage, MessageTrail, ReplayState},
    deliveries::{self, Attempts, AttemptsQuery, Deliveries, DeliveryRequest, EventsQuery, First, Page, Questions},
    endpoints::{self, Endpoint, Endpoints},
    openapi,
    replays::{self, ReplayRequest, ReplayStates},
    schema::{Definitions, Schema},
    settings::EndpointRequest,
};

type Shape = fn(&mut Definitions) -> Value;

/// One operation.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: Option<Shape>,
    pub(super) body: Option<Shape>,
    /// `None`: nothing but the status.
    pub(super) answer: Option<Shape>,
    pub(super) status: StatusCode,
}

/// Operations with their handlers.
#[derive(Default)]
pub(super) struct Table {
    router: Router<Context>,
    pub(super) operations: Vec<Operation>,
}

impl Operation {
    const fn new(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self { method, path, id, summary, query: None, body: None, answer: None, status: StatusCode::OK }
    }

    fn query<T: Schema>(self) -> Self {
        Self { query: Some(T::schema), ..self }
    }

    fn body<T: Schema>(self) -> Self {
        Self { body: Some(T::schema), ..self }
    }

    fn answer<T: Schema>(self) -> Self {
        Self { answer: Some(T::schema), ..self }
    }

    fn filter(&self) -> MethodFilter {
        match self.method {
            "put" => MethodFilter::PUT,
            "post" => MethodFilter::POST,
            "delete" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        }
    }
}

impl Table {
    fn on<H: Handler<T, Context>, T: 'static>(mut self, operation: Operation, handler: H) -> Self {
        self.router = self.router.route(operation.path, on(operation.filter(), handler));
        self.operations.push(operation);
        self
    }

    pub(super) fn into_router(self) -> Router<Context> {
        self.router
    }
}

const ENDPOINT: &str = "/apps/{app}/endpoints/{endpoint}";

/// All of them.
pub(super) fn table() -> Table {
    use Operation as Op;
    let table = Table::default()
        .on(Op::new("get", "/openapi.json", "getDocument", "This document").answer::<Value>(), openapi::serve)
        .on(
            Op::new("get", "/endpoints", "listEndpoints", "All endpoints with their state").answer::<Endpoints>(),
            endpoints::all,
        )
        .on(
            Op::new("get", "/apps/{app}/endpoints", "listEndpointsOfApp", "The endpoints of an app")
                .answer::<Endpoints>(),
            endpoints::of_app,
        )
        .on(
            Op::new("get", ENDPOINT, "getEndpoint", "One endpoint with its state").answer::<Endpoint>(),
            endpoints::show,
        )
        .on(
            Op::new(
                "put",
                ENDPOINT,
                "putEndpoint",
                "Creates an endpoint, or changes its settings from the next event on",
            )
            .body::<EndpointRequest>()
            .answer::<Endpoint>(),
            endpoints::put,
        )
        .on(Op::new("delete", ENDPOINT, "deleteEndpoint", "Deletes an endpoint and what it is owed"), endpoints::delete)
        .on(
            Op::new(
                "post",
                "/apps/{app}/endpoints/{endpoint}/pause",
                "pauseEndpoint",
                "Sends nothing, not even probes, until it is resumed; what is owed waits",
            )
            .answer::<Endpoint>(),
            endpoints::pause,
        )
        .on(
            Op::new(
                "post",
                "/apps/{app}/endpoints/{endpoint}/resume",
                "resumeEndpoint",
                "Ends a pause, by a person or for failing, and tries at once",
            )
            .answer::<Endpoint>(),
            endpoints::resume,
        );
    replay_operations(delivery_operations(table))
}

fn delivery_operations(table: Table) -> Table {
    use Operation as Op;
    table
        .on(
            Op::new(
                "get",
                "/apps/{app}/endpoints/{endpoint}/parked",
                "listParked",
                "Deliveries that used up their retries and wait for a person",
            )
            .query::<Page>()
            .answer::<Deliveries>(),
            deliveries::parked,
        )
        .on(
            Op::new(
                "get",
                "/apps/{app}/endpoints/{endpoint}/set-aside",
                "listSetAside",
                "Deliveries that fail on their own and are still being tried",
            )
            .query::<First>()
            .answer::<Deliveries>(),
            deliveries::set_aside,
        )
        .on(
            Op::new(
                "get",
                "/apps/{app}/endpoints/{endpoint}/attempts",
                "listAttempts",
                "Recent attempts, newest first",
            )
            .query::<AttemptsQuery>()
            .answer::<Attempts>(),
            deliveries::attempts,
        )
        .on(
            Op::new(
                "post",
                "/apps/{app}/endpoints/{endpoint}/skip",
                "skipDelivery",
                "Gives up on a delivery that is parked or set aside",
            )
            .body::<DeliveryRequest>(),
            deliveries::skip,
        )
        .on(
            Op::new(
                "post",
                "/apps/{app}/endpoints/{endpoint}/retry",
                "retryDelivery",
                "Tries a delivery that is parked or set aside again, now",
            )
            .body::<DeliveryRequest>(),
            deliveries::retry,
        )
        .on(
            Op::new(
                "post",
                "/apps/{app}/endpoints/{endpoint}/test",
                "testEndpoint",
                "Sends a Roomhook.CallbackTest event and waits for what comes of it",
            )
            .answer::<Attempt>(),
            deliveries::test,
        )
        .on(
            Op::new(
                "get",
                "/apps/{app}/endpoints/{endpoint}/events",
                "pullEvents",
                "The events that the endpoint is owed by its present switches, after a cursor (from the oldest, if left out; \
                 after=end gives the present end). A cursor from before what retention kept is answered with cursor_expired",
            )
            .query::<EventsQuery>()
            .answer::<EventPage>(),
            deliveries::events,
        )
        .on(
            Op::new(
                "get",
                "/apps/{app}/rooms/{room}/messages/{msg_seq}/trail",
                "getTrail",
                "Why a message did or did not reach each endpoint",
            )
            .answer::<MessageTrail>(),
            deliveries::trail,
        )
        .on(
            Op::new("get", "/apps/{app}/gate/questions", "listQuestions", "What the before-send gate asked of late")
                .answer::<Questions>(),
            deliveries::questions,
        )
}

fn replay_operations(table: Table) -> Table {
    use Operation as Op;
    let start = Op::new(
        "post",
        "/apps/{app}/endpoints/{endpoint}/replays",
        "startReplay",
        "Sends events again while live delivery goes on. Goes on after a restart",
    )
    .body::<ReplayRequest>()
    .answer::<ReplayState>();
    table
        .on(Op { status: StatusCode::ACCEPTED, ..start }, replays::start)
        .on(Op::new("get", "/replays", "listReplays", "Replays, newest first").answer::<ReplayStates>(), replays::list)
        .on(
            Op::new("get", "/replays/{replay}", "getReplay", "How a replay goes").answer::<ReplayState>(),
            replays::show,
        )
        .on(
            Op::new("delete", "/replays/{replay}", "stopReplay", "Stops a replay for good").answer::<ReplayState>(),
            replays::stop,
        )
}
