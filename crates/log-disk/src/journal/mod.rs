//! The journal: one file after the other, written by one thread, the truth of a store. `docs/store.md` tells every byte.
//!
//! Nothing here knows what an entry means: places, frames, files and what can be wrong with them.

mod error;
mod frame;
mod next;
mod oldest;
mod scan;
mod segment;
mod window;
mod writer;

pub use error::JournalError;
pub(crate) use frame::{Flags, Frame, FrameDraft, Origin, Place};
pub(crate) use oldest::set_oldest;
pub(crate) use scan::{Walk, distrust_memory, is_there, segments, sync};
pub(crate) use segment::{HEAD_BYTES, Segment, draft, is_segment, numbers, path, sweep_drafts, sync_from};
pub(crate) use writer::{Newest, Writer};

#[cfg(test)]
mod entry;
#[cfg(test)]
mod tests;
