//! The REST API against real shards.

mod accounts;
mod bad_requests;
mod failures;
mod fixtures;
mod live_config;
mod messages;
mod rooms;
mod transport;
