//! The world in a box: log, shards, webhooks, endpoints, clock and people, from one seed, without threads or real time.
//!
//! A run has two phases. In the first, things break: the server dies at any step, appends fail or leave their outcome
//! unknown, endpoints die, hang, answer late or wrongly, are moved, paused and deleted, the clock steps. Then everything
//! is healed, and all that is owed must be paid. See README.md for what is checked.

mod coverage;
mod dice;
mod scenario;
mod world;

/// The binary's own file, so that the doors ask the gate here as they do there.
#[path = "../../roomhook/src/gate.rs"]
mod door;
mod endpoints;
mod store;

mod ledger;

mod archive;
mod auditor;
mod gates;
mod oracle;
mod readers;
mod ticks;

mod people;

mod life;
mod rival;
mod run;

pub use coverage::{Coverage, MUST_HAPPEN};
pub use run::{Options, Outcome, run, run_many};
pub use scenario::Scenario;
pub use world::Violation;
