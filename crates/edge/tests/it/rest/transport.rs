//! The call format over real connections: HTTP/1.1 as SDKs send it, HTTP/2, framing of every kind.

use std::sync::Arc;

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::{World, query};

const INFO: &str = "/v4/live_engine_http_srv/get_room_info";

/// Writes these bytes and reads until the server closes.
async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn code_in(answer: &str) -> i64 {
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_else(|| panic!("no body in {answer:?}"));
    serde_json::from_str::<Value>(body).unwrap_or_else(|_| panic!("{answer:?}"))["ErrorCode"].as_i64().unwrap()
}

#[tokio::test]
async fn http2_works_on_the_same_port() {
    let world = World::with_lobby().await;
    let stream = TcpStream::connect(world.addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let uri = format!("http://{}{INFO}?{}", world.addr, query());
    let request = || {
        let body = Full::new(bytes::Bytes::from_static(br#"{"RoomId":"lobby"}"#));
        Request::builder().method(Method::POST).uri(&uri).body(body).unwrap()
    };
    let (one, two) = (sender.send_request(request()), sender.send_request(request()));
    for response in [one.await.unwrap(), two.await.unwrap()] {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["ErrorCode"], 0);
    }
    drop(sender);
    connection.await.unwrap().unwrap();
    world.stop().await;
}

#[tokio::test]
async fn a_call_that_can_be_read_in_two_ways_is_refused_before_it_is_a_call() {
    let world = World::with_lobby().await;
    let body = r#"{"RoomId":"lobby"}"#;
    let length = format!("content-length: {}", body.len());
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (headers, body, status) in [
        (format!("host: x\r\nconnection: close\r\n{length}"), body, "200"),
        (length.clone(), body, "400"),
        (format!("host: x\r\nhost: y\r\n{length}"), body, "400"),
        ("host: x\r\ntransfer-encoding: gzip, chunked".to_owned(), &chunks, "501"),
    ] {
        let request = format!("POST {INFO}?{} HTTP/1.1\r\n{headers}\r\n\r\n{body}", query());
        let answer = raw(&world, request.as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{headers}: {answer}");
    }
    world.stop().await;
}

#[tokio::test]
async fn mounted_in_a_router_it_answers_the_same() {
    let world = World::with_lobby().await;
    let router = roomhook_edge::rest::router(Arc::clone(&world.rest));
    for (room, code) in [("lobby", 0), ("nowhere", 100_004)] {
        let body = axum::body::Body::from(format!(r#"{{"RoomId":"{room}"}}"#));
        let request = Request::post(format!("{INFO}?{}", query())).body(body).unwrap();
        let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["ErrorCode"], code);
    }
    world.stop().await;
}

#[tokio::test]
async fn paths_of_others_are_theirs() {
    let world = World::new().await;
    let answer = raw(&world, b"GET /console/ HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn bodies_may_come_in_chunks_and_requests_in_a_pipeline() {
    let world = World::with_lobby().await;
    let head = format!("POST {INFO}?{} HTTP/1.1\r\nhost: h\r\n", query());
    let chunked = format!(
        "{head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{{\"RoomId\r\na\r\n\":\"lobby\"}}\r\n0\r\n\r\n"
    );
    assert_eq!(code_in(&raw(&world, chunked.as_bytes()).await), 0);
    let one = format!("{head}content-length: 18\r\n\r\n{{\"RoomId\":\"lobby\"}}");
    let last = one.replacen("host: h", "host: h\r\nconnection: close", 1);
    let answers = raw(&world, format!("{one}{one}{last}").as_bytes()).await;
    assert_eq!(answers.matches("\"ErrorCode\":0").count(), 3);
    world.stop().await;
}

#[tokio::test]
async fn other_content_types_and_old_versions_are_served() {
    let world = World::with_lobby().await;
    let head = format!("POST {INFO}?{} HTTP/1.0\r\ncontent-type: text/plain; charset=gbk\r\n", query());
    let old = format!("{head}content-length: 18\r\n\r\n{{\"RoomId\":\"lobby\"}}");
    assert_eq!(code_in(&raw(&world, old.as_bytes()).await), 0);
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_http_ends_that_connection_and_no_other() {
    let world = World::with_lobby().await;
    let mut good = world.client().await;
    let head = format!("POST {INFO}?{} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n", query());
    for bytes in [
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"POST /v4/\xff\xfe HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(100),
        format!("{head}content-length: abc\r\n\r\n").into_bytes(),
        format!("{head}content-length: 5\r\ncontent-length: 6\r\n\r\n{{}}").into_bytes(),
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes(),
        format!("{head}x: {}\r\n\r\n", "y".repeat(200_000)).into_bytes(),
        format!("{head}{}\r\n", "a: b\r\n".repeat(1000)).into_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage instead of frames".to_vec(),
    ] {
        let answer = raw(&world, &bytes).await;
        assert!(!answer.contains("\"ErrorCode\":0"), "{answer}");
    }
    assert_eq!(good.call("live_engine_http_srv/get_room_info", r#"{"RoomId":"lobby"}"#).await["ErrorCode"], 0);
    world.stop().await;
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_answered_without_being_sent() {
    let world = World::with_lobby().await;
    let head = format!("POST {INFO}?{} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n", query());
    let waiting = format!("{head}content-length: 99999999\r\nexpect: 100-continue\r\n\r\n");
    assert_eq!(code_in(&raw(&world, waiting.as_bytes()).await), 60_008);
    world.stop().await;
}

#[tokio::test]
async fn calls_are_counted_by_command_and_code() {
    let world = World::with_lobby().await;
    let mut client = world.client().await;
    for room in ["lobby", "lobby", "nowhere"] {
        client.call("live_engine_http_srv/get_room_info", format!(r#"{{"RoomId":"{room}"}}"#)).await;
    }
    client.call("live_engine_http_srv/mute_member", "{}").await;
    client.call("no/such", "{}").await;
    let metrics = world.metrics();
    for line in [
        r#"roomhook_rest_requests_total{command="get_room_info",code="0"} 2"#,
        r#"roomhook_rest_requests_total{command="get_room_info",code="100004"} 1"#,
        r#"roomhook_rest_requests_total{command="other",code="60009"} 2"#,
        r#"roomhook_rest_request_duration_seconds_count{command="get_room_info"} 3"#,
        "roomhook_rest_requests_in_work 0",
        "roomhook_usersig_cache_misses_total 1",
        "roomhook_usersig_cache_entries 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\nnot in\n{metrics}");
    }
    world.stop().await;
}
