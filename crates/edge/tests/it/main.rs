//! The doors, from outside: real sockets on loopback.

mod auth;
mod listener;
