//! The realtime door, from outside: a WebSocket client that nobody here wrote, in both formats.

mod client;

mod bounds;
mod conversation;
mod deflate;
mod hostile;
mod limits;
mod no_seam;
mod presence;
mod resume;
mod tls;
mod tokens;
