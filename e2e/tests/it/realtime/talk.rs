//! Messages: from whom they may come, to whom they go, and that they are the same for everybody.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use roomhook_e2e::receiver::Receiver;
use roomhook_e2e::sdk::{Flavour, Options, Publication, Sdk, channel};
use roomhook_e2e::server::{Server, Setup};
use roomhook_e2e::{SDKAPPID, rest};
use serde_json::{Value, json};

use super::members_of;
use crate::lobby;

/// The platform that a client names when it connects, and what of that becomes known.
fn platform(flavour: Flavour) -> (Option<Value>, &'static str) {
    match flavour {
        Flavour::JsJson => (Some(json!({"OptPlatform": "Web", "theirs": [1, null]})), "Web"),
        Flavour::JsProtobuf => (Some(json!({"OptPlatform": "iPad"})), "iPad"),
        Flavour::PythonJson => (Some(json!({"OptPlatform": "Toaster"})), "Unknown"),
        Flavour::PythonProtobuf | Flavour::Browser => (None, "Unknown"),
    }
}

/// What each client says, and the `MsgBody` and `CloudCustomData` that this is for everybody.
fn line(flavour: Flavour) -> (Value, Value, &'static str) {
    let text = |text: &str| json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}]);
    match flavour {
        Flavour::JsJson => (json!({"Text": "hi"}), text("hi"), ""),
        Flavour::JsProtobuf => {
            let body = text("two lines\nwith \"quotes\", a \\, \u{2028}, ünïcödé, 你好, \u{1f600} and </script>");
            (json!({"MsgBody": body, "CloudCustomData": "{\"a\":\n1}", "Random": 7}), body, "{\"a\":\n1}")
        }
        Flavour::PythonJson => {
            let body = text("two lines\nwith \"quotes\", a \\, \u{2028}, ünïcödé, 你好, \u{1f600} and </script>");
            (json!({"MsgBody": body, "MsgPriority": "High"}), body, "")
        }
        Flavour::PythonProtobuf | Flavour::Browser => {
            let custom =
                json!({"MsgType": "TIMCustomElem", "MsgContent": {"Data": "{\"n\": 1.50}", "Desc": "", "Ext": "x"}});
            let body = json!([text("look")[0], custom]);
            (json!({"MsgBody": body, "CloudCustomData": "mine"}), body, "mine")
        }
    }
}

#[tokio::test]
async fn what_anybody_says_reaches_every_sdk_and_the_webhook_alike() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let server = Setup::webhook(receiver.url()).start().await?;
    let mut backend = lobby(&server).await?;
    let mut members = Vec::new();
    for flavour in Flavour::ALL {
        let token = rest::usersig_of(&flavour.user());
        let options = Options { token, data: platform(flavour).0, ..Options::default() };
        let mut member = Sdk::start(flavour, server.address(), options).await?;
        member.connect().await?;
        let joined = member.join("lobby").await?;
        assert_eq!(joined["position"]["offset"], 0, "{joined}");
        assert_eq!(
            (&joined["data"]["Room"]["RoomId"], &joined["data"]["Me"]["Role"]),
            (&json!("lobby"), &json!("Member"))
        );
        members.push(member);
    }

    backend.text("lobby", "ana_k", "by REST").await?;
    for member in &mut members {
        let (data, ..) = line(member.flavour());
        member.must("publish", json!({"channel": channel("lobby"), "data": data})).await?;
    }

    let webhooks = receiver.take(5).await?;
    let mut heard = Vec::new();
    for member in &mut members {
        heard.push((member.flavour(), member.publications(5).await?));
    }
    let (_, first) = heard.first().context("members")?;
    for (flavour, publications) in &heard {
        assert_eq!(publications, first, "{flavour} hears what the first one does");
    }
    for (publication, (webhook, seq)) in first.iter().zip(webhooks.iter().zip(1_u64..)) {
        let (data, body) = (&publication.data, &webhook.body);
        assert_eq!((publication.offset, data["MsgSeq"].as_u64()), (seq, Some(seq)));
        assert_eq!((data["Event"].as_str(), webhook.seq()), (Some("Message"), seq));
        let names: BTreeSet<&str> = data.as_object().context("an object")?.keys().map(String::as_str).collect();
        let documented =
            ["Event", "MsgId", "MsgSeq", "MsgTime", "From_Account", "Random", "MsgBody", "CloudCustomData"];
        assert_eq!(names, BTreeSet::from(documented), "{data}");
        for name in documented.into_iter().skip(1) {
            assert_eq!(data[name], body[name], "{name} of message {seq}");
        }
    }
    for ((flavour, said), webhook) in Flavour::ALL.into_iter().zip(&first[1..]).zip(&webhooks[1..]) {
        let (_, body, custom_data) = line(flavour);
        assert_eq!((&said.data["MsgBody"], &said.data["CloudCustomData"]), (&body, &json!(custom_data)), "{flavour}");
        let (from, operator) = (&webhook.body["From_Account"], &webhook.body["Operator_Account"]);
        assert_eq!((from, operator), (&json!(flavour.user()), &json!(flavour.user())));
        let known = (webhook.param("OptPlatform"), webhook.param("ClientIP"));
        assert_eq!(known, (Some(platform(flavour).1), Some("127.0.0.1")), "{flavour}");
        assert_eq!(webhook.param("SdkAppid"), Some(SDKAPPID.to_string().as_str()));
    }
    assert_eq!(first[2].data["Random"], 7, "the sender's own");
    Ok(())
}

