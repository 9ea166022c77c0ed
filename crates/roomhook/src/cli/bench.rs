//! `roomhook bench`: load and measure a server that runs in another process.
//!
//! One file per bench; what they share: [`load`] (connections and pace), [`sending`] (messages over REST), [`subject`] and
//! [`process`] (the server and its `/proc`), [`seats`] and [`readers`] (sockets in rooms), [`stats`] (latencies and
//! reports). Two peers run as processes of their own, so that their cost is not the load's: [`raw`], [`hook_receiver`] (and its opposite, [`bad_receiver`]).

mod apart;
mod backlog;
mod bad_receiver;
mod bare_client;
mod connect;
mod fanout;
mod gate;
mod hook_receiver;
pub(crate) mod load;
mod metrics;
mod neighbours;
mod pace;
pub(crate) mod process;
mod raw;
mod readers;
mod seats;
mod send;
mod sending;
mod stats;
mod subject;
mod webhook;

use std::process::ExitCode;

use crate::app::limits;

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
    Fanout(fanout::Args),
    Connect(connect::Args),
    Webhook(webhook::Args),
    Gate(gate::Args),
    #[command(hide = true)]
    RawWriter(raw::WriterArgs),
    #[command(hide = true)]
    HookReceiver(hook_receiver::Args),
    #[command(hide = true)]
    BadReceiver(bad_receiver::Args),
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    limits::raise_open_files();
    match args.bench {
        Bench::Send(args) => send::run(args).await,
        Bench::Fanout(args) => fanout::run(args).await,
        Bench::Connect(args) => connect::run(args).await,
        Bench::Webhook(args) => webhook::run(args).await,
        Bench::Gate(args) => gate::run(args).await,
        Bench::RawWriter(args) => raw::write(args).await,
        Bench::HookReceiver(args) => hook_receiver::run(args).await,
        Bench::BadReceiver(args) => bad_receiver::run(args).await,
    }
}
