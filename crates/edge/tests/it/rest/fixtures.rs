//! Every P0 request of the protocol's fixtures gets an answer of its fixture's shape: the same members, of the same types.

use serde_json::Value;

use crate::world::World;

fn fixture(name: &str) -> Value {
    let path = format!("{}/../../lib/protocol/tests/fixtures/rest_{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// Every member of `wanted` is in `found` with the same JSON type, and the other way round except where the answer may
/// say more than the documents.
fn assert_shape(found: &Value, wanted: &Value, at: &str) {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            for (name, wanted) in wanted {
                let found = found.get(name).unwrap_or_else(|| panic!("{at}.{name} is missing"));
                assert_shape(found, wanted, &format!("{at}.{name}"));
            }
            let more = found.keys().filter(|name| !wanted.contains_key(*name)).collect::<Vec<_>>();
            assert!(more.is_empty() || at.ends_with(".RoomInfo"), "{at} has {more:?} besides");
        }
        (Value::Array(found), Value::Array(wanted)) => {
            if let Some(wanted) = wanted.first() {
                found.iter().for_each(|found| assert_shape(found, wanted, at));
            }
        }
        (found, wanted) => {
            assert_eq!(std::mem::discriminant(found), std::mem::discriminant(wanted), "{at}: {found} {wanted}");
        }
    }
}

#[tokio::test]
async fn answers_have_the_documented_shape() {
    let world = World::new().await;
    let mut client = world.client().await;
    for name in ["ana_k", "host_lin"] {
        world.ok("im_open_login_svc/account_import", &format!(r#"{{"UserID":"{name}"}}"#)).await;
    }
    for name in [
        "im_open_login_svc.account_import",
        "im_open_login_svc.account_import.identifier",
        "im_open_login_svc.multiaccount_import",
        "im_open_login_svc.multiaccount_import.accountlist",
        "im_open_login_svc.account_check",
        "live_engine_http_srv.create_room",
        "live_engine_http_srv.send_text_msg",
        "live_engine_http_srv.send_custom_msg",
        "group_open_http_svc.send_group_msg",
        "live_engine_http_srv.get_room_info",
        "live_engine_http_srv.destroy_room",
        "live_config.set_callback",
        "live_config.update_callback",
        "live_config.get_callback",
        "live_config.delete_callback",
        "live_config.set_callback_token",
        "live_config.get_callback_token",
        "live_config.delete_callback_token",
    ] {
        let request = fixture(&format!("{name}.request")).to_string();
        // `service.command`, or `service.command.variant`.
        let [service, command] = [0, 1].map(|part| name.split('.').nth(part).unwrap());
        let found = client.call(&format!("{service}/{command}"), request).await;
        assert_eq!(found["ErrorCode"], 0, "{name}: {found}");
        assert_shape(&found, &fixture(&format!("{service}.{command}.response")), name);
    }
    world.stop().await;
}

#[tokio::test]
async fn refusals_have_the_documented_shape() {
    let world = World::new().await;
    let missing = r#"{"RoomId":"nowhere"}"#;
    let found = world.call("live_engine_http_srv/get_room_info", missing).await;
    assert_shape(&found, &fixture("error.live.room_missing"), "live");
    assert_eq!(found["ErrorCode"], fixture("error.live.room_missing")["ErrorCode"]);
    let request_id = found["RequestId"].as_str().unwrap();
    assert!(request_id.parse::<roomhook_protocol::envelope::RequestId>().is_ok(), "{request_id}");

    // A program that calls it learns that its URL is right.
    let not_served = world.call("sns/friend_add", "{}").await;
    assert_eq!(not_served, fixture("error.chat.known_not_served"));
    let unknown = world.call("sms/friend_add", "{}").await;
    assert_eq!(unknown["ErrorInfo"], "/v4/sms/friend_add is no resource of this API");

    let request = fixture("group_open_http_svc.send_group_msg.request").to_string();
    let found = world.call("group_open_http_svc/send_group_msg", &request).await;
    assert_shape(&found, &fixture("error.chat.group_missing"), "chat");
    assert_eq!(found["ErrorCode"], fixture("error.chat.group_missing")["ErrorCode"]);
    world.stop().await;
}
