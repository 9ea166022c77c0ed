//! `roomhook doctor`: looks at everything a server needs, and says what is wrong and what to do.

mod checks;
pub(crate) mod disk;
mod endpoints;

use std::process::ExitCode;

use super::serve::ConfigFile;
use crate::out::say;

/// Check configuration, store, clock, limits, disk and endpoints, and say what to do
///
/// Changes nothing. Exits with 1 if something is wrong that would keep the server from working. If no server uses the store, a
/// start is tried on a copy of it (its journals are copied to TMPDIR, the rest is linked). Endpoints are those of the store: a
/// server that runs is asked for them at server.admin_listen.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Fine(String),
    /// It works, but somebody should look: what is so, what to do.
    Note(String, String),
    /// It does not work: what is so, what to do.
    Wrong(String, String),
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(problems) => {
            let findings =
                problems.0.iter().map(|problem| Finding::Wrong(problem.to_string(), "change this key".to_owned()));
            return Ok(tell(&findings.map(|finding| ("configuration", finding)).collect::<Vec<_>>()));
        }
    };
    let rehearsed = disk::rehearse(&config).await?;
    let mut findings = vec![
        ("configuration", checks::configuration(&config)),
        ("clock", checks::clock(&config.storage.path)),
        ("open files", checks::open_files(&config)),
        ("addresses", checks::addresses(&config, disk::is_in_use(&config))),
        ("certificate", checks::certificate(&config)),
        ("disk", disk::space(&config.storage.path)),
        ("disk", disk::sync_time(&config.storage.path)),
        ("store", disk::store(&config, &rehearsed)),
    ];
    findings.extend(endpoints::all(&config, rehearsed).await.into_iter().map(|finding| ("endpoint", finding)));
    Ok(tell(&findings))
}

/// Prints all findings; fails if one is wrong.
fn tell(findings: &[(&str, Finding)]) -> ExitCode {
    let mut wrong = 0;
    for (what, finding) in findings {
        match finding {
            Finding::Fine(text) => say!("ok     {what}: {text}"),
            Finding::Note(text, advice) => say!("note   {what}: {text}\n         -> {advice}"),
            Finding::Wrong(text, advice) => {
                wrong += 1;
                say!("WRONG  {what}: {text}\n         -> {advice}");
            }
        }
    }
    if wrong == 0 {
        say!("\nnothing is wrong");
        return ExitCode::SUCCESS;
    }
    say!("\n{wrong} to put right");
    ExitCode::FAILURE
}
