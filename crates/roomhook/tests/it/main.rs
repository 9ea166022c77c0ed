//! The program as its users meet it: started as a process, spoken to over its command line, signals and sockets.

mod admin;
mod attacks;
mod backups;
mod benches;
mod commands;
mod moderation;
mod numbers;
mod operators;
mod ops;
mod secrets;
mod server;
mod support;
