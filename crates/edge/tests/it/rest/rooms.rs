//! Rooms: made, looked at, gone.

use serde_json::json;

use crate::world::{ADMIN, NEW_YEAR, World};

const CREATE: &str = "live_engine_http_srv/create_room";
const DESTROY: &str = "live_engine_http_srv/destroy_room";
const INFO: &str = "live_engine_http_srv/get_room_info";

#[tokio::test]
async fn a_room_shows_what_it_was_made_with_and_defaults_for_the_rest() {
    let world = World::with_lobby().await;
    world.ok(CREATE, r#"{"RoomInfo":{"RoomId":"plain","RoomType":"Live"}}"#).await;
    let plain = &world.ok(INFO, r#"{"RoomId":"plain"}"#).await["Response"]["RoomInfo"];
    assert_eq!(plain["RoomName"], "plain");
    assert_eq!(plain["Owner_Account"], ADMIN);
    assert_eq!(plain["CreateTime"], NEW_YEAR.secs());
    assert_eq!(plain["TakeSeatMode"], "FreeToTake");
    assert_eq!(plain["IsMessageDisabled"], false);

    let full = json!({
        "RoomId": "full", "RoomType": "Live", "RoomName": "Full", "Owner_Account": "bob", "CoverURL": "c", "Category": [1, 2, 3],
        "BackgroundURL": "b", "IsMessageDisabled": true, "IsPublicVisible": false, "ActivityStatus": 9, "TakeSeatMode": "ApplyToTake",
        "SeatTemplate": "VideoFixedFloat7Seats", "KeepOwnerOnSeat": true, "MaxMemberCount": 500, "Notice": "n", "CustomInfo": "i",
    });
    world.ok(CREATE, &json!({"RoomInfo": full}).to_string()).await;
    let found = &world.ok(INFO, r#"{"RoomId":"full"}"#).await["Response"]["RoomInfo"];
    for (name, value) in full.as_object().unwrap() {
        assert_eq!(&found[name], value, "{name}");
    }
    assert_eq!(found["MaxSeatCount"], 7);
    world.stop().await;
}

#[tokio::test]
async fn ids_are_taken_until_the_room_is_gone() {
    let world = World::with_lobby().await;
    let create =
        |owner: &str| json!({"RoomInfo": {"RoomId": "r", "RoomType": "Live", "Owner_Account": owner}}).to_string();
    world.ok(CREATE, &create("ann")).await;
    assert_eq!(world.code(CREATE, &create("ann")).await, 100_003);
    let gone = world.ok(DESTROY, r#"{"RoomId":"r"}"#).await;
    assert_eq!(gone["Response"]["Statistic"]["TotalViewers"], 0);
    assert_eq!(world.code(DESTROY, r#"{"RoomId":"r"}"#).await, 100_004);
    assert_eq!(world.code(INFO, r#"{"RoomId":"r"}"#).await, 100_004);
    world.ok(CREATE, &create(ADMIN)).await;
    assert_eq!(world.code(CREATE, &create(ADMIN)).await, 100_010, "the caller owns it already");
    world.stop().await;
}

#[tokio::test]
async fn a_room_needs_an_owner_who_exists_and_an_id_of_ones_own() {
    let world = World::with_lobby().await;
    let create = |id: &str, owner: &str| {
        json!({"RoomInfo": {"RoomId": id, "RoomType": "Live", "Owner_Account": owner}}).to_string()
    };
    assert_eq!(world.code(CREATE, &create("r", "ghost")).await, 70_107);
    assert_eq!(world.code(CREATE, &create("@TGS#r", "ann")).await, 100_002);
    assert_eq!(world.code(CREATE, r#"{"RoomInfo":{"RoomId":"r","RoomType":"Public"}}"#).await, 100_002);
    assert_eq!(world.code(CREATE, "{}").await, 100_002);
    world.stop().await;
}
