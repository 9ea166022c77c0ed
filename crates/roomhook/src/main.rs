//! The roomhook program: configuration, wiring and the command line. All else lives in the crates it joins.

mod cli;

mod app;
mod config;
mod control;
mod gate;
mod telemetry;

mod out;

fn main() -> std::process::ExitCode {
    cli::run()
}
