//! The program as its users meet it: started as a process, spoken to over its command line, signals and sockets.

mod commands;
mod server;
mod support;
