//! `roomhook webhooks`: looks after webhooks of a running server, over its admin API.

mod client;
mod table;
mod when;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::out::say;
use client::{Client, segment};
use table::{Table, age, cell};

/// Between two looks at a replay that is being waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Look after the webhooks of a running server: state, parked deliveries, replays, trails
///
/// Talks to the admin API of the server (server.admin_listen). Every command prints a table, or with --json the answer
/// of the API.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Remote {
    /// Where the server's admin listener is
    #[arg(long, global = true, env = "ROOMHOOK_ADMIN", default_value = "http://127.0.0.1:9090", value_name = "URL")]
    admin: String,
    /// The server's admin.token
    #[arg(long, global = true, env = "ROOMHOOK_ADMIN_TOKEN", hide_env_values = true, default_value = "")]
    token: String,
    /// The app (SDKAppID); may be left out when only one has endpoints
    #[arg(long, global = true, value_name = "SDKAPPID")]
    app: Option<u32>,
    /// Print the API's answer instead of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List all endpoints with their numbers
    List,
    /// Show one endpoint: settings, numbers, its newest failures
    Show(Endpoint),
    /// Send nothing to an endpoint until it is resumed; what it is owed waits
    Pause(Endpoint),
    /// End a pause, by a person or for failing, and try at once
    Resume(Endpoint),
    /// List deliveries that used up their retries
    Parked(Parked),
    /// Send events again, while live delivery goes on
    Replay(Replay),
    /// Give up on a delivery that is parked or set aside
    Skip(Delivery),
    /// Try a delivery that is parked or set aside again, now
    Retry(Delivery),
    /// Send a test event and show what came of it
    Test(Endpoint),
    /// Tell why a message did or did not reach each endpoint
    Trail(Trail),
    /// Read the events an endpoint is owed, by cursor
    Events(Events),
}

#[derive(Debug, clap::Args)]
struct Endpoint {
    /// The endpoint's id
    #[arg(default_value = "default")]
    endpoint: String,
}

#[derive(Debug, clap::Args)]
struct Parked {
    #[command(flatten)]
    of: Endpoint,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Those after this delivery
    #[arg(long)]
    after: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Delivery {
    /// The delivery, as parked and trail name it, e.g. 2-1871-0
    delivery: String,
    /// The endpoint's id
    #[arg(long, default_value = "default")]
    endpoint: String,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["delivery", "room", "since", "parked"]))]
struct Replay {
    #[command(flatten)]
    of: Endpoint,
    /// One delivery
    #[arg(long)]
    delivery: Option<String>,
    /// Messages of this room, from --from to --to
    #[arg(long, requires = "from", requires = "to_seq")]
    room: Option<String>,
    /// First MsgSeq
    #[arg(long)]
    from: Option<u64>,
    /// Last MsgSeq
    #[arg(long = "to", id = "to_seq")]
    to_seq: Option<u64>,
    /// All events since then: "2h" (ago), "2026-01-01T00:00:00Z", or Unix milliseconds
    #[arg(long)]
    since: Option<when::When>,
    /// Until then; now, if left out
    #[arg(long, requires = "since")]
    until: Option<when::When>,
    /// All parked deliveries
    #[arg(long)]
    parked: bool,
    /// Send them to this URL instead, signed with the endpoint's secrets
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Events per second
    #[arg(long, default_value_t = 100)]
    per_s: u32,
    /// Return at once, instead of waiting for the end
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, clap::Args)]
struct Trail {
    /// The room
    room: String,
    /// The message's MsgSeq
    msg_seq: u64,
}

