//! Sending again: starting a replay, waiting for it, looking at those there are.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{
    Context, DONE, Replay, Replays, items, look,
    table::{Table, age, cell},
    tell, when,
};
use crate::out::say;

/// Between two looks at a replay that is being waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn start(ctx: &mut Context<'_>, args: &Replay) -> anyhow::Result<ExitCode> {
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
    let number = cell(&state["replay"]);
    let path = format!("/replays/{number}");
    let mut told = None;
    if !args.no_wait {
        tell(format_args!(
            "replay {number} runs in the server, also without this command (roomhook webhooks replays {number})"
        ));
    }
    while state["status"] == "running" && !args.no_wait {
        tokio::time::sleep(LOOK_AGAIN).await;
        let lost = || format!("cannot see how replay {number} ends; it goes on in the server");
        state = ctx.client.get(&path).await.with_context(lost)?;
        let waits_for = state["reason"].as_str().filter(|_| state["status"] == "running").map(str::to_owned);
        if waits_for != told
            && let Some(reason) = &waits_for
        {
            tell(format_args!("replay {number} waits: {}", cell(&reason.as_str().into())));
        }
        told = waits_for;
    }
    if !ctx.is_told(&state) {
        tell_one(&state);
    }
    Ok(exit_code(&state))
}

pub(super) async fn look(ctx: &mut Context<'_>, args: &Replays) -> anyhow::Result<ExitCode> {
    let Some(number) = args.number else { return list(ctx).await };
    let path = format!("/replays/{number}");
    let state = if args.stop { ctx.client.delete(&path).await? } else { ctx.client.get(&path).await? };
    if !ctx.is_told(&state) {
        tell_one(&state);
    }
    Ok(if args.stop { ExitCode::SUCCESS } else { exit_code(&state) })
}

async fn list(ctx: &mut Context<'_>) -> anyhow::Result<ExitCode> {
    let answer = ctx.client.get("/replays").await?;
    if ctx.is_told(&answer) {
        return DONE;
    }
    let app = ctx.app;
    let mut replays = items(&answer, "replays").filter(|state| app.is_none_or(|app| state["app"] == app)).peekable();
    if replays.peek().is_none() {
        say!("there are no replays");
        return DONE;
    }
    let mut table = Table::new(&[
        "REPLAY",
        "APP",
        "ENDPOINT",
        "WHAT",
        "TO",
        "STATUS",
        "STARTED",
        "ACKNOWLEDGED",
        "REQUEUED",
        "FAILED",
        "GONE",
    ]);
    for state in replays {
        let done = &state["progress"];
        table.row([
            cell(&state["replay"]),
            cell(&state["app"]),
            cell(&state["endpoint"]),
            what(&state["what"]),
            cell(&state["to"]),
            cell(&state["status"]),
            age(&state["started_at"]),
            cell(&done["acknowledged"]),
            cell(&done["requeued"]),
            cell(&done["failed"]),
            cell(&done["gone"]),
        ]);
    }
    table.print();
    DONE
}

/// What a replay sends, in a few words.
fn what(what: &Value) -> String {
    if let Some(delivery) = what["delivery"].as_str() {
        return cell(&delivery.into());
    }
    if what["messages"].is_object() {
        let range = &what["messages"];
        return format!("{} {}..{}", cell(&range["room"]), cell(&range["from"]), cell(&range["to"]));
    }
    if what["time"].is_object() {
        return format!("{} to {}", age(&what["time"]["from_ms"]), age(&what["time"]["to_ms"]));
    }
    "parked".to_owned()
}

fn tell_one(state: &Value) {
    let done = &state["progress"];
    let reason = state["reason"].as_str().map(|reason| format!(": {}", cell(&reason.into()))).unwrap_or_default();
    let not_owed = done["not_owed"].as_u64().filter(|count| *count > 0);
    let not_owed = not_owed.map(|count| format!(", {count} not for this endpoint")).unwrap_or_default();
    say!(
        "replay {}: {}{reason}; {} acknowledged, {} requeued, {} failed, {} gone{not_owed}",
        cell(&state["replay"]),
        cell(&state["status"]),
        cell(&done["acknowledged"]),
        cell(&done["requeued"]),
        cell(&done["failed"]),
        cell(&done["gone"]),
    );
    if items(done, "failures").next().is_some() {
        look::attempts(items(done, "failures"));
    }
}

/// Well, as far as one can tell yet.
fn exit_code(state: &Value) -> ExitCode {
    let is_well = state["status"] == "running" || (state["status"] == "done" && state["progress"]["failed"] == 0);
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