/// Number, `info.user` and `info.client`, as an app reads them.
fn whose(heard: &[Publication]) -> Vec<(u64, &str, &str)> {
    const NONE: &str = "no info";
    heard
        .iter()
        .map(|said| (said.offset, said.user.as_deref().unwrap_or(NONE), said.client.as_deref().unwrap_or(NONE)))
        .collect()
}

#[tokio::test]
async fn a_client_tells_its_own_words_from_those_of_others() -> Result<()> {
    let mut server = Setup::default().start().await?;
    let mut backend = lobby(&server).await?;
    let mut members = Vec::new();
    let mut expected = vec![(1, "ana_k".to_owned(), String::new())];
    for (flavour, seq) in Flavour::ALL.into_iter().zip(2..) {
        // One user with four connections, so that the user alone does not tell them apart.
        let options = Options { token: rest::usersig_of("ben"), ..Options::default() };
        let mut member = Sdk::start(flavour, server.address(), options).await?;
        member.connect().await?;
        let client = member.event("connected").await?["client"].as_str().context("a client id")?.to_owned();
        member.join("lobby").await?;
        expected.push((seq, "ben".to_owned(), client));
        members.push(member);
    }
    let expected: Vec<_> = expected.iter().map(|(seq, user, client)| (*seq, user.as_str(), client.as_str())).collect();

    backend.text("lobby", "ana_k", "by REST").await?;
    for member in &mut members {
        member.must("publish", json!({"channel": channel("lobby"), "data": {"Text": "mine"}})).await?;
    }
    for member in &mut members {
        let flavour = member.flavour();
        assert_eq!(whose(&member.publications(5).await?), expected, "{flavour}, live");
        assert_eq!(whose(&member.history("lobby", json!({"limit": -1})).await?), expected, "{flavour}, asked for");
    }

    server.kill_9().await?;
    server.start_again().await?;
    for member in &mut members {
        let flavour = member.flavour();
        member.event("subscribed").await?;
        assert_eq!(whose(&member.history("lobby", json!({"limit": -1})).await?), expected, "{flavour}, from the disk");
    }
    Ok(())
}

async fn delivered_bytes(server: &Server) -> Result<f64> {
    let (_, metrics) = server.admin_get("/metrics").await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix("roomhook_realtime_delivered_bytes_total "));
    Ok(value.context("a metric")?.parse()?)
}

