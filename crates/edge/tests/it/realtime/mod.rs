//! The realtime door, from outside: a WebSocket client that nobody here wrote, in both formats.

mod client;

mod conversation;
mod resume;
