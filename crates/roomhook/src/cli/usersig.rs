//! `roomhook usersig`: makes a UserSig by hand.

use std::process::ExitCode;

use super::rest::usersig_now;
use crate::out::say;

/// Print a UserSig: what a user or an admin signs in with
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app
    #[arg(long)]
    sdkappid: u32,
    /// The app's secret key
    #[arg(long, env = "ROOMHOOK_KEY", hide_env_values = true)]
    key: String,
    /// The user it is for
    #[arg(long)]
    user: String,
    /// Seconds it is valid for
    #[arg(long, default_value_t = 15_552_000, value_parser = clap::value_parser!(u64).range(1..))]
    expire: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    roomhook_room::UserId::new(&args.user).map_err(|error| anyhow::anyhow!("--user: {error}"))?;
    anyhow::ensure!(!args.key.is_empty(), "--key is empty");
    say!("{}", usersig_now(args.sdkappid, &args.key, &args.user, args.expire));
    Ok(ExitCode::SUCCESS)
}
