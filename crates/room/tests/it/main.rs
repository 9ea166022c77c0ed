//! The laws of a room, its stories, and its bytes.

mod codec;
mod directory;
mod laws;
mod story;
mod world;
