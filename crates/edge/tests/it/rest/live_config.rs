//! The app's webhook, from first setting to deletion.

use roomhook_room::{EndpointId, Token};
use serde_json::json;

use crate::world::{APP, World};

const SET: &str = "live_config/set_callback";
const UPDATE: &str = "live_config/update_callback";
const GET: &str = "live_config/get_callback";
const DELETE: &str = "live_config/delete_callback";
const SET_TOKEN: &str = "live_config/set_callback_token";
const GET_TOKEN: &str = "live_config/get_callback_token";
const DELETE_TOKEN: &str = "live_config/delete_callback_token";

const ONE: &str = r#"{"Url":"http://127.0.0.1:9000/hook","CallbackCommandList":["Group.CallbackAfterSendMsg"]}"#;
const TWO: &str = r#"{"Url":"https://hooks.example.com","CallbackCommandList":[]}"#;

#[tokio::test]
async fn a_callback_is_set_updated_shown_and_deleted() {
    let world = World::new().await;
    for command in [GET, DELETE] {
        assert_eq!(world.code(command, "").await, 100_301, "{command}");
    }
    assert_eq!(world.code(UPDATE, ONE).await, 100_301);
    world.ok(SET, ONE).await;
    assert_eq!(world.code(SET, TWO).await, 100_300);
    let shown = world.ok(GET, "{}").await;
    assert_eq!(shown["Response"], serde_json::from_str::<serde_json::Value>(ONE).unwrap());
    world.ok(UPDATE, TWO).await;
    let shown = world.ok(GET, "{}").await;
    assert_eq!(shown["Response"], json!({"Url": "https://hooks.example.com", "CallbackCommandList": []}));
    world.ok(DELETE, "{}").await;
    assert_eq!(world.code(GET, "{}").await, 100_301);
    assert!(world.services.directory.endpoint(APP, &EndpointId(EndpointId::DEFAULT.to_owned())).is_none());
    world.ok(SET, ONE).await;
    world.stop().await;
}

#[tokio::test]
async fn a_token_lives_apart_from_the_callback() {
    let world = World::new().await;
    let endpoint = || world.services.directory.endpoint(APP, &EndpointId(EndpointId::DEFAULT.to_owned()));
    assert_eq!(world.code(GET_TOKEN, "{}").await, 100_302);
    assert_eq!(world.code(DELETE_TOKEN, "{}").await, 100_302);
    assert_eq!(world.code(SET_TOKEN, r#"{"Token":"t"}"#).await, 100_002, "both are needed the first time");
    assert_eq!(world.code(SET_TOKEN, r#"{"IsTokenEnable":true}"#).await, 100_002);
    world.ok(SET_TOKEN, r#"{"Token":"t1","IsTokenEnable":true}"#).await;
    assert_eq!(world.code(GET, "{}").await, 100_301, "a token alone is no callback");
    world.ok(SET, ONE).await;
    world.ok(SET_TOKEN, r#"{"IsTokenEnable":false}"#).await;
    assert_eq!(world.ok(GET_TOKEN, "{}").await["Response"], json!({"Token": "t1", "IsTokenEnable": false}));
    world.ok(SET_TOKEN, r#"{"Token":"t2"}"#).await;
    assert_eq!(endpoint().unwrap().token, Some(Token { value: "t2".to_owned(), enabled: false }));
    world.ok(DELETE, "{}").await;
    assert_eq!(world.ok(GET_TOKEN, "{}").await["Response"]["Token"], "t2", "it outlives the callback");
    world.ok(SET, TWO).await;
    world.ok(DELETE_TOKEN, "{}").await;
    assert_eq!(endpoint().unwrap().url, "https://hooks.example.com");
    assert_eq!(world.code(GET_TOKEN, "{}").await, 100_302);
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_called_is_not_configured() {
    let world = World::new().await;
    for url in ["", "hooks.example.com", "ftp://hooks.example.com", "http://", "http://a b/", "http://h/\n"] {
        let set = json!({"Url": url, "CallbackCommandList": ["Group.CallbackAfterSendMsg"]}).to_string();
        assert_eq!(world.code(SET, &set).await, 100_002, "{url:?}");
    }
    assert_eq!(world.code(SET, r#"{"Url":"http://h"}"#).await, 100_002);
    assert_eq!(world.code(SET, r#"{"Url":"http://h","CallbackCommandList":["Nonsense"]}"#).await, 100_002);
    for token in [String::new(), "x".repeat(129)] {
        assert_eq!(world.code(SET_TOKEN, &json!({"Token": token, "IsTokenEnable": true}).to_string()).await, 100_002);
    }
    world.stop().await;
}

#[tokio::test]
async fn two_that_set_at_once_do_not_both_succeed() {
    let world = World::new().await;
    let (mut one, mut two) = (world.client().await, world.client().await);
    let (one, two) = tokio::join!(one.call(SET, ONE), two.call(SET, TWO));
    let mut codes = [&one, &two].map(|answer| answer["ErrorCode"].as_i64().unwrap());
    codes.sort_unstable();
    assert_eq!(codes, [0, 100_300]);
    world.stop().await;
}
