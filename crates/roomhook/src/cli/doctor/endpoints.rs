//! Looks at all endpoints there are: those that the store knows, and those of the file that it does not know yet.

use std::{net::IpAddr, sync::Arc};

use anyhow::Context as _;
use roomhook_log_disk::{OpenError, Opened, Rehearsal};
use serde_json::Value;

use super::{
    Finding::{self, Note},
    checks,
};
use crate::{
    cli::webhooks::client::Client,
    config::{self, Config},
};

/// An endpoint, as far as it is looked at.
#[derive(Debug)]
struct Known {
    app: u32,
    id: String,
    url: String,
    /// What a running server says of it, if that is not good.
    ails: Option<(String, String)>,
}

/// One finding or more for each endpoint.
pub(super) async fn all(config: &Config, rehearsed: Result<Rehearsal, OpenError>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let known = match known(config, rehearsed).await {
        Ok(known) => known,
        Err((what, advice)) => {
            findings.push(Note(what, advice));
            Vec::new()
        }
    };
    for Known { app, id, url, ails } in &known {
        let name = format!("{id} of app {app}");
        if url.is_empty() {
            findings.push(Note(
                format!("{name} has no URL: nothing is owed to it"),
                "give it one (live_config/update_callback, or the admin API), or delete it".to_owned(),
            ));
            continue;
        }
        findings.push(checks::endpoint(&name, url, config).await);
        findings.extend(ails.clone().map(|(what, advice)| Note(format!("{name}: {what}"), advice)));
    }
    for app in &config.app {
        findings.extend(of_file(app, &known, config).await);
    }
    findings
}

/// The webhook in the file, where the store has none for the app, or another.
async fn of_file(app: &config::App, known: &[Known], config: &Config) -> Option<Finding> {
    let webhook = app.webhook.as_ref()?;
    match known.iter().find(|known| known.app == app.sdkappid && known.id == "default") {
        None => Some(checks::endpoint(&format!("of app {}, in the file", app.sdkappid), &webhook.url, config).await),
        Some(known) if known.url != webhook.url => Some(Note(
            format!("app {} has {} now, the file says {}", app.sdkappid, known.url, webhook.url),
            "fine if it was changed at run time; the file wins again once its [app.webhook] is edited".to_owned(),
        )),
        Some(_) => None,
    }
}

/// From the server that runs, or else from its store.
async fn known(config: &Config, rehearsed: Result<Rehearsal, OpenError>) -> Result<Vec<Known>, (String, String)> {
    match rehearsed {
        Err(OpenError::InUse { .. }) => served(config).await.map_err(|error| {
            let admin = config.server.admin_listen;
            (
                format!("a server uses the store, but what endpoints it has cannot be asked at {admin}: {error:#}"),
                "run doctor with the configuration of that server (server.admin_listen, admin.token)".to_owned(),
            )
        }),
        Ok(Rehearsal::Works(opened)) => stored(opened).await.map_err(|error| {
            (format!("the endpoints in the store cannot be read: {error:#}"), "see what a start says".to_owned())
        }),
        // There is none, or it is told elsewhere what is wrong with it.
        Ok(Rehearsal::Nothing | Rehearsal::Unfinished) | Err(_) => Ok(Vec::new()),
    }
}

async fn stored(opened: Opened) -> anyhow::Result<Vec<Known>> {
    let endpoints = roomhook_shard::stored_endpoints(opened.log() as _).await;
    opened.close().await.context("removing the copy of the store")?;
    let known = |endpoint: &Arc<roomhook_room::Endpoint>| Known {
        app: endpoint.app.0,
        id: endpoint.id.0.clone(),
        url: endpoint.url.clone(),
        ails: None,
    };
    Ok(endpoints?.iter().map(known).collect())
}

async fn served(config: &Config) -> anyhow::Result<Vec<Known>> {
    let mut admin = config.server.admin_listen;
    if admin.ip().is_unspecified() {
        admin.set_ip(match admin.ip() {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        });
    }
    let mut client = Client::new(&format!("http://{admin}"), config.admin.token.expose())?;
    let answer = client.get("/endpoints").await?;
    let endpoints = answer["endpoints"].as_array().context("the answer has no endpoints")?;
    Ok(endpoints.iter().filter_map(of_answer).collect())
}

fn of_answer(endpoint: &Value) -> Option<Known> {
    let text = |name: &str| endpoint[name].as_str().map(str::to_owned);
    let (app, id) = (u32::try_from(endpoint["app"].as_u64()?).ok()?, text("id")?);
    let state = &endpoint["state"];
    let ails = match (state["mode"].as_str(), state["parked"].as_u64()) {
        (Some("paused"), _) => Some((
            format!("it failed as a whole, and only probes go to it ({})", state["reason"].as_str().unwrap_or("?")),
            format!("mend the receiver, then: roomhook webhooks resume {id}"),
        )),
        (Some("paused_by_hand"), _) => {
            Some(("somebody paused it".to_owned(), format!("when it may go on: roomhook webhooks resume {id}")))
        }
        (_, Some(parked)) if parked > 0 => Some((
            format!("{parked} deliveries are parked"),
            format!("look at them with: roomhook webhooks parked {id}; then replay or skip them"),
        )),
        _ => None,
    };
    Some(Known { app, id, url: text("url")?, ails })
}
