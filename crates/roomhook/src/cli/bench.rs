//! `roomhook bench`: load and measure a server that runs in another process.
//!
//! One file per bench; what they share: [`load`] (connections and pace), [`process`] (the server and its `/proc`),
//! [`stats`] (latencies and reports).

pub(crate) mod load;
pub(crate) mod process;
mod send;
mod stats;

use std::process::ExitCode;

/// Threads of the load, so that a small machine is shared about evenly with the server.
pub(crate) const LOAD_THREADS: u16 = 2;

/// Load and measure a server
///
/// Starts a server of its own in another process, with a fresh store and fsync on, loads it over real HTTP on
/// loopback, and prints what it took. With --url a running server is loaded instead.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    Send(send::Args),
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.bench {
        Bench::Send(args) => send::run(args).await,
    }
}
