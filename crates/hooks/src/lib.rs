//! Webhooks out: what is owed to whom, and how it gets paid.
//!
//! `plan` and `engine` decide and are pure; `settings` compiles an endpoint; `http` connects and posts; the rest are the
//! tasks that move bytes between them. Nothing here has a handle on a room: records come in by the log's tail, and all
//! that is ever written is rows of cursors and exceptions.

pub mod config;
mod supervisor;

pub mod engine;
pub mod plan;
pub mod retry;
pub mod rows;

mod alarm;
mod attempt_row;
mod bodies;
mod check;
mod contents;
pub mod settings;

pub mod http;

mod endpoint;
mod laggards;
mod own_rows;
mod reader;
mod sender;
mod shared;
mod start;

pub mod gate;

mod handle;
mod inspect;
mod kept_trails;
mod pull;
mod replay;
mod trial;
mod walk;

mod telemetry;
mod trail;

pub use check::Unusable;
pub use config::Config;
pub use handle::{Handle, HandleError, Parked, Status};
pub use inspect::{EndpointTrail, MessageTrail, TrailState};
pub use pull::{EventCursor, EventPage, PULL_RECORDS_MAX, Pulled};
pub use replay::{
    FAILURES_KEPT, KEPT_MAX, REPEATS_MAX, RUNNING_MAX, Replay, ReplayState, ReplayStatus, Replayed, What,
};
pub use shared::Clock;
pub use supervisor::{EndpointName, Hooks, start, start_with};
pub use telemetry::Tally;
pub use trail::{Attempt, Trail};
