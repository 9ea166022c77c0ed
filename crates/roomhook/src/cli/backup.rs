//! `roomhook backup`: a copy of the store, while a server uses it.

use std::{path::PathBuf, process::ExitCode};

use roomhook_log_disk::{DiskLog, Full};

use super::{progress::Told, serve::ConfigFile};
use crate::out::say;

/// Copy the store to a folder, while a server uses it or not
///
/// All that was acknowledged before is in the copy, and every byte of it is checked before the command succeeds. `roomhook restore`
/// makes a store of it. Exits with 1 if something is wrong; what the folder holds then is no backup.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The folder, which must be empty or not be there yet
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Link full segments instead of copying them: quick, and no safer than the disk that has both
    #[arg(long)]
    link: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    let full = if args.link { Full::Linked } else { Full::Copied };
    let mut told = Told::new("copied");
    let taken = DiskLog::backup(&config.storage.path, &args.to, full, &mut |done, all| told.tell(done, all))?;
    say!(
        "{} records in {} segments, {} MiB, are in {} and were checked",
        taken.records,
        taken.segments,
        taken.bytes >> 20,
        args.to.display()
    );
    Ok(ExitCode::SUCCESS)
}
