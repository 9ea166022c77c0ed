//! The embedded log on fjall: a database and a committer thread per log.
//!
//! ```text
//!  <path>/LOCK              one process at a time
//!         STORE             format and number of shards, fixed at creation; the last thing that is made
//!         NEW               there while the store is being made
//!         log-000/db/       a fjall database: segments `ev000001` (records), `ix000001` (key -> records), rows
//!         log-000/mark      how far the log had got, written after each commit, synced once a second
//!         log-directory/…
//! ```
//!
//! Everything an append holds goes into one fjall batch and one fsync. What fjall may lose in silence (the end of a
//! damaged journal) is found at the next start, which then refuses to go on. This crate knows nothing of rooms, and is
//! the only one that knows fjall.

mod config;
mod error;

mod codec;
mod durable;
mod lock;
mod mark;
mod space;
mod store_file;

mod engine;
mod reads;
mod segments;

mod batch;
mod committer;
mod retention;

mod inspect;
mod newborn;
mod open;
mod recover;
mod rehearsal;
mod store;
mod telemetry;

pub use config::{Clock, DiskConfig, Durability, Health};
pub use error::OpenError;
pub use inspect::{Facts, LogFacts};
pub use rehearsal::{Opened, Rehearsal};
pub use store::DiskLog;
