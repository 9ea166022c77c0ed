//! Two steps: what begins and is never committed was never handled.

use roomhook_receiver::{Notice, Received, Receiver, Request, Standing};
use serde_json::{Value, json};

use crate::{NOW, bytes, message, open, query_of};

fn begin(receiver: &Receiver, body: &Value, webhook_id: Option<&str>) -> Received {
    let (query, text) = (query_of(body["CallbackCommand"].as_str().unwrap()), bytes(body));
    let request = Request { webhook_id, ..Request::new(&query, &text) };
    receiver.begin(&request, NOW).unwrap()
}

#[test]
fn a_handler_that_failed_gets_the_message_again() {
    let mut receiver = open();
    let first = begin(&receiver, &message("lobby", 1), None);
    drop(first); // the handler failed: no commit
    let again = begin(&receiver, &message("lobby", 1), None);
    assert_eq!(again.standing(), &Standing::First);
    receiver.commit(&again, NOW);
    assert!(begin(&receiver, &message("lobby", 1), None).is_repeat());
}

#[test]
fn two_copies_at_once_are_both_new_and_the_second_commit_is_harmless() {
    let mut receiver = open();
    let (one, two) = (begin(&receiver, &message("lobby", 1), None), begin(&receiver, &message("lobby", 1), None));
    assert!(!one.is_repeat() && !two.is_repeat());
    assert_eq!(receiver.commit(&one, NOW), []);
    assert_eq!(receiver.commit(&two, NOW), []);
    assert_eq!(receiver.rooms(), 1);
}

#[test]
fn without_a_msg_id_sender_time_and_random_name_the_message() {
    let mut receiver = open();
    let mut body = message("lobby", 1);
    body.as_object_mut().unwrap().remove("MsgId");
    let received = begin(&receiver, &body, None);
    receiver.commit(&received, NOW);
    assert!(begin(&receiver, &body, None).is_repeat());
    body["Random"] = 4711.into();
    assert!(!begin(&receiver, &body, None).is_repeat());
}

#[test]
fn a_dissolved_room_ends_its_gaps() {
    let mut receiver = open();
    for seq in [1, 4] {
        let received = begin(&receiver, &message("lobby", seq), None);
        receiver.commit(&received, NOW);
    }
    assert_eq!(receiver.open_gaps().map(|gap| (gap.seqs, gap.since_millis)).collect::<Vec<_>>(), [(2..=3, NOW)]);

    let gone = json!({"CallbackCommand": "Live.CallbackAfterDestroyRoom", "Operator_Account": "administrator", "RoomId": "lobby",
        "EventType": "DestroyByUser", "EventTime": NOW, "RoomInfo": {}, "Statistic": {}});
    let received = begin(&receiver, &gone, Some("evt_9"));
    assert!(matches!(receiver.commit(&received, NOW).as_slice(), [Notice::GapForgotten { .. }]));
    assert!(begin(&receiver, &gone, Some("evt_9")).is_repeat());
    assert_eq!(receiver.open_gaps().count(), 0);
}

#[test]
fn a_question_is_always_asked() {
    let mut receiver = open();
    let mut body = message("lobby", 1);
    body["CallbackCommand"] = "Group.CallbackBeforeSendMsg".into();
    for member in ["MsgSeq", "MsgTime"] {
        body.as_object_mut().unwrap().remove(member);
    }
    let received = begin(&receiver, &body, Some("msg_1"));
    receiver.commit(&received, NOW);
    assert!(!begin(&receiver, &body, Some("msg_1")).is_repeat(), "a repeat would be answered with \"allowed\"");
}

#[test]
fn after_a_restart_the_app_tells_where_it_was() {
    let mut receiver = open();
    receiver.resume("lobby", 7, NOW / 1000);
    assert_eq!(begin(&receiver, &message("lobby", 9), None).standing(), &Standing::Ahead { missing: 8..=8 });
}