#[derive(Debug, clap::Args)]
struct Events {
    #[command(flatten)]
    of: Endpoint,
    /// The cursor that the page before ended with; "end" for the present end. From the oldest event, if left out
    #[arg(long)]
    after: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { remote, command } = args;
    let mut client = Client::new(&remote.admin, &remote.token)?;
    let ctx = &mut Context { client: &mut client, app: remote.app, json: remote.json };
    match command {
        Command::List => list(ctx).await,
        Command::Show(of) => show(ctx, &of.endpoint).await,
        Command::Pause(of) => change(ctx, &of.endpoint, "pause").await,
        Command::Resume(of) => change(ctx, &of.endpoint, "resume").await,
        Command::Parked(args) => parked(ctx, &args).await,
        Command::Replay(args) => replay(ctx, &args).await,
        Command::Skip(args) => settle(ctx, &args, "skip").await,
        Command::Retry(args) => settle(ctx, &args, "retry").await,
        Command::Test(of) => test(ctx, &of.endpoint).await,
        Command::Trail(args) => trail(ctx, &args).await,
        Command::Events(args) => events(ctx, &args).await,
    }
}

struct Context<'a> {
    client: &'a mut Client,
    app: Option<u32>,
    json: bool,
}

impl Context<'_> {
    /// The app asked for, or the only one that has endpoints.
    async fn app(&mut self) -> anyhow::Result<u32> {
        if let Some(app) = self.app {
            return Ok(app);
        }
        let answer = self.client.get("/endpoints").await?;
        let mut apps: Vec<u64> = items(&answer, "endpoints").filter_map(|endpoint| endpoint["app"].as_u64()).collect();
        apps.dedup();
        match apps.as_slice() {
            [app] => Ok(u32::try_from(*app).unwrap_or_default()),
            [] => anyhow::bail!("no app has an endpoint yet"),
            several => anyhow::bail!("several apps have endpoints {several:?}: say which with --app"),
        }
    }

    async fn path(&mut self, endpoint: &str, rest: &str) -> anyhow::Result<String> {
        Ok(format!("/apps/{}/endpoints/{}{rest}", self.app().await?, segment(endpoint)))
    }

    /// Prints the answer as it came, if that was asked for.
    fn is_told(&self, answer: &Value) -> bool {
        if self.json {
            say!("{answer}");
        }
        self.json
    }
}

fn items<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer[name].as_array().into_iter().flatten()
}

const DONE: anyhow::Result<ExitCode> = Ok(ExitCode::SUCCESS);

async fn list(ctx: &mut Context<'_>) -> anyhow::Result<ExitCode> {
    let path = ctx.app.map_or_else(|| "/endpoints".to_owned(), |app| format!("/apps/{app}/endpoints"));
    let answer = ctx.client.get(&path).await?;
    if ctx.is_told(&answer) {
        return DONE;
    }
    let mut table = Table::new(&[
        "APP",
        "ENDPOINT",
        "STATE",
        "ACKNOWLEDGED",
        "DELIVERED",
        "PENDING",
        "PARKED",
        "EXPIRED",
        "LAG",
        "URL",
    ]);
    for endpoint in items(&answer, "endpoints") {
        let state = &endpoint["state"];
        let lag = state["lag_seconds"].as_f64().map_or_else(|| "-".to_owned(), |secs| format!("{secs:.1}s"));
        table.row([
            cell(&endpoint["app"]),
            cell(&endpoint["id"]),
            cell(&state["mode"]),
            cell(&state["acknowledged"]),
            cell(&state["delivered"]),
            cell(&state["pending"]),
            cell(&state["parked"]),
            cell(&state["expired"]),
            lag,
            cell(&endpoint["url"]),
        ]);
    }
    table.print();
    DONE
}

async fn show(ctx: &mut Context<'_>, endpoint: &str) -> anyhow::Result<ExitCode> {
    let path = ctx.path(endpoint, "").await?;
    let answer = ctx.client.get(&path).await?;
    if ctx.is_told(&answer) {
        return DONE;
    }
    tell_endpoint(&answer);
    let failures = ctx.client.get(&format!("{path}/attempts?failures=true&limit=10")).await?;
    if items(&failures, "attempts").next().is_some() {
        say!("\nnewest failures:");
        attempts(items(&failures, "attempts"));
    }
    DONE
}

