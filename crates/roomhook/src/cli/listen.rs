//! `roomhook listen`: a webhook receiver that verifies and prints.

use std::{fmt::Write as _, net::SocketAddr, process::ExitCode};

use serde_json::Value;

use super::{
    inspector::{Expect, Inspector, Outcome, Seen},
    misbehave::{Misbehavior, Plan},
};
use crate::{app::stop::Stop, out::say};

/// Receive webhooks, verify them and print them
///
/// A stand-in for an app backend: acknowledges what is genuine, refuses what is not, and says why. With --misbehave it
/// is a bad one on purpose, to see what a server does about it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:9000")]
    addr: SocketAddr,
    /// Demand that requests are signed with this Tencent token (Sign, RequestTime)
    #[arg(long, env = "ROOMHOOK_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Demand that bodies are signed with this Standard Webhooks secret (whsec_...)
    #[arg(long, env = "ROOMHOOK_SIGNING_SECRET", hide_env_values = true)]
    signing_secret: Option<String>,
    /// Take requests of this app only
    #[arg(long)]
    sdkappid: Option<u32>,
    /// Treat requests badly: slow=3s, status=500, reset (break off by TCP reset), drip (a byte per second), wrong-json, redirect=URL
    /// or endless. Several take turns
    #[arg(long, value_name = "HOW")]
    misbehave: Vec<Misbehavior>,
    /// Misbehave with every Nth request only
    #[arg(long, value_name = "N", default_value_t = 1, requires = "misbehave", value_parser = clap::value_parser!(u64).range(1..))]
    misbehave_every: u64,
    /// Print each body as one line, as it came, and nothing else
    #[arg(long)]
    raw: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { addr, token, signing_secret, sdkappid, misbehave, misbehave_every, raw } = args;
    let inspector = Inspector::bind(addr, Expect { sdkappid, token, signing_secret }).await?;
    let inspector = inspector.misbehaving(Plan::new(misbehave, misbehave_every));
    let stop = Stop::on_signals()?;
    if !raw {
        say!("listening for webhooks on http://{}", inspector.addr()?);
    }
    inspector.serve(move |seen| say!("{}", if raw { one_line(&seen) } else { shown(&seen) }), stop).await?;
    Ok(ExitCode::SUCCESS)
}

fn one_line(seen: &Seen) -> String {
    String::from_utf8_lossy(&seen.body).replace(['\n', '\r'], " ")
}

/// A request as people read it: a headline, then the body's fields.
pub(crate) fn shown(seen: &Seen) -> String {
    let mut text = match &seen.outcome {
        Outcome::New(received) => {
            let attempt = received.delivery().attempt.filter(|attempt| *attempt > 1);
            let attempt = attempt.map_or(String::new(), |attempt| format!("  (attempt {attempt})"));
            format!("<- {}{attempt}", headline(&seen.body))
        }
        Outcome::Repeat => format!("<- {}  (repeated, acknowledged again)", headline(&seen.body)),
        Outcome::TreatedBadly(how) => format!("<- {}  (misbehaved: {how})", headline(&seen.body)),
        Outcome::Refused { status, reason } => format!("<- refused with {status}: {reason}"),
    };
    if matches!(seen.outcome, Outcome::New(_)) {
        let _infallible = write!(text, "\n   {}", one_line(seen));
    }
    for notice in &seen.notices {
        let _infallible = write!(text, "\n   note: {notice:?}");
    }
    text
}

/// `Group.CallbackAfterSendMsg  lobby #3  ann: hello`, as far as the body has such fields.
fn headline(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    let mut line = text("CallbackCommand").to_owned();
    for name in ["GroupId", "RoomId"] {
        if !text(name).is_empty() {
            let _infallible = write!(line, "  {}", text(name));
        }
    }
    if let Some(seq) = body["MsgSeq"].as_u64() {
        let _infallible = write!(line, " #{seq}");
    }
    if !text("From_Account").is_empty() {
        let _infallible = write!(line, "  {}: {}", text("From_Account"), content(&body["MsgBody"]));
    }
    line
}

fn content(elements: &Value) -> String {
    let shown = |element: &Value| {
        let content = &element["MsgContent"];
        let text = content["Text"].as_str().or(content["Data"].as_str());
        text.map_or_else(|| element["MsgType"].as_str().unwrap_or("?").to_owned(), str::to_owned)
    };
    elements.as_array().map(|all| all.iter().map(shown).collect::<Vec<_>>().join(" + ")).unwrap_or_default()
}
