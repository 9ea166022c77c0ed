//! The doors, from outside: real sockets on loopback.

mod listener;
