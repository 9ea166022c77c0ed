//! Who is there, who comes, who goes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use roomhook_e2e::sdk::{Flavour, Sdk, channel};
use roomhook_e2e::server::Setup;
use serde_json::json;

use super::members_of;
use crate::lobby;

#[tokio::test]
async fn every_sdk_sees_who_is_there() -> Result<()> {
    let server = Setup::default().start().await?;
    lobby(&server).await?;
    let room = json!({"channel": channel("lobby")});
    let mut members = members_of("lobby", server.address()).await?;
    let twin_of = Flavour::JsJson.user();
    let mut twin = Sdk::connected(Flavour::PythonProtobuf, server.address(), &twin_of).await?;
    twin.join("lobby").await?;
    members.push(twin);

    let mut told = Vec::new();
    for member in &mut members {
        let counts = member.must("presence_stats", room.clone()).await?;
        assert_eq!(counts, json!({"clients": 5, "users": 4}), "{}", member.flavour());
        told.push(member.must("presence", room.clone()).await?);
    }
    let there: BTreeMap<String, String> = serde_json::from_value(told[0].clone())?;
    assert_eq!(there.len(), 5, "one entry for each connection");
    let users: BTreeSet<&String> = there.values().collect();
    assert_eq!(users, Flavour::ALL.map(Flavour::user).iter().collect());
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");

    let mut twin = members.pop().context("the twin")?;
    twin.must("unsubscribe", room.clone()).await?;
    twin.event("unsubscribed").await?;
    assert_eq!(twin.refused("presence", room.clone()).await?.code, 103, "it has left");
    // Leaving and counting go by different connections; the count follows.
    for member in &mut members {
        loop {
            let counts = member.must("presence_stats", room.clone()).await?;
            if counts == json!({"clients": 4, "users": 4}) {
                break;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn whoever_asked_for_it_sees_others_come_and_go() -> Result<()> {
    let server = Setup::default().start().await?;
    lobby(&server).await?;
    let mut watchers = Vec::new();
    for flavour in Flavour::ALL {
        let mut watcher = Sdk::connected(flavour, server.address(), flavour.user()).await?;
        watcher.must("subscribe", json!({"channel": channel("lobby"), "join_leave": true})).await?;
        watcher.event("subscribed").await?;
        watchers.push(watcher);
    }
    for flavour in [Flavour::JsProtobuf, Flavour::PythonJson] {
        let mut visitor = Sdk::connected(flavour, server.address(), "visitor").await?;
        visitor.join("lobby").await?;
        match flavour {
            Flavour::JsProtobuf => drop(visitor.must("unsubscribe", json!({"channel": channel("lobby")})).await?),
            _ => drop(visitor), // the process is killed: nobody says goodbye
        }
    }
    for watcher in &mut watchers {
        for event in ["join", "leave", "join", "leave"] {
            let told = loop {
                let told = watcher.event(event).await?;
                if told["user"] == "visitor" {
                    break told;
                }
            };
            assert_eq!(told["channel"], "room:lobby");
            assert!(told["client"].as_str().is_some_and(|client| !client.is_empty()), "{told}");
        }
    }
    Ok(())
}
