//! The roomhook program: configuration, wiring and the command line. All else lives in the crates it joins.

mod cli;

mod app;
mod config;
mod control;
mod gate;
mod telemetry;

mod out;

/// Buffers and records are made on one thread and dropped on another all the time; see `docs/adr/0006-allocator.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
