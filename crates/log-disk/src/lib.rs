//! The embedded log: a journal is the truth, everything else is a mirror of it.
//!
//! ```text
//!  <path>/LOCK                         one process at a time
//!         STORE                        format, number of shards and of the store, fixed at creation
//!         journal/00000001.segment     entries of all logs, one sync for whoever waits
//!         mirror/                      where records lie, which belong to a room, rows: a database that can be made anew
//!         dumps/…0000123456.dump       all rows as of a position of the journal
//! ```
//!
//! An append is one entry in a frame of the journal; it is acknowledged when that is on the disk. The mirror follows behind the
//! receipts, without a sync. `docs/store.md` tells every byte. This crate knows nothing of rooms.

mod config;
mod error;

mod durable;
mod lock;
mod machine;
mod space;
mod store_file;

mod journal;
mod place;

mod job;
mod plan;

mod committer;
mod dumps;
mod keeper;
mod keeping;
mod line;
mod retention;

mod backup;
mod chunks;
mod follow;
mod inspect;
mod newborn;
mod open;
mod reading;
mod rebuild;
mod rehearsal;
mod restore;
mod store;
mod telemetry;
mod tools;
mod unwritten;

pub use backup::{Full, Progress, Taken};
pub use config::{Clock, DiskConfig, Durability, Health, OnReading};
pub use error::OpenError;
pub use inspect::Facts;
pub use journal::JournalError;
pub use rehearsal::{Opened, Rehearsal};
pub use store::DiskLog;
