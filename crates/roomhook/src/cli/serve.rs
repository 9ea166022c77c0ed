//! `roomhook serve`: the server.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::ready::Ready;
use crate::{
    app::{App, limits, stop::Stop},
    config::{self, Config},
    telemetry,
};

/// Run the server
///
/// Settings come from the built-in defaults, then the file, then the environment (ROOMHOOK__SECTION__KEY). SIGTERM or
/// SIGINT stops it: requests in flight and webhook cursors are finished first. A second signal ends it at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Once ready, write the addresses and the process id to this file, as JSON
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Print the commented default configuration and exit
    #[arg(long)]
    print_defaults: bool,
}

/// Which file the configuration is read from.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigFile {
    /// Configuration file (TOML)
    #[arg(long, env = "ROOMHOOK_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl ConfigFile {
    /// The whole configuration: this file between defaults and environment.
    pub(crate) fn load(&self) -> Result<Config, config::Problems> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        config::load(self.config.as_deref(), std::env::vars_os().filter_map(text))
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.print_defaults {
        crate::out::say!("{}", config::DEFAULTS.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let config = args.config.load()?;
    anyhow::ensure!(
        !config.app.is_empty(),
        "the configuration has no [[app]]: add one with sdkappid and key, or try `roomhook dev`"
    );
    telemetry::init(&config.log)?;
    let runtime = super::runtime(config.server.worker_threads)?;
    let ended = runtime.block_on(serve(&config, args.ready_file.as_deref()));
    // What did not end within its deadline is not waited for.
    runtime.shutdown_background();
    ended
}

async fn serve(config: &Config, ready_file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    limits::raise_open_files();
    limits::file_size_is_an_error();
    let app = App::build(config).await?;
    if let Some(path) = ready_file {
        Ready::of(&app)?.write(path)?;
    }
    app.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}
