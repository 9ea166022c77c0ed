//! Webhook bodies as a receiver reads them.

use proptest::prelude::*;
use roomhook_protocol::webhook::{Event, EventError};
use serde_json::json;

use crate::{fixture, fixtures, value};

#[test]
fn every_webhook_fixture_is_read_and_written_back_the_same() {
    let names: Vec<_> = fixtures("webhook_", ".json").into_iter().filter(|name| !name.contains("response")).collect();
    assert!(names.len() > 30);
    for name in names {
        let bytes = fixture(&name);
        let event = Event::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(&event).unwrap(), value(&bytes), "{name}");
        assert_eq!(event.command(), value(&bytes)["CallbackCommand"], "{name}");
    }
}

#[test]
fn every_message_and_room_command_has_a_type_that_leaves_nothing_unknown() {
    let words = [
        "Group.CallbackAfterSendMsg",
        "Group.CallbackBeforeSendMsg",
        "Group.CallbackSendMsgException",
        "Group.CallbackAfterRecallMsg",
        "Live.CallbackAfterCreateRoom",
        "Live.CallbackAfterDestroyRoom",
        "Live.CallbackAfterUpdateRoomInfo",
        "Live.CallbackAfterMemberStateChanged",
        "Live.CallbackAfterChangeOwner",
        "Live.CallbackAfterModifyAdmin",
        "Live.CallbackAfterSetMetadata",
        "Live.CallbackAfterDelMetadata",
    ];
    for name in fixtures("webhook_", ".json").into_iter().filter(|name| !name.contains("response")) {
        let event = Event::parse(&fixture(&name)).unwrap();
        let typed = words.iter().any(|word| *word == event.command());
        assert_eq!(matches!(event, Event::Unknown { .. }), !typed, "{name}");
        if typed {
            assert_eq!(event.room_id(), Some("room-nightmarket-07"), "{name}");
            // Every `other` is printed as this when empty.
            let printed = format!("{event:?}");
            assert_eq!(printed.matches("other: {").count(), printed.matches("other: {}").count(), "{name}: {printed}");
        }
    }
}

#[test]
fn members_of_tomorrow_are_kept_everywhere() {
    let mut body = value(&fixture("webhook_Live.CallbackAfterDestroyRoom.json"));
    body["Tomorrow"] = json!({"a": [1, 2.5, null]});
    body["RoomInfo"]["Tomorrow"] = json!(1);
    body["Statistic"]["Tomorrow"] = json!(2);
    let event = Event::parse(body.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&event).unwrap(), body);

    let mut body = value(&fixture("webhook_Group.CallbackAfterSendMsg.text.json"));
    body["MsgBody"][0]["Tomorrow"] = json!([]);
    body["MsgBody"][0]["MsgContent"]["Tomorrow"] = json!({});
    let event = Event::parse(body.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&event).unwrap(), body);
}

#[test]
fn custom_messages_are_unpacked() {
    let Event::AfterSendMsg(sent) = Event::parse(&fixture("webhook_Group.CallbackAfterSendMsg.custom.json")).unwrap()
    else {
        panic!("another event")
    };
    let custom = sent.msg_body[0].custom().unwrap();
    assert_eq!((&*custom.business_id, &*custom.data), ("coupon_drop", r#"{"coupon":"NM-20","left":35}"#));
    assert_eq!(sent.msg_body[0].text(), None);
}

#[test]
fn commands_without_a_type_keep_their_json() {
    let bytes = fixture("webhook_Live.CallbackBeforeSendGift.json");
    let event = Event::parse(&bytes).unwrap();
    assert_eq!(event.room_id(), Some("room-nightmarket-07"));
    assert!(matches!(event, Event::Unknown { body, .. } if body["GiftWater"]["Coins"] == 30));
}

#[test]
fn what_is_no_webhook_is_refused() {
    let parse = |text: &str| Event::parse(text.as_bytes());
    assert!(matches!(Event::parse(b"{\"\xff"), Err(EventError::Utf8)));
    assert!(matches!(parse("[]"), Err(EventError::NotAnObject)));
    assert!(matches!(parse(""), Err(EventError::NotAnObject)));
    assert!(matches!(parse("{}"), Err(EventError::Json(_))));
    assert!(matches!(parse(r#"{"CallbackCommand":7}"#), Err(EventError::Json(_))));
    assert!(matches!(parse(r#"{"CallbackCommand":"Group.CallbackAfterSendMsg"}"#), Err(EventError::Json(_))));
    assert!(matches!(parse(&format!("{{\"a\":{}", "[".repeat(100_000))), Err(EventError::TooDeep)));
    let mut body = value(&fixture("webhook_Group.CallbackAfterSendMsg.text.json"));
    for time in [json!(-1), json!("soon"), json!("1.5"), json!(1.5), json!(null)] {
        body["EventTime"] = time;
        assert!(parse(&body.to_string()).is_err(), "{}", body["EventTime"]);
    }
}

proptest! {
    #[test]
    fn reading_never_panics(bytes in any::<Vec<u8>>(), name in 0usize..100, at in 0usize..2000, byte: u8) {
        let _ = Event::parse(&bytes);
        let names = fixtures("webhook_", ".json");
        let mut body = fixture(&names[name % names.len()]);
        let at = at % body.len();
        body[at] = byte;
        let _ = Event::parse(&body);
    }
}
