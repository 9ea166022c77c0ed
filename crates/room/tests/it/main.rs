//! The laws of a room, its stories, and its bytes.

mod codec;
mod directory;
mod entry;
mod laws;
mod smoke;
mod story;
mod world;
