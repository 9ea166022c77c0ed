//! The doors: REST for app backends, realtime for clients, a private one for operators.
//!
//! Nothing here appends to a log or knows a webhook endpoint's state: a door asks the shards and the directory, and
//! turns their answers into what its protocol documents. Only [`listener`] knows sockets.

pub mod listener;

pub mod apps;
pub mod auth;
pub mod publish;
mod services;

pub mod rest;

pub mod realtime;

pub mod admin;
mod doors;

pub mod telemetry;

pub use doors::Doors;
pub use services::{Entropy, Services};
