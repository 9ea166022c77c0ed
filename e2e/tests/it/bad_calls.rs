//! Calls that nobody should make, at the real listener. Each gets the documented code, on a connection that goes on working.

use anyhow::{Context as _, Result};
use hyper::{Method, StatusCode};
use roomhook_e2e::rest::{Client, usersig_of};
use roomhook_e2e::server::Setup;
use roomhook_e2e::{ADMIN, SDKAPPID};
use serde_json::{Value, json};

async fn post(client: &mut Client, path: &str, body: impl Into<Vec<u8>>) -> Result<Value> {
    let (status, answer) = client.send(Method::POST, path, body.into().into()).await?;
    assert_eq!(status, StatusCode::OK, "{path}");
    serde_json::from_slice(&answer).with_context(|| format!("{path}: {}", String::from_utf8_lossy(&answer)))
}

#[tokio::test]
async fn a_command_that_is_not_served_is_named() -> Result<()> {
    let server = Setup::default().start().await?;
    let mut client = server.client().await?;
    for command in [
        "live_engine_http_srv/mute_member",
        "im_open_login_svc/kick",
        "live_engine_http_srv/no_such_thing",
        "what/ever",
    ] {
        let answer = client.call(command, &json!({})).await?;
        assert_eq!((&answer["ErrorCode"], &answer["ActionStatus"]), (&json!(60009), &json!("FAIL")), "{command}");
        let name = command.rsplit('/').next().unwrap_or_default();
        assert!(answer["ErrorInfo"].as_str().unwrap_or_default().contains(name), "{command}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn each_mistake_has_its_code_and_the_connection_survives() -> Result<()> {
    let server = Setup::default().start().await?;
    let mut client = server.client().await?;
    let query =
        format!("sdkappid={SDKAPPID}&identifier={ADMIN}&usersig={}&random=1&contenttype=json", usersig_of(ADMIN));
    let create = "/v4/live_engine_http_srv/create_room";
    for (path, body, code) in [
        (format!("{create}?{query}"), &b"{\"RoomInfo\":"[..], 60003),
        (format!("{create}?{query}"), b"\xff\xfe", 60003),
        (format!("{create}?{query}"), b"[]", 100_002),
        (format!("{create}?{query}"), b"{}", 100_002),
        (create.to_owned(), b"{}", 60012),
        (format!("{create}?{}", query.replace("1400000001", "1400000002")), b"{}", 60006),
        (format!("{create}?{}", query.replace("&identifier=administrator", "")), b"{}", 60004),
        (format!("{create}?{}", query.replace("identifier=administrator", "identifier=ana_k")), b"{}", 70013),
    ] {
        let answer = post(&mut client, &path, body).await?;
        assert_eq!(answer["ErrorCode"], code, "{path} {}: {answer}", String::from_utf8_lossy(body));
        assert_eq!(answer["ActionStatus"], "FAIL");
    }
    client.create_room("lobby").await?;
    Ok(())
}

#[tokio::test]
async fn a_huge_or_deep_body_ends_in_an_answer_not_in_silence() -> Result<()> {
    let server = Setup::default().start().await?;
    let deep = format!("{{\"RoomInfo\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let answer = server.client().await?.call("live_engine_http_srv/create_room", &Value::String(deep.clone())).await?;
    assert_ne!(answer["ErrorCode"], 0);
    let path = format!(
        "/v4/live_engine_http_srv/create_room?sdkappid={SDKAPPID}&identifier={ADMIN}&usersig={}&random=1&contenttype=json",
        usersig_of(ADMIN)
    );
    assert_ne!(post(&mut server.client().await?, &path, deep).await?["ErrorCode"], 0);

    // The server may hang up before it has read ten megabytes, and that is an answer too.
    let huge = server.client().await?.send(Method::POST, &path, vec![b' '; 10 << 20].into()).await;
    if let Ok((_, answer)) = huge {
        assert_ne!(serde_json::from_slice::<Value>(&answer)?["ErrorCode"], 0);
    }
    server.client().await?.create_room("lobby").await
}
