//! Clients that should not be: each gets the documented code, and nobody else notices.

use std::time::Duration;

use futures_util::SinkExt;
use roomhook_centrifuge::{Format, ReplyBody, Request, SubscribeRequest};
use roomhook_edge::realtime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, Closed};
use crate::world::{KEY, Options, World, usersig};

fn closed(code: u16, reason: &str) -> Closed {
    Closed { code, reason: reason.into() }
}

#[tokio::test]
async fn garbage_ends_the_connection_as_documented() {
    let world = World::with_lobby().await;
    let mut garbage = Client::open(&world, Format::Protobuf).await;
    garbage.send_raw(vec![0xff; 40]).await;
    assert_eq!(garbage.closed().await, closed(3501, "bad request"));

    let mut half = Client::open(&world, Format::Json).await;
    half.send_raw("{\"id\":1,\"connect\":").await;
    assert_eq!(half.closed().await, closed(3501, "bad request"));

    let mut empty = Client::open(&world, Format::Json).await;
    empty.send_raw("").await;
    assert_eq!(empty.closed().await, closed(3501, "bad request"));

    let mut binary = Client::open(&world, Format::Json).await;
    binary.socket.send(Message::binary(vec![0])).await.unwrap();
    assert_eq!(binary.closed().await, closed(3506, "inappropriate protocol"));

    let mut huge = Client::open(&world, Format::Json).await;
    // The server hangs up while this is still being written.
    let _ = huge.socket.send(Message::text("x".repeat(70_000))).await;
    assert_eq!(huge.closed().await.code, 1009);
    world.stop().await;
}

#[tokio::test]
async fn whoever_says_nothing_is_stale_and_whoever_answers_no_ping_is_gone() {
    let mut options = Options::default();
    options.realtime = realtime::Config {
        connect_within: Duration::from_millis(300),
        ping_every: Duration::from_secs(1),
        pong_within: Duration::from_millis(200),
        ..options.realtime
    };
    let world = World::with(options).await;
    let mut silent = Client::open(&world, Format::Json).await;
    assert_eq!(silent.closed().await, closed(3502, "stale"));

    let mut deaf = Client::connect(&world, "ann").await;
    let mut polite = Client::connect(&world, "bob").await;
    // Reads below the level that answers pings.
    loop {
        use futures_util::StreamExt;
        match deaf.socket.next().await.unwrap().unwrap() {
            Message::Text(ping) => assert_eq!(ping.as_str(), "{}"),
            Message::Close(Some(frame)) => break assert_eq!(u16::from(frame.code), 3012),
            other => panic!("{other:?}"),
        }
    }
    let polite = tokio::time::timeout(Duration::from_millis(1500), polite.closed()).await;
    assert!(polite.is_err(), "it answers its pings: {polite:?}");
    world.stop().await;
}

