//! The doors, from outside: real sockets on loopback, real shards on a log in memory.

mod world;

mod admin;
mod auth;
mod listener;
mod openapi;
mod realtime;
mod rest;
