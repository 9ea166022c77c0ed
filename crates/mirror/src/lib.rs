//! What can be rebuilt from a log: where its records lie, which of them belong to a key, and the rows beside it.
//!
//! A mirror is never the truth. It is written behind the receipts, without a sync, and knows where it stands; what comes after is
//! read from the log again. One that is damaged or missing is thrown away: a dump and the log make it anew.
//!
//! This crate is the only one that knows fjall. Of the log's files it knows no more than that something lies at a [`Location`].

mod error;
mod stand;

mod engine;
mod keys;
mod segments;

mod apply;
mod find;
mod rows;

mod dump;

pub use apply::{Applied, EntryIndex};
pub use dump::{Dump, DumpError, write_dump};
pub use engine::{Mirror, MirrorConfig};
pub use error::MirrorError;
pub use find::Chunks;
pub use keys::Location;
pub use stand::{SegmentStart, Stand};
