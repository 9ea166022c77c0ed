//! `roomhook webhooks`: looks after webhooks of a running server, over its admin API.

mod act;
pub(super) mod client;
mod look;
mod replays;
mod table;
mod when;

use std::process::ExitCode;

use serde_json::Value;

use crate::out::say;
use client::{Client, Unreachable, segment};

/// Look after the webhooks of a running server: state, parked deliveries, replays, trails
///
/// Talks to the admin API of the server (server.admin_listen). Every command prints a table, or with --json the answer
/// of the API. What went wrong is told on standard error.
///
/// Exit codes: 0 well; 1 refused, or what was asked for did not work out (a test or a replay that failed); 2 the command
/// line is wrong; 3 the server could not be asked (it is down, elsewhere, or wants another token).
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
    #[arg(long, global = true, env = "ROOMHOOK_ADMIN", default_value = "http://127.0.0.1:9090", value_name = "URL", value_parser = client::usable)]
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
    ///
    /// The replay runs in the server and goes on after a restart of it. Waits for its end unless told otherwise; Ctrl-C ends the
    /// waiting, not the replay.
    Replay(Replay),
    /// List replays, show one, or stop one
    Replays(Replays),
    /// Give up on a delivery that is parked or set aside
    Skip(Delivery),
    /// Try a delivery that is parked or set aside again, now
    Retry(Delivery),
    /// Send a test event and show what came of it
    Test(Endpoint),
    /// Tell why a message did or did not reach each endpoint
    Trail(Trail),
    /// Read the events an endpoint is owed, by cursor
    ///
    /// Prints bodies, one per line, and on standard error the cursor to go on with.
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
    /// How many at most, 1 to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
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
    #[arg(long = "to", id = "to_seq", value_name = "TO")]
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
    /// Events per second, 1 to 100000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    per_s: u32,
    /// Return at once, instead of waiting for the end
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, clap::Args)]
struct Replays {
    /// The number of one; all, if left out
    number: Option<u64>,
    /// Stop it for good
    #[arg(long, requires = "number")]
    stop: bool,
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
    /// How many at most, 1 to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on to the present end, answer by answer
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match dispatch(args).await {
        Err(error) if error.is::<Unreachable>() => {
            tell(format_args!("roomhook: {error:#}"));
            Ok(ExitCode::from(3))
        }
        done => done,
    }
}

async fn dispatch(args: Args) -> anyhow::Result<ExitCode> {
    let Args { remote, command } = args;
    let mut client = Client::new(&remote.admin, &remote.token)?;
    let ctx = &mut Context { client: &mut client, app: remote.app, json: remote.json };
    match command {
        Command::List => look::list(ctx).await,
        Command::Show(of) => look::show(ctx, &of.endpoint).await,
        Command::Pause(of) => act::change(ctx, &of.endpoint, "pause").await,
        Command::Resume(of) => act::change(ctx, &of.endpoint, "resume").await,
        Command::Parked(args) => look::parked(ctx, &args).await,
        Command::Replay(args) => replays::start(ctx, &args).await,
        Command::Replays(args) => replays::look(ctx, &args).await,
        Command::Skip(args) => act::settle(ctx, &args, "skip").await,
        Command::Retry(args) => act::settle(ctx, &args, "retry").await,
        Command::Test(of) => act::test(ctx, &of.endpoint).await,
        Command::Trail(args) => look::trail(ctx, &args).await,
        Command::Events(args) => look::events(ctx, &args).await,
    }
}

/// One line for the person, apart from what other programs read.
fn tell(line: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _closed = writeln!(std::io::stderr(), "{line}");
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
            [] => anyhow::bail!("{NO_ENDPOINTS}"),
            several => anyhow::bail!("several apps have endpoints, say which with --app: {several:?}"),
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

const NO_ENDPOINTS: &str = "no app has an endpoint yet: set one with live_config/set_callback, with [app.webhook] in the \
                            configuration, or with PUT /admin/api/apps/{app}/endpoints/{id}";

fn items<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer[name].as_array().into_iter().flatten()
}

const DONE: anyhow::Result<ExitCode> = Ok(ExitCode::SUCCESS);
