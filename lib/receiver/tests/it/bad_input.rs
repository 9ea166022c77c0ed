//! Nothing that comes over the wire panics or is remembered, and no refusal repeats what it refused.

use proptest::prelude::*;
use roomhook_receiver::{Config, Error, Receiver, Request};
use serde_json::json;

use crate::{APP, NOW, NOW_SECS, SECRET, TOKEN, bytes, message, open, query_of, signed_query, with_token};

#[test]
fn a_body_that_is_not_what_it_says_names_what_is_wrong_and_quotes_nothing() {
    let query = query_of("Group.CallbackAfterSendMsg");
    let reason = |body: &[u8]| match open().begin(&Request::new(&query, body), NOW).unwrap_err() {
        Error::BadBody { reason, .. } => reason,
        other => panic!("{other}"),
    };
    let mut lacking = message("lobby", 1);
    lacking.as_object_mut().unwrap().remove("MsgSeq");
    assert!(reason(&bytes(&lacking)).contains("`MsgSeq`"));

    let mut odd = message("lobby", 1);
    odd["MsgSeq"] = "my secret words".into();
    assert!(!reason(&bytes(&odd)).contains("secret"), "{}", reason(&bytes(&odd)));

    for body in [&b""[..], b"[]", b"{", b"null", b"\xff", b"{\"CallbackCommand\":7}"] {
        assert!(!reason(body).is_empty());
    }
    let deep = format!(
        "{{\"CallbackCommand\":\"Group.CallbackAfterSendMsg\",\"X\":{}{}}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    assert!(!reason(deep.as_bytes()).is_empty());
}

#[test]
fn each_refusal_says_what_to_do_without_secrets() {
    let body = bytes(&message("lobby", 1));
    for query in
        ["", "SdkAppid=7&CallbackCommand=X", &query_of("X"), &signed_query("wrong", NOW_SECS), &signed_query(TOKEN, 5)]
    {
        let error = with_token().begin(&Request::new(query, &body), NOW).unwrap_err();
        let text = error.to_string();
        assert!(text.len() > 40 && !text.contains(TOKEN) && !text.contains("ship today"), "{text}");
        assert!((400..500).contains(&error.status()));
    }
}

proptest! {
    #[test]
    fn no_query_and_no_body_panics(query in "\\PC{0,200}", body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = open().begin(&Request::new(&query, &body), NOW);
        let _ = open().begin(&Request::new(&query_of("Group.CallbackAfterSendMsg"), &body), NOW);
    }

    #[test]
    fn no_header_panics(headers in prop::collection::vec((0..5_usize, "\\PC{0,60}"), 0..8)) {
        let names = ["webhook-id", "Webhook-Timestamp", "WEBHOOK-SIGNATURE", "roomhook-attempt", "x-other"];
        let body = bytes(&message("lobby", 1));
        let query = signed_query(TOKEN, NOW_SECS);
        let request = Request::new(&query, &body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(names[*name], value));
        let receiver = Receiver::new(Config::new(APP).token(TOKEN).signing_secret(SECRET).unwrap());
        prop_assert!(receiver.begin(&request, NOW).is_err());
    }

    #[test]
    fn a_cut_or_changed_body_is_refused_or_read_but_never_panics(cut in 0..600_usize, flip in 0..600_usize, with in any::<u8>()) {
        let mut body = bytes(&message("lobby", 1));
        body.truncate(cut);
        if let Some(byte) = body.get_mut(flip) {
            *byte = with;
        }
        let _ = open().begin(&Request::new(&query_of("Group.CallbackAfterSendMsg"), &body), NOW);
    }

    #[test]
    fn extreme_numbers_are_committed(seqs in prop::collection::vec(any::<u64>(), 1..20), time in any::<u64>()) {
        let mut receiver = open();
        for seq in seqs {
            let mut body = message("lobby", seq);
            body["Random"] = json!(1);
            body["MsgTime"] = json!(time);
            let text = bytes(&body);
            let received = receiver.begin(&Request::new(&query_of("Group.CallbackAfterSendMsg"), &text), NOW).unwrap();
            receiver.commit(&received, NOW);
            let again = receiver.begin(&Request::new(&query_of("Group.CallbackAfterSendMsg"), &text), NOW).unwrap();
            prop_assert!(again.is_repeat());
        }
    }
}
