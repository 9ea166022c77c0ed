//! Power cuts and single failures, tried on a disk that keeps apart what was written and what was synced: of a store alone, by hundreds,
//! and of the whole server.
//!
//! `scripts/powercut ROUNDS [SEED]` is the long form.

mod book;
mod cuts;
mod failures;
mod server;
mod writer;
