//! Webhooks over real sockets: a memory log in front, receivers on loopback behind.

mod addresses;
mod apart;
mod backlog;
mod changes;
mod delivery;
mod engine_rig;
mod gate;
mod gate_hostile;
mod hot_room;
mod http2;
mod keep_alive;
mod laws;
mod misbehaving;
mod numbers;
mod pulling;
mod receiver;
mod replays;
mod senders;
mod simulated;
mod stories;
mod switches;
mod tls;
mod trails;
mod two_writes;
mod watched_log;
mod world;
