//! Who is let in, and for how long.

use std::collections::HashSet;

use roomhook_centrifuge::{ConnectRequest, Format, RefreshRequest, ReplyBody, Request};
use roomhook_edge::{apps::App, realtime};
use roomhook_protocol::usersig::{Mint, mint};
use roomhook_room::AppId;

use super::client::{Client, Closed};
use crate::world::{APP, KEY, NEW_YEAR, Options, World, usersig};

fn token(userid: &str, key: &str, sdkappid: u32, expire_secs: u64) -> String {
    mint(&Mint { sdkappid, key, userid, expire_secs, now_secs: NEW_YEAR.secs(), userbuf: None })
}

fn connect(token: String) -> Request {
    Request::Connect(ConnectRequest { token, ..ConnectRequest::default() })
}

#[tokio::test]
async fn an_expired_token_is_told_so_and_a_foreign_one_gives_up() {
    let world = World::with_lobby().await;
    let mut late = Client::open(&world, Format::Json).await;
    assert_eq!(late.call(connect(token("ann", KEY, APP.0, 0))).await.unwrap_err().code, 109);
    for (token, why) in [
        (token("ann", "another key", APP.0, 100), "does not match"),
        (token("ann", KEY, 1_499_999_999, 100), "not served here"),
        ("nonsense".to_owned(), "cannot be decoded"),
    ] {
        let mut stranger = Client::open(&world, Format::Protobuf).await;
        stranger.send(connect(token)).await;
        let Closed { code, reason } = stranger.closed().await;
        assert_eq!(code, 3500);
        assert!(reason.starts_with("invalid token") && reason.contains(why), "{reason}");
    }
    world.stop().await;
}

#[tokio::test]
async fn commands_after_a_refused_connect_are_not_executed() {
    let world = World::with_lobby().await;
    let mut late = Client::open(&world, Format::Json).await;
    let frame = format!(
        "{{\"id\":1,\"connect\":{{\"token\":\"{}\"}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"room:lobby\"}}}}",
        token("ann", KEY, APP.0, 0)
    );
    late.send_raw(frame).await;
    assert_eq!(late.next().await.id, 1);
    late.socket.close(None).await.unwrap();
    assert_eq!(late.closed().await.code, 1000, "nothing came in between");
    world.stop().await;
}

#[tokio::test]
async fn a_users_account_is_made_when_it_first_connects() {
    let world = World::with_lobby().await;
    let mut carol = Client::connect(&world, "carol").await;
    assert!(world.services.directory.account(APP, "carol").is_some());
    carol.join("lobby").await;
    carol.say("lobby", "hi").await;
    assert_eq!(carol.hears().await, "1:hi");
    world.stop().await;
}

#[tokio::test]
async fn a_fresh_token_of_the_same_user_prolongs_the_connection() {
    let world = World::with_lobby().await;
    let mut ann = Client::connect(&world, "ann").await;
    let refresh = |token: String| Request::Refresh(RefreshRequest { token });
    let Ok(ReplyBody::Refresh(refreshed)) = ann.call(refresh(token("ann", KEY, APP.0, 500))).await else { panic!() };
    assert_eq!((refreshed.expires, refreshed.ttl), (true, 500));
    ann.send(refresh(usersig("bob", KEY))).await;
    assert_eq!(ann.closed().await.code, 3500);
    world.stop().await;
}

#[tokio::test]
async fn a_disabled_app_lets_nobody_in() {
    let world = World::with_lobby().await;
    let app = App { id: APP, key: KEY.into(), admins: HashSet::new(), disabled: true };
    let other = App { id: AppId(2), key: KEY.into(), admins: HashSet::new(), disabled: false };
    world.services.apps.replace(vec![app, other]).unwrap();
    let mut ann = Client::open(&world, Format::Json).await;
    assert_eq!(ann.call(connect(usersig("ann", KEY))).await.unwrap_err().code, 101);
    world.stop().await;
}

#[tokio::test]
async fn a_user_has_so_many_connections() {
    let mut options = Options::default();
    options.realtime = realtime::Config { connections_per_user_max: 2, ..options.realtime };
    let world = World::with(options).await;
    let first = Client::connect(&world, "ann").await;
    let _second = Client::connect(&world, "ann").await;
    let mut third = Client::open(&world, Format::Json).await;
    third.send(connect(usersig("ann", KEY))).await;
    assert_eq!(third.closed().await.code, 3504);
    drop(first);
    loop {
        let mut again = Client::open(&world, Format::Json).await;
        again.send(connect(usersig("ann", KEY))).await;
        if again.next_or_close().await.is_ok() {
            break;
        }
    }
    world.stop().await;
}