#[tokio::test]
async fn ten_thousand_subscribes_meet_the_limits() {
    let world = World::with_lobby().await;
    let mut greedy = Client::connect(&world, "ann").await;
    let mut refused = 0;
    let end = loop {
        let batch: Vec<String> =
            (1..200).map(|id| format!("{{\"id\":{id},\"subscribe\":{{\"channel\":\"room:{id}\"}}}}")).collect();
        if greedy.socket.send(Message::text(batch.join("\n"))).await.is_err() {
            break greedy.closed().await;
        }
        let mut answers = 0;
        let end = loop {
            match greedy.next_or_close().await {
                Ok(reply) => {
                    refused += usize::from(matches!(reply.body, Some(ReplyBody::Error(error)) if error.code == 111));
                    answers += 1;
                    if answers == batch.len() {
                        break None;
                    }
                }
                Err(end) => break Some(end),
            }
        };
        if let Some(end) = end {
            break end;
        }
    };
    assert_eq!(end, closed(3013, "too many requests"));
    assert!(refused >= 200, "{refused}");
    world.stop().await;
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let world = World::with_lobby().await;
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let connect = format!("{{\"id\":1,\"connect\":{{\"token\":\"{}\"}}}}", usersig("ann", KEY));
    let mut bytes = b"GET /connection/websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    // The first frame right behind the request, masked with zeros.
    bytes.extend([0x81, 0xfe]);
    bytes.extend((connect.len() as u16).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(connect.as_bytes());
    for byte in bytes {
        stream.write_all(&[byte]).await.unwrap();
    }
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("\"ping\":25") {
        let read = stream.read_buf(&mut answer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn an_upgrade_that_can_be_read_in_two_ways_is_refused() {
    const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let world = World::with_lobby().await;
    for (lines, status) in [
        (format!("host: x\r\n{KEY}"), "101"),
        (KEY.to_owned(), "400"),
        (format!("host: x\r\nhost: y\r\n{KEY}"), "400"),
        (format!("host: x\r\n{KEY}\r\n{KEY}"), "400"),
        (format!("host: x\r\n{KEY}\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="), "400"),
        (format!("host: x\r\n{KEY}\r\nsec-websocket-version: 8"), "426"),
    ] {
        let mut stream = TcpStream::connect(world.addr).await.unwrap();
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\n{lines}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}{answer}");
    }
    world.stop().await;
}

#[tokio::test]
async fn an_upgrade_that_is_none_is_refused_over_http() {
    let world = World::with_lobby().await;
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    stream.write_all(b"GET /connection/websocket HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    world.stop().await;
}

/// A member that stops reading is cut when too much waits for it; its SDK would come back and recover. Others do not
/// wait for it.
#[tokio::test]
async fn a_member_that_stops_reading_is_cut_and_recovers() {
    let mut options = Options::default();
    options.realtime = realtime::Config {
        outbox_bytes_max: 128 << 10,
        reply_bytes_max: 64 << 10,
        commands_per_s: 0,
        reply_messages_max: 2_000,
        ring_messages_max: 2_000,
        ring_bytes_max: 64 << 20,
        ..options.realtime
    };
    let world = World::with(options).await;
    world.furnish().await;
    let mut stuck = Client::connect(&world, "bob").await;
    let mut ann = Client::connect(&world, "ann").await;
    let epoch = stuck.join("lobby").await.epoch;
    ann.join("lobby").await;
    let text = "x".repeat(10_000);
    let mut said = 0;
    while !world.metrics().contains("roomhook_realtime_closes_total{code=\"3008\"} 1") {
        ann.say("lobby", &text).await;
        said += 1;
        assert_eq!(ann.message().await.offset, said);
        assert!(said < 2_000, "20 MB wait somewhere");
    }
    let mut heard = 0;
    let end = loop {
        match stuck.next_or_close().await {
            Ok(reply) => {
                let Some(ReplyBody::Push(push)) = reply.body else { panic!("{reply:?}") };
                let Some(roomhook_centrifuge::PushBody::Pub(publication)) = push.body else { panic!() };
                heard += 1;
                assert_eq!(publication.offset, heard, "what it got is whole and in order");
            }
            Err(end) => break end,
        }
    };
    assert_eq!(end, closed(3008, "slow"));
    let mut back = Client::connect(&world, "bob").await;
    let resumed = back.rejoin("lobby", &epoch, heard).await;
    assert!(resumed.recovered, "it heard {heard} of {said} before the end, the rest is little enough");
    assert_eq!(resumed.publications.len() as u64, said - heard);
    world.stop().await;
}

#[tokio::test]
async fn the_channel_of_another_user_cannot_be_joined() {
    let world = World::with_lobby().await;
    let mut ann = Client::connect(&world, "ann").await;
    let request = SubscribeRequest { channel: "user:bob".into(), ..SubscribeRequest::default() };
    assert_eq!(ann.call(Request::Subscribe(request)).await.unwrap_err().code, 103);
    world.stop().await;
}
