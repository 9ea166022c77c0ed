//! `roomhook restore`: a store of a backup.

use std::{path::PathBuf, process::ExitCode};

use roomhook_log_disk::DiskLog;

use super::{progress::Told, serve::ConfigFile};
use crate::{app::disk_settings, out::say};

/// Make a store of a backup, at storage.path, where there is none
///
/// Every byte of the backup is checked before anything is made. What came after the backup is lost, and its numbers are used again: so
/// clients see other epochs of their rooms, and a receiver's cursor is answered with where to go on. Webhooks that were delivered after
/// the backup are delivered again. A restore that is cut off can be repeated.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The folder that `roomhook backup` made
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    let mut told = Told::new("restored");
    let taken = DiskLog::restore(&args.from, &disk_settings(&config), &mut |done, all| told.tell(done, all))?;
    say!(
        "{} records in {} segments are at {}; start the server: it makes the rest from them",
        taken.records,
        taken.segments,
        config.storage.path.display()
    );
    Ok(ExitCode::SUCCESS)
}
