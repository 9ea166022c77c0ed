//! The command line (a contract: scripts and tests rely on it). One file per command; each has its `Args` and a `run`.

mod backup;
pub(crate) mod bench;
mod breakable;
mod client;
mod demo;
mod dev;
mod doctor;
mod inspector;
mod listen;
mod misbehave;
mod progress;
mod ready;
mod rest;
mod restore;
mod serve;
mod usersig;
mod webhooks;

#[cfg(test)]
mod tests;

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;

/// A chat server for live rooms whose webhooks never miss
///
/// App backends call it with the Tencent RTC Live / Chat REST API, and it tells them about every message by Tencent's
/// webhooks: in order, at least once. Start with `roomhook demo` to see it work, then `roomhook dev` to build against it.
#[derive(Debug, Parser)]
#[command(name = "roomhook", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Demo(demo::Args),
    Dev(dev::Args),
    Serve(serve::Args),
    Usersig(usersig::Args),
    Listen(listen::Args),
    Doctor(doctor::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Bench(bench::Args),
    Webhooks(webhooks::Args),
}

/// Runs what the command line asks for. Errors go to standard error, with what to do about them.
pub(crate) fn run() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "roomhook: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => runtime(0)?.block_on(demo::run(args)),
        Command::Dev(args) => runtime(0)?.block_on(dev::run(args)),
        Command::Serve(args) => serve::run(&args),
        Command::Usersig(args) => usersig::run(&args),
        Command::Listen(args) => runtime(0)?.block_on(listen::run(args)),
        Command::Doctor(args) => runtime(0)?.block_on(doctor::run(args)),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Webhooks(args) => runtime(1)?.block_on(webhooks::run(args)),
        Command::Bench(args) => runtime(bench::LOAD_THREADS)?.block_on(bench::run(args)),
    }
}

/// The threads that all tasks share; 0 = one per processor.
fn runtime(threads: u16) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads.into());
    }
    builder.enable_all().build().context("start the threads")
}