/// Settings and numbers, one per line; what is not set is left out.
fn tell_endpoint(endpoint: &Value) {
    let members = endpoint.as_object().into_iter().flatten();
    for (name, value) in members.filter(|(name, value)| *name != "state" && !value.is_null()) {
        say!("{name:<24} {}", cell(value));
    }
    let state = endpoint["state"].as_object().into_iter().flatten();
    for (name, value) in state.filter(|(name, value)| *name != "last_failure" && !value.is_null()) {
        say!("{:<24} {}", format!("state.{name}"), cell(value));
    }
}

fn attempts<'a>(attempts: impl Iterator<Item = &'a Value>) {
    let mut table = Table::new(&["ENDED", "DELIVERY", "ROOM", "SEQ", "TRY", "STATUS", "MS", "PROBLEM"]);
    for made in attempts {
        table.row([
            age(&made["ended_at"]),
            cell(&made["delivery"]),
            cell(&made["room"]),
            cell(&made["msg_seq"]),
            cell(&made["attempt"]),
            cell(&made["status"]),
            cell(&made["timings"]["total_ms"]),
            cell(&made["problem"]),
        ]);
    }
    table.print();
}

async fn change(ctx: &mut Context<'_>, endpoint: &str, what: &str) -> anyhow::Result<ExitCode> {
    let path = ctx.path(endpoint, &format!("/{what}")).await?;
    let answer = ctx.client.post(&path, &json!({})).await?;
    if !ctx.is_told(&answer) {
        let (state, pending) = (&answer["state"], cell(&answer["state"]["pending"]));
        let paused = answer["paused"] == true;
        say!("{endpoint}: {}, {pending} pending", if paused { "paused".to_owned() } else { cell(&state["mode"]) });
    }
    DONE
}

async fn parked(ctx: &mut Context<'_>, args: &Parked) -> anyhow::Result<ExitCode> {
    let after = args.after.as_ref().map(|after| format!("&after={}", segment(after))).unwrap_or_default();
    let path = ctx.path(&args.of.endpoint, &format!("/parked?limit={}{after}", args.limit)).await?;
    let answer = ctx.client.get(&path).await?;
    if ctx.is_told(&answer) {
        return DONE;
    }
    let mut table = Table::new(&["DELIVERY", "ROOM", "SEQ", "HAPPENED", "ATTEMPTS", "LAST STATUS"]);
    for held in items(&answer, "deliveries") {
        table.row([
            cell(&held["delivery"]),
            cell(&held["room"]),
            cell(&held["msg_seq"]),
            age(&held["event_at"]),
            cell(&held["attempts"]),
            cell(&held["last_status"]),
        ]);
    }
    table.print();
    if let Some(next) = answer["next"].as_str() {
        say!("there are more: --after {next}");
    }
    DONE
}