/// permessage-deflate, with four implementations of it that are not ours.
#[tokio::test]
async fn compressed_messages_reach_every_sdk_as_they_were() -> Result<()> {
    let sections = "[realtime]\ndeflate = true\ndeflate_min_bytes = \"1B\"".to_owned();
    let server = Setup { sections, ..Setup::default() }.start().await?;
    let mut backend = lobby(&server).await?;
    let mut members = members_of("lobby", server.address()).await?;
    let long = "well compressible, 你好. ".repeat(300);
    for (text, length) in [(long.as_str(), long.len()), ("short", 5), (long.as_str(), long.len())] {
        let before = delivered_bytes(&server).await?;
        backend.text("lobby", "ana_k", text).await?;
        for member in &mut members {
            let heard = member.publications(1).await?.remove(0);
            assert_eq!(heard.data["MsgBody"][0]["MsgContent"]["Text"], text, "{}", member.flavour());
        }
        let delivered = delivered_bytes(&server).await? - before;
        let each = delivered / members.len() as f64;
        assert!(each < 600.0 && each > 50.0, "{length} bytes of text became {each} on the wire");
    }
    for member in &mut members {
        let said = "a client compresses, too. ".repeat(200);
        member.must("publish", json!({"channel": channel("lobby"), "data": {"Text": said}})).await?;
        let heard = member.publications(1).await?.remove(0);
        assert_eq!(heard.data["MsgBody"][0]["MsgContent"]["Text"], said.as_str(), "{}", member.flavour());
    }
    Ok(())
}

#[tokio::test]
async fn room_send_tells_the_number_and_the_same_random_is_one_message() -> Result<()> {
    let server = Setup::default().start().await?;
    lobby(&server).await?;
    let mut members = members_of("lobby", server.address()).await?;
    for (member, seq) in members.iter_mut().zip(1_u64..) {
        let message = json!({"method": "room.send", "data": {"RoomId": "lobby", "Text": "once", "Random": 7}});
        let receipt = member.must("rpc", message.clone()).await?;
        assert_eq!(receipt["MsgSeq"], seq, "{receipt}");
        let msg_id = receipt["MsgId"].as_str().context("MsgId")?;
        assert!(msg_id.ends_with("-7") && receipt["MsgTime"].is_u64(), "{receipt}");
        assert_eq!(member.must("rpc", message).await?, receipt, "{}: a repeat gets the same receipt", member.flavour());
    }
    for member in &mut members {
        let offsets: Vec<u64> = member.publications(4).await?.iter().map(|heard| heard.offset).collect();
        assert_eq!(offsets, [1, 2, 3, 4]);
        let flavour = member.flavour();
        let unknown = member.refused("rpc", json!({"method": "room.sing", "data": {}})).await?;
        assert_eq!(unknown.code, 104, "{flavour}: {unknown:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_is_refused_as_documented() -> Result<()> {
    let server = Setup::default().start().await?;
    let mut backend = lobby(&server).await?;
    let quiet = json!({"RoomInfo": {"RoomId": "quiet", "RoomType": "Live", "IsMessageDisabled": true}});
    backend.ok("live_engine_http_srv/create_room", &quiet).await?;
    let mut members = members_of("lobby", server.address()).await?;
    let publish = |room: &str, data: Value| json!({"channel": channel(room), "data": data});
    for member in &mut members {
        let flavour = member.flavour();
        member.must("subscribe", json!({"channel": channel("nowhere")})).await?;
        let end = member.event("unsubscribed").await?;
        assert_eq!((&end["channel"], &end["code"]), (&json!("room:nowhere"), &json!(102)), "{flavour}: {end}");

        for (what, data, code) in [
            ("nothing to say", json!({"Nonsense": 1}), 107),
            ("no object", json!(["hi"]), 107),
            ("no elements", json!({"MsgBody": []}), 107),
            ("too long", json!({"Text": "x".repeat(20_000)}), 1413),
        ] {
            let refusal = member.refused("publish", publish("lobby", data)).await?;
            assert_eq!(refusal.code, code, "{flavour}: {what}: {refusal:?}");
            assert!(!refusal.message.is_empty());
        }
        let refusal = member.refused("publish", publish("attic", json!({"Text": "hi"}))).await?;
        assert_eq!(refusal.code, 103, "{flavour}: not a member: {refusal:?}");
    }

    for (member, seq) in members.iter_mut().zip(1..) {
        let flavour = member.flavour();
        member.join("quiet").await?;
        let refusal = member.refused("publish", publish("quiet", json!({"Text": "hello?"}))).await?;
        assert_eq!(refusal.code, 1403, "{flavour}: messages are disabled: {refusal:?}");
        member.must("publish", publish("lobby", json!({"Text": "hi"}))).await?;
        let heard = member.publications(seq).await?;
        assert_eq!(
            heard.last().map(|heard| heard.offset),
            Some(seq as u64),
            "{flavour}: what is refused takes no number"
        );
    }
    Ok(())
}
