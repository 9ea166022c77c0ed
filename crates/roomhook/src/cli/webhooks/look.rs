//! Looking at endpoints, deliveries and events.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use super::{
    Context, DONE, Events, NO_ENDPOINTS, Parked, Trail, items, segment,
    table::{Table, age, answered, cell, phases},
    tell,
};
use crate::out::say;

pub(super) async fn list(ctx: &mut Context<'_>) -> anyhow::Result<ExitCode> {
    let path = ctx.app.map_or_else(|| "/endpoints".to_owned(), |app| format!("/apps/{app}/endpoints"));
    let answer = ctx.client.get(&path).await?;
    if ctx.is_told(&answer) {
        return DONE;
    }
    if items(&answer, "endpoints").next().is_none() {
        say!("{NO_ENDPOINTS}");
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
    items(&answer, "endpoints").for_each(remarks);
    DONE
}

/// What the table has no column for.
fn remarks(endpoint: &Value) {
    let (app, id) = (cell(&endpoint["app"]), cell(&endpoint["id"]));
    let some = |name: &str| endpoint["state"][name].as_u64().filter(|number| *number > 0);
    if let Some(skipped) = some("skipped") {
        say!("{id} of app {app}: of the expired, {skipped} were skipped, by its retry policy or by hand");
    }
    if let Some(lost) = some("lost_records") {
        say!(
            "{id} of app {app}: beside these, {lost} records were dropped by retention before it was known whether they were owed"
        );
    }
}

pub(super) async fn show(ctx: &mut Context<'_>, endpoint: &str) -> anyhow::Result<ExitCode> {
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
        say!("{name:<24} {}", shown(name, value));
    }
    let state = endpoint["state"].as_object();
    if state.is_none() {
        say!("{:<24} not running yet", "state");
    }
    let state = state.into_iter().flatten();
    for (name, value) in state.filter(|(name, value)| *name != "last_failure" && !value.is_null()) {
        say!("{:<24} {}", format!("state.{name}"), shown(name, value));
    }
}

/// Times as their distance from now.
fn shown(name: &str, value: &Value) -> String {
    let is_time = name.ends_with("_at") || name.ends_with("_since");
    if is_time { age(value) } else { cell(value) }
}

pub(super) fn attempts<'a>(attempts: impl Iterator<Item = &'a Value>) {
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

pub(super) async fn parked(ctx: &mut Context<'_>, args: &Parked) -> anyhow::Result<ExitCode> {
    let after = args.after.as_ref().map(|after| format!("&after={}", segment(after))).unwrap_or_default();
    let path = ctx.path(&args.of.endpoint, &format!("/parked?limit={}{after}", args.limit)).await?;
    let answer = ctx.client.get(&path).await?;
    if ctx.is_told(&answer) {
        return DONE;
    }
    if items(&answer, "deliveries").next().is_none() {
        say!("{}", if args.after.is_some() { "no more are parked" } else { "nothing is parked" });
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

pub(super) async fn trail(ctx: &mut Context<'_>, args: &Trail) -> anyhow::Result<ExitCode> {
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
        items(endpoint, "attempts").for_each(attempt);
    }
    if items(&answer, "endpoints").next().is_none() {
        say!("\nno endpoint of this app is running");
    }
    DONE
}

/// One attempt, with all that is known about it.
fn attempt(made: &Value) {
    let outcome = match (made["status"].as_u64(), made["problem"].as_str()) {
        (Some(status), Some(problem)) if !problem.contains(&status.to_string()) => format!("{status}, {problem}"),
        (_, Some(problem)) => problem.to_owned(),
        (Some(status), None) => format!("answered {status}"),
        (None, None) => "no answer".to_owned(),
    };
    let probe = if made["probe"] == true { ", a probe" } else { "" };
    say!("  try {}{probe}, {}: {}", cell(&made["attempt"]), age(&made["ended_at"]), cell(&outcome.into()));
    say!("    took    {}", phases(&made["timings"]));
    if let Some(text) = made["answer"].as_str().filter(|text| !text.is_empty()) {
        say!("    answer  {}", answered(text));
    }
}

pub(super) async fn events(ctx: &mut Context<'_>, args: &Events) -> anyhow::Result<ExitCode> {
    let mut cursor = args.after.clone();
    loop {
        let after = cursor.as_ref().map(|after| format!("&after={}", segment(after))).unwrap_or_default();
        let path = ctx.path(&args.of.endpoint, &format!("/events?limit={}{after}", args.limit)).await?;
        let answer = ctx.client.get(&path).await?;
        let next = answer["next"].as_str().context("an answer without a cursor")?.to_owned();
        let (is_last, at_end) = (!args.all || answer["at_end"] == true, answer["at_end"] == true);
        if !ctx.is_told(&answer) {
            // Bodies, one per line, for other programs; the cursor is for the person.
            for event in items(&answer, "events") {
                say!("{}", event["body"].as_str().context("an event without a body")?);
            }
            if is_last {
                let more = if at_end { "that was all for now; go on" } else { "there may be more; go on" };
                tell(format_args!("{more} with --after {next}"));
            }
        }
        if is_last {
            return DONE;
        }
        cursor = Some(next);
    }
}
