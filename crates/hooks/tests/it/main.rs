//! Webhooks over real sockets: a memory log in front, receivers on loopback behind.

mod delivery;
mod engine_rig;
mod laws;
mod receiver;
mod stories;
mod world;
