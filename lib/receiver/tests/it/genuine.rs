//! What is accepted, and what each refusal is called.

use roomhook_protocol::standard_webhooks::Secret;
use roomhook_receiver::{Config, Error, Event, Receiver, Request, Stale, VerifyError};

use crate::{APP, NOW, NOW_SECS, SECRET, TOKEN, bytes, message, open, query_of, signed_query, with_token};

#[test]
fn a_signed_request_is_read() {
    let (query, body) = (signed_query(TOKEN, NOW_SECS), bytes(&message("lobby", 1)));
    let received = with_token().begin(&Request::new(&query, &body).header("Roomhook-Attempt", "2"), NOW).unwrap();
    assert_eq!(received.delivery().client_ip.as_deref(), Some("203.0.113.24"));
    assert_eq!(received.delivery().platform.as_deref(), Some("RESTAPI"));
    assert_eq!(received.delivery().attempt, Some(2));
    let Event::AfterSendMsg(sent) = received.into_event() else { panic!("another event") };
    assert_eq!(
        (sent.group_id.as_str(), sent.msg_seq, sent.msg_body[0].text()),
        ("lobby", 1, Some("does it ship today?"))
    );
}

#[test]
fn what_was_signed_with_another_token_or_not_at_all_is_refused() {
    let body = bytes(&message("lobby", 1));
    let refuse = |query: &str| with_token().begin(&Request::new(query, &body), NOW).unwrap_err();
    assert_eq!(refuse(&signed_query("lantern-9f22", NOW_SECS)), Error::WrongSign);
    assert_eq!(refuse(&query_of("Group.CallbackAfterSendMsg")), Error::Unsigned);
    let cut = signed_query(TOKEN, NOW_SECS).replace("&RequestTime", "&X");
    assert_eq!(refuse(&cut), Error::Unsigned);
    assert_eq!(refuse(&signed_query(TOKEN, NOW_SECS)[1..]), Error::MissingQuery { name: "SdkAppid" });
}

#[test]
fn a_request_older_than_a_minute_is_refused_and_so_is_one_from_the_future() {
    let body = bytes(&message("lobby", 1));
    let at = |secs| with_token().begin(&Request::new(&signed_query(TOKEN, secs), &body), NOW).map(drop);
    assert_eq!(at(NOW_SECS - 60), Ok(()));
    assert_eq!(at(NOW_SECS + 60), Ok(()));
    assert_eq!(at(NOW_SECS - 61), Err(Error::Stale(Stale::Off { off_secs: 61 })));
    assert_eq!(at(NOW_SECS + 61), Err(Error::Stale(Stale::Off { off_secs: 61 })));
}

#[test]
fn while_a_token_is_changed_both_will_do() {
    let receiver = Receiver::new(Config::new(APP).token(TOKEN).token("lantern-new"));
    let body = bytes(&message("lobby", 1));
    for token in [TOKEN, "lantern-new"] {
        assert!(receiver.begin(&Request::new(&signed_query(token, NOW_SECS), &body), NOW).is_ok());
    }
}

#[test]
fn another_app_is_told_which_app_this_is() {
    let body = bytes(&message("lobby", 1));
    let query = query_of("Group.CallbackAfterSendMsg").replace("1400555012", "1400000001");
    let error = open().begin(&Request::new(&query, &body), NOW).unwrap_err();
    assert_eq!((error.clone(), error.status()), (Error::WrongApp { expected: APP, got: 1_400_000_001 }, 403));
}

#[test]
fn a_signing_secret_proves_the_body() {
    let receiver = Receiver::new(Config::new(APP).signing_secret(SECRET).unwrap());
    let (query, body) = (query_of("Group.CallbackAfterSendMsg"), bytes(&message("lobby", 1)));
    let signature = Secret::parse(SECRET).unwrap().sign("msg_1", NOW_SECS, &body);
    let timestamp = NOW_SECS.to_string();
    let signed = |body| {
        Request::new(&query, body)
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", &timestamp)
            .header("webhook-signature", &signature)
    };
    assert!(receiver.begin(&signed(&body), NOW).is_ok());

    let forged = bytes(&message("lobby", 2));
    assert_eq!(receiver.begin(&signed(&forged), NOW).unwrap_err(), Error::WrongBodySignature(VerifyError::Signature));
    let old = receiver.begin(&signed(&body), NOW + 301_000).unwrap_err();
    assert_eq!(old, Error::WrongBodySignature(VerifyError::Stale { off_secs: 301 }));
    let unsigned = Request { webhook_signature: None, ..signed(&body) };
    assert_eq!(receiver.begin(&unsigned, NOW).unwrap_err(), Error::UnsignedBody { name: "webhook-signature" });
}

