//! When the engine cannot: the answer says whether asking again is safe, and nothing that was not acknowledged appears.

use std::time::Duration;

use roomhook_log::{Fault, LogId};
use serde_json::json;

use crate::world::{Options, World};

const TEXT: &str = "live_engine_http_srv/send_text_msg";
const GROUP: &str = "group_open_http_svc/send_group_msg";
const IMPORT: &str = "im_open_login_svc/account_import";

const HI: &str = r#"{"RoomId":"lobby","Sender_Account":"ann","TextContent":"hi"}"#;

fn group_msg(random: u32) -> String {
    let body = json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": "hi"}}]);
    json!({"GroupId": "lobby", "From_Account": "ann", "Random": random, "MsgBody": body}).to_string()
}

fn logs() -> impl Iterator<Item = LogId> {
    (0..2).map(LogId)
}

#[tokio::test]
async fn a_message_that_could_not_be_written_is_refused_and_leaves_no_trace() {
    let world = World::with_lobby().await;
    for (command, body, code) in [(TEXT, HI.to_owned(), 100_001), (GROUP, group_msg(1), 10_002)] {
        logs().for_each(|log| world.log.fail_next_append(log, Fault::Full));
        assert_eq!(world.code(command, &body).await, code);
        // The fault of the shard that the room is not in is still waiting.
        let other = world.call(command, &body).await;
        assert!([0, code].contains(&other["ErrorCode"].as_i64().unwrap()), "{other}");
    }
    let sent = world.messages("lobby").await.len();
    let next = world.ok(TEXT, HI).await["Response"]["MsgSeq"].as_u64().unwrap();
    assert_eq!(next, sent as u64 + 1, "no number was used up");
    world.stop().await;
}

#[tokio::test]
async fn a_message_with_an_unknown_outcome_is_sent_once_when_repeated_with_its_random() {
    let world = World::with_lobby().await;
    logs().for_each(|log| world.log.fail_next_append(log, Fault::Ambiguous { durable: 1 }));
    let answer = world.call(GROUP, &group_msg(1)).await;
    assert!([0, 10_002].contains(&answer["ErrorCode"].as_i64().unwrap()), "{answer}");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let again = loop {
        let again = world.call(GROUP, &group_msg(1)).await;
        if again["ErrorCode"] == 0 {
            break again;
        }
        assert!(std::time::Instant::now() < deadline, "{again}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(again["MsgSeq"], 1);
    assert_eq!(world.messages("lobby").await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn an_engine_that_hangs_costs_a_caller_the_time_limit_and_no_more() {
    let options = Options { backend_timeout: Duration::from_secs(1), ..Options::default() };
    let world = World::with(options).await;
    world.furnish().await;
    let holds: Vec<_> = logs().chain([LogId::DIRECTORY]).map(|log| world.log.hold_appends(log)).collect();
    let message = group_msg(1);
    let (text, group, import, token) = tokio::join!(
        world.code(TEXT, HI),
        world.code(GROUP, &message),
        world.code(IMPORT, r#"{"UserID":"new"}"#),
        world.code("live_config/set_callback_token", r#"{"Token":"t","IsTokenEnable":true}"#),
    );
    assert_eq!((text, group, import, token), (60_008, 60_008, 70_169, 60_008));
    drop(holds);
    // What timed out was decided all the same: the repeat finds it.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while world.code(GROUP, &group_msg(1)).await != 0 {
        assert!(std::time::Instant::now() < deadline);
    }
    assert_eq!(world.messages("lobby").await.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_full_inbox_says_that_nothing_happened() {
    let shard = roomhook_shard::Config { inbox_max: 1, batch_records_max: 1, ..roomhook_shard::Config::default() };
    let world = World::with(Options { shard, ..Options::default() }).await;
    world.furnish().await;
    let holds: Vec<_> = logs().map(|log| world.log.hold_appends(log)).collect();
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..8 {
        let mut client = world.client().await;
        waiting.spawn(async move { client.call(GROUP, group_msg(n)).await["ErrorCode"].as_i64().unwrap() });
    }
    // With room for one in work and one waiting (a batch may be taken in between), some must be refused at once.
    let refused = waiting.join_next().await.unwrap().unwrap();
    assert_eq!(refused, 60_018);
    drop(holds);
    let mut codes = waiting.join_all().await;
    codes.push(refused);
    let sent = codes.iter().filter(|code| **code == 0).count();
    assert!(sent > 0 && codes.iter().all(|code| [0, 60_018].contains(code)), "{codes:?}");
    assert_eq!(world.messages("lobby").await.len(), sent);
    world.stop().await;
}