async fn replay(ctx: &mut Context<'_>, args: &Replay) -> anyhow::Result<ExitCode> {
    let mut request = json!({ "per_s": args.per_s });
    if let Some(delivery) = &args.delivery {
        request["delivery"] = json!(delivery);
    } else if let Some(room) = &args.room {
        request["messages"] = json!({ "room": room, "from": args.from, "to": args.to_seq });
    } else if let Some(since) = &args.since {
        let until = args.until.map_or_else(when::now_ms, |until| until.0);
        request["time"] = json!({ "from_ms": since.0, "to_ms": until });
    } else {
        request["parked"] = json!(true);
    }
    if let Some(url) = &args.url {
        request["to"] = json!(url);
    }
    let path = ctx.path(&args.of.endpoint, "/replays").await?;
    let mut state = ctx.client.post(&path, &request).await?;
    let path = format!("/replays/{}", cell(&state["replay"]));
    while state["status"] == "running" && !args.no_wait {
        tokio::time::sleep(LOOK_AGAIN).await;
        state = ctx.client.get(&path).await?;
    }
    if !ctx.is_told(&state) {
        let done = &state["progress"];
        let reason = state["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        say!(
            "replay {}: {}{reason}; {} acknowledged, {} requeued, {} failed, {} gone",
            cell(&state["replay"]),
            cell(&state["status"]),
            cell(&done["acknowledged"]),
            cell(&done["requeued"]),
            cell(&done["failed"]),
            cell(&done["gone"]),
        );
        if items(done, "failures").next().is_some() {
            attempts(items(done, "failures"));
        }
    }
    let is_well = state["status"] == "running" || (state["status"] == "done" && state["progress"]["failed"] == 0);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn settle(ctx: &mut Context<'_>, args: &Delivery, what: &str) -> anyhow::Result<ExitCode> {
    let path = ctx.path(&args.endpoint, &format!("/{what}")).await?;
    let answer = ctx.client.post(&path, &json!({ "delivery": args.delivery })).await?;
    if !ctx.is_told(&answer) {
        let done = if what == "skip" { "given up" } else { "is tried again" };
        say!("{}: {done}", args.delivery);
    }
    DONE
}

async fn test(ctx: &mut Context<'_>, endpoint: &str) -> anyhow::Result<ExitCode> {
    let path = ctx.path(endpoint, "/test").await?;
    let answer = ctx.client.post(&path, &json!({})).await?;
    let is_well = answer["status"].as_u64().is_some_and(|status| (200..300).contains(&status));
    if !ctx.is_told(&answer) {
        let timings = &answer["timings"];
        match answer["problem"].as_str() {
            Some(problem) if is_well => say!("{endpoint}: answered {}, but {problem}", cell(&answer["status"])),
            Some(problem) => say!("{endpoint}: {problem}"),
            None => say!("{endpoint}: answered {}", cell(&answer["status"])),
        }
        for part in ["dns_ms", "connect_ms", "tls_ms", "first_byte_ms", "total_ms"] {
            say!("  {part:<14} {}", cell(&timings[part]));
        }
        if let Some(text) = answer["answer"].as_str().filter(|text| !text.is_empty()) {
            say!("  answer         {}", text.escape_debug());
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn trail(ctx: &mut Context<'_>, args: &Trail) -> anyhow::Result<ExitCode> {
    let app = ctx.app().await?;
    let path = format!("/apps/{app}/rooms/{}/messages/{}/trail", segment(&args.room), args.msg_seq);
    let answer = ctx.client.get(&path).await?;
    if ctx.is_told(&answer) {
        return DONE;
    }
    say!("delivery {}, appended {}", cell(&answer["delivery"]), age(&answer["appended_at"]));
    for endpoint in items(&answer, "endpoints") {
        let why = endpoint["why_not"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        let next = endpoint["next_try_at"].as_u64().map(|_| format!(", next try {}", age(&endpoint["next_try_at"])));
        say!("\n{}: {}{why}{}", cell(&endpoint["endpoint"]), cell(&endpoint["state"]), next.unwrap_or_default());
        if items(endpoint, "attempts").next().is_some() {
            attempts(items(endpoint, "attempts"));
        }
    }
    DONE
}

async fn events(ctx: &mut Context<'_>, args: &Events) -> anyhow::Result<ExitCode> {
    let after = args.after.as_ref().map(|after| format!("&after={}", segment(after))).unwrap_or_default();
    let path = ctx.path(&args.of.endpoint, &format!("/events?limit={}{after}", args.limit)).await?;
    let answer = ctx.client.get(&path).await?;
    if ctx.is_told(&answer) {
        return DONE;
    }
    // Bodies, one per line, for other programs; the cursor comes last and apart.
    for event in items(&answer, "events") {
        say!("{}", event["body"].as_str().context("an event without a body")?);
    }
    say!("next: --after {}", cell(&answer["next"]));
    DONE
}
