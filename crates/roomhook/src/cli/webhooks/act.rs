//! Steering endpoints and deliveries.

use std::process::ExitCode;

use serde_json::json;

use super::{
    Context, DONE, Delivery,
    table::{answered, cell, phases},
};
use crate::out::say;

pub(super) async fn change(ctx: &mut Context<'_>, endpoint: &str, what: &str) -> anyhow::Result<ExitCode> {
    let path = ctx.path(endpoint, &format!("/{what}")).await?;
    let answer = ctx.client.post(&path, &json!({})).await?;
    if !ctx.is_told(&answer) {
        let pending = cell(&answer["state"]["pending"]);
        // How a resumed one is doing is not known yet: its tries have just begun.
        match what {
            "pause" => say!("{endpoint}: paused by hand, {pending} pending; `roomhook webhooks resume` ends that"),
            _ => say!("{endpoint}: tries again now, {pending} pending; `roomhook webhooks show` tells how that goes"),
        }
    }
    DONE
}

pub(super) async fn settle(ctx: &mut Context<'_>, args: &Delivery, what: &str) -> anyhow::Result<ExitCode> {
    let path = ctx.path(&args.endpoint, &format!("/{what}")).await?;
    let answer = ctx.client.post(&path, &json!({ "delivery": args.delivery })).await?;
    if !ctx.is_told(&answer) {
        let done = if what == "skip" { "given up, counted as expired (skipped)" } else { "is tried again" };
        say!("{}: {done}", args.delivery);
    }
    DONE
}

pub(super) async fn test(ctx: &mut Context<'_>, endpoint: &str) -> anyhow::Result<ExitCode> {
    let path = ctx.path(endpoint, "/test").await?;
    let answer = ctx.client.post(&path, &json!({})).await?;
    let is_well = answer["status"].as_u64().is_some_and(|status| (200..300).contains(&status));
    if !ctx.is_told(&answer) {
        match answer["problem"].as_str() {
            Some(problem) if is_well => say!("{endpoint}: answered {}, but {problem}", cell(&answer["status"])),
            Some(problem) => say!("{endpoint}: {problem}"),
            None => say!("{endpoint}: answered {}", cell(&answer["status"])),
        }
        say!("  took    {}", phases(&answer["timings"]));
        if let Some(text) = answer["answer"].as_str().filter(|text| !text.is_empty()) {
            say!("  answer  {}", answered(text));
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