/// The headers of a request signed by all of `secrets` at a time.
fn sign(secrets: &[&str], time_secs: u64, body: &[u8]) -> [(&'static str, String); 3] {
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::parse(secret).unwrap()).collect();
    let signature = roomhook_protocol::standard_webhooks::sign_all(&secrets, "msg_1", time_secs, body);
    [("webhook-id", "msg_1".into()), ("webhook-timestamp", time_secs.to_string()), ("webhook-signature", signature)]
}

fn with_headers<'a>(query: &'a str, body: &'a [u8], headers: &'a [(&'static str, String)]) -> Request<'a> {
    headers.iter().fold(Request::new(query, body), |request, (name, value)| request.header(name, value))
}

#[test]
fn a_secret_is_changed_on_either_side_first_without_losing_a_request() {
    const OLD: &str = SECRET;
    const NEW: &str = "whsec_bmV3LXNlY3JldC1vZi0yNC1ieXRlcy1vci1tb3Jl";
    let receiver = |secrets: &[&str]| {
        let config = secrets.iter().fold(Config::new(APP), |config, secret| config.signing_secret(secret).unwrap());
        Receiver::new(config)
    };
    let (query, body) = (query_of("Group.CallbackAfterSendMsg"), bytes(&message("lobby", 1)));
    let takes = |knows: &[&str], signed_by: &[&str]| {
        let headers = sign(signed_by, NOW_SECS, &body);
        receiver(knows).begin(&with_headers(&query, &body, &headers), NOW).is_ok()
    };
    // As `docs/ops/webhooks.md` says: the sender gets both, receivers learn the new one, the sender keeps that one alone.
    for (knows, signed_by) in [
        (&[OLD][..], &[OLD][..]),
        (&[OLD], &[OLD, NEW]),
        (&[OLD, NEW], &[OLD, NEW]),
        (&[NEW], &[OLD, NEW]),
        (&[NEW], &[NEW]),
    ] {
        assert!(takes(knows, signed_by));
    }
    assert!(!takes(&[NEW], &[OLD]) && !takes(&[OLD], &[NEW]));
}

#[test]
fn a_signed_body_is_fresh_for_five_minutes_either_way() {
    let receiver = Receiver::new(Config::new(APP).signing_secret(SECRET).unwrap());
    let (query, body) = (query_of("Group.CallbackAfterSendMsg"), bytes(&message("lobby", 1)));
    let at = |secs| receiver.begin(&with_headers(&query, &body, &sign(&[SECRET], secs, &body)), NOW).map(drop);
    assert_eq!((at(NOW_SECS - 300), at(NOW_SECS + 300)), (Ok(()), Ok(())));
    let stale = Err(Error::WrongBodySignature(VerifyError::Stale { off_secs: 301 }));
    assert_eq!((at(NOW_SECS - 301), at(NOW_SECS + 301)), (stale.clone(), stale));
}

#[test]
fn of_several_signatures_one_must_fit_and_versions_of_another_time_are_passed_over() {
    let receiver = Receiver::new(Config::new(APP).signing_secret(SECRET).unwrap());
    let (query, body) = (query_of("Group.CallbackAfterSendMsg"), bytes(&message("lobby", 1)));
    let [id, time, (_, good)] = sign(&[SECRET], NOW_SECS, &body);
    let takes = |signature: String| {
        let headers = [id.clone(), time.clone(), ("webhook-signature", signature)];
        receiver.begin(&with_headers(&query, &body, &headers), NOW).is_ok()
    };
    assert!(takes(good.clone()));
    assert!(takes(format!("v1,AAAA v2,{} v1a,xyz {good}", "x".repeat(100))));
    for bad in [
        String::new(),
        " ".into(),
        "v1".into(),
        "v1,".into(),
        "v1,AAAA".into(),
        good.replace("v1,", "v2,"),
        good.replace("v1,", "V1,"),
        good.replace("v1,", ""),
        good.replace("v1,", "v1, "),
        good.trim_end_matches('=').to_owned(),
        format!("{}{good}", "v1,AAAA ".repeat(16)),
    ] {
        assert!(!takes(bad.clone()), "{bad}");
    }
}

#[test]
fn a_header_that_is_there_twice_is_refused_whichever_of_the_two_is_right() {
    let receiver = Receiver::new(Config::new(APP).signing_secret(SECRET).unwrap());
    let (query, body) = (query_of("Group.CallbackAfterSendMsg"), bytes(&message("lobby", 1)));
    let headers = sign(&[SECRET], NOW_SECS, &body);
    for (name, value) in &headers {
        for twice in [value.as_str(), "something else"] {
            let once = with_headers(&query, &body, &headers);
            assert!(receiver.begin(&once, NOW).is_ok());
            let after = once.header(&name.to_uppercase(), twice);
            assert_eq!(receiver.begin(&after, NOW).unwrap_err(), Error::RepeatedHeader { name });
            let before =
                headers.iter().fold(Request::new(&query, &body).header(name, twice), |r, (n, v)| r.header(n, v));
            assert_eq!(receiver.begin(&before, NOW).unwrap_err(), Error::RepeatedHeader { name });
        }
    }
}

#[test]
fn both_kinds_of_signature_are_asked_for_where_both_are_set() {
    let receiver = Receiver::new(Config::new(APP).token(TOKEN).signing_secret(SECRET).unwrap());
    let (query, body) = (signed_query(TOKEN, NOW_SECS), bytes(&message("lobby", 1)));
    let headers = sign(&[SECRET], NOW_SECS, &body);
    assert!(receiver.begin(&with_headers(&query, &body, &headers), NOW).is_ok());
    assert!(matches!(receiver.begin(&Request::new(&query, &body), NOW), Err(Error::UnsignedBody { .. })));
    let unsigned = query_of("Group.CallbackAfterSendMsg");
    assert_eq!(receiver.begin(&with_headers(&unsigned, &body, &headers), NOW).unwrap_err(), Error::Unsigned);
}

#[test]
fn a_token_that_was_left_empty_lets_nobody_in() {
    let receiver = Receiver::new(Config::new(APP).token(""));
    let body = bytes(&message("lobby", 1));
    let forged = signed_query("", NOW_SECS);
    assert_eq!(receiver.begin(&Request::new(&forged, &body), NOW).unwrap_err(), Error::WrongSign);
}

#[test]
fn query_and_body_must_name_the_same_command() {
    let body = bytes(&message("lobby", 1));
    let error = open().begin(&Request::new(&query_of("Live.CallbackAfterCreateRoom"), &body), NOW).unwrap_err();
    assert!(matches!(error, Error::OtherCommand { .. }), "{error}");
}

#[test]
fn every_documented_webhook_is_taken_with_all_its_members() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/fixtures");
    let mut taken = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("webhook_") || name.contains("response") {
            continue;
        }
        let mut body: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        body["AddedNextYear"] = "kept".into();
        let query = query_of(body["CallbackCommand"].as_str().unwrap());
        let text = bytes(&body);
        let received =
            open().begin(&Request::new(&query, &text), NOW).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(received.event()).unwrap(), body, "{name}");
        taken += 1;
    }
    assert!(taken > 30, "only {taken} fixtures found");
}

#[test]
fn event_time_may_be_a_string() {
    let mut body = message("lobby", 1);
    body["EventTime"] = NOW.to_string().into();
    let text = bytes(&body);
    let received = open().begin(&Request::new(&query_of("Group.CallbackAfterSendMsg"), &text), NOW).unwrap();
    let Event::AfterSendMsg(sent) = received.event() else { panic!("another event") };
    assert_eq!(sent.event_time.millis, NOW);
}
