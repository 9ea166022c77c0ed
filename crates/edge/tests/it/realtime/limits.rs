//! Who may come in, how often, and as whom: each limit with the number an operator sees.

use std::time::{Duration, Instant};

use roomhook_centrifuge::{
    ConnectRequest, Format, PresenceStatsRequest, PresenceStatsResult, ReplyBody, Request, SubscribeRequest,
};
use roomhook_edge::{listener, realtime};
use roomhook_log::LogId;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async,
    tungstenite::{self, client::IntoClientRequest},
};

use super::client::Client;
use crate::world::{KEY, Options, World, usersig};

async fn world(change: impl FnOnce(&mut realtime::Config)) -> World {
    let mut options = Options::default();
    change(&mut options.realtime);
    let world = World::with(options).await;
    world.furnish().await;
    world
}

/// The status of an upgrade that is refused over HTTP.
async fn refused(world: &World) -> u16 {
    let request = format!("ws://{}/connection/websocket", world.addr).into_client_request().unwrap();
    match client_async(request, TcpStream::connect(world.addr).await.unwrap()).await {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

fn counted(world: &World, line: &str) -> bool {
    world.metrics().lines().any(|found| found == line)
}

#[tokio::test]
async fn a_process_has_so_many_connections() {
    let world = world(|config| config.connections_max = 2).await;
    let first = Client::connect(&world, "ann").await;
    let _second = Client::connect(&world, "bob").await;
    assert_eq!(refused(&world).await, 503);
    assert!(counted(&world, "roomhook_realtime_connections_refused_total 1"), "{}", world.metrics());
    assert!(counted(&world, "roomhook_realtime_connections_open 2"));
    drop(first);
    let request = || format!("ws://{}/connection/websocket", world.addr).into_client_request().unwrap();
    while client_async(request(), TcpStream::connect(world.addr).await.unwrap()).await.is_err() {}
    world.stop().await;
}

#[tokio::test]
async fn connections_come_in_at_so_many_per_second() {
    let world = world(|config| config.connects_per_s = 1).await;
    let _first = Client::connect(&world, "ann").await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let request = format!("ws://{}/connection/websocket", world.addr).into_client_request().unwrap();
        match client_async(request, TcpStream::connect(world.addr).await.unwrap()).await {
            Ok(_) => statuses.push(101),
            Err(tungstenite::Error::Http(response)) => statuses.push(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }
    // A slow machine may earn a place or two; a burst of twenty it never is.
    let refused = statuses.iter().filter(|&&status| status == 503).count();
    assert!(refused > 0 && statuses.iter().all(|status| matches!(status, 101 | 503)), "{statuses:?}");
    assert!(counted(&world, &format!("roomhook_realtime_connections_refused_total {refused}")));
    world.stop().await;
}

#[tokio::test]
async fn a_connection_has_so_many_rooms_and_commands_and_a_user_so_many_connections() {
    let limits = |config: &mut realtime::Config| {
        (config.rooms_per_connection_max, config.connections_per_user_max) = (1, 1);
        (config.commands_per_s, config.commands_burst) = (1, 3);
    };
    let world = world(limits).await;
    world
        .ok(
            "live_engine_http_srv/create_room",
            r#"{"RoomInfo":{"RoomId":"attic","RoomType":"Live","Owner_Account":"ann"}}"#,
        )
        .await;
    let mut ann = Client::connect(&world, "ann").await;
    ann.join("lobby").await;
    let attic = SubscribeRequest { channel: "room:attic".into(), ..SubscribeRequest::default() };
    assert_eq!(ann.subscribe(attic.clone()).await.unwrap_err().code, 106);
    assert!(counted(&world, "roomhook_realtime_errors_total{code=\"106\"} 1"));
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(ann.subscribe(attic.clone()).await.unwrap_err().code);
    }
    assert!(codes.contains(&111), "{codes:?}");
    assert!(world.metrics().contains("roomhook_realtime_errors_total{code=\"111\"}"));

    let mut again = Client::open(&world, Format::Json).await;
    again.send(Request::Connect(ConnectRequest { token: usersig("ann", KEY), ..ConnectRequest::default() })).await;
    assert_eq!(again.closed().await.code, 3504);
    assert!(counted(&world, "roomhook_realtime_closes_total{code=\"3504\"} 1"));
    world.stop().await;
}

/// `ClientIP` of a message sent over a WebSocket whose upgrade request had this header.
async fn client_ip(forwarded: &str, trusted: &str) -> String {
    let listener = listener::Config { trusted_proxies: [trusted.parse().unwrap()].into(), ..Default::default() };
    let world = World::with(Options { listener, ..Options::default() }).await;
    world.furnish().await;
    let stream = TcpStream::connect(world.addr).await.unwrap();
    let header = Some(("x-forwarded-for", forwarded));
    let mut ann = Client::open_with(&world, Box::new(stream), Format::Json, header).await;
    let connect = ConnectRequest { token: usersig("ann", KEY), ..ConnectRequest::default() };
    ann.call(Request::Connect(connect)).await.unwrap();
    ann.join("lobby").await;
    ann.say("lobby", "hi").await;
    let ip = world.messages("lobby").await[0].draft.origin.client_ip.to_string();
    world.stop().await;
    ip
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_of_an_upgrade_and_nobody_else_does() {
    assert_eq!(client_ip("1.2.3.4, 203.0.113.9", "127.0.0.0/8").await, "203.0.113.9");
    assert_eq!(client_ip("203.0.113.9", "10.0.0.0/8").await, "127.0.0.1");
}

async fn impatient() -> World {
    world(|config| config.answer_within = Duration::from_secs(1)).await
}

#[tokio::test]
async fn a_newcomer_is_told_to_come_back_when_it_cannot_be_made_an_account_in_time() {
    let world = impatient().await;
    let hold = world.log.hold_appends(LogId::DIRECTORY);
    let mut newcomer = Client::open(&world, Format::Json).await;
    let connect = || Request::Connect(ConnectRequest { token: usersig("new", KEY), ..ConnectRequest::default() });
    let error = newcomer.call(connect()).await.unwrap_err();
    assert_eq!((error.code, error.temporary), (100, true), "{error:?}");
    // Whoever has an account does not need the directory to write.
    Client::connect(&world, "ann").await;
    drop(hold);
    let deadline = Instant::now() + Duration::from_secs(10);
    while Client::open(&world, Format::Json).await.call(connect()).await.is_err() {
        assert!(Instant::now() < deadline, "it is let in once the directory writes again");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_room_that_does_not_answer_is_joined_later_and_only_once() {
    let world = impatient().await;
    let mut ann = Client::connect(&world, "ann").await;
    let holds = [0, 1].map(|shard| world.log.hold_appends(LogId(shard)));
    // A message keeps the room's shard waiting for its log, and with it everybody who wants to know the room.
    let mut backend = world.client().await;
    let said = tokio::spawn(async move {
        let text = r#"{"RoomId":"lobby","Sender_Account":"ann","TextContent":"hi"}"#;
        backend.call("live_engine_http_srv/send_text_msg", text).await
    });
    tokio::select! {
        () = holds[0].reached() => {}
        () = holds[1].reached() => {}
    }
    let lobby = SubscribeRequest { channel: "room:lobby".into(), ..SubscribeRequest::default() };
    let error = ann.subscribe(lobby.clone()).await.unwrap_err();
    assert_eq!((error.code, error.temporary), (111, true), "{error:?}");
    drop(holds);
    assert_eq!(said.await.unwrap()["ErrorCode"], 0);
    let mut bob = Client::connect(&world, "bob").await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while bob.subscribe(lobby.clone()).await.is_err() {
        assert!(Instant::now() < deadline, "the room answers again");
    }
    let count = Request::PresenceStats(PresenceStatsRequest { channel: lobby.channel.clone() });
    let alone = ReplyBody::PresenceStats(PresenceStatsResult { num_clients: 1, num_users: 1 });
    while bob.call(count.clone()).await != Ok(alone.clone()) {
        assert!(Instant::now() < deadline, "whoever gave up is not in");
    }
    while ann.subscribe(lobby.clone()).await.is_err() {
        assert!(Instant::now() < deadline, "it may come again");
    }
    world.stop().await;
}
