//! Moderators and senders who mean harm: answers that are no verdict, verdicts that are not asked for, floods.

use std::time::Duration;

use roomhook_hooks::gate::{Config, Decision};
use roomhook_room::{Endpoint, GateFailure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::{
    gate::{Door, EXCEPTION, moderated, refused, room, text_of, verdict},
    receiver::{Receiver, Reply},
    world::{APP, draft},
};

/// What a moderator may not put in place of a message, whatever it means by it.
#[tokio::test]
async fn a_hostile_replacement_is_a_failed_call_and_never_a_message() {
    let nested = |depth: usize| {
        format!(r#"[{{"MsgType":"A","MsgContent":{{"x":{}{}}}}}]"#, "[".repeat(depth), "]".repeat(depth))
    };
    let text = |text: &str| format!(r#"[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":{text}}}}}]"#);
    let good = text(r#""fine""#);
    let bodies = [
        ("no array", r#""text""#.to_owned(), "replacement"),
        ("an object", r#"{"MsgType":"TIMTextElem"}"#.to_owned(), "replacement"),
        ("a number", "7".to_owned(), "replacement"),
        ("nothing in it", "[]".to_owned(), "replacement"),
        ("elements that are none", "[1,null]".to_owned(), "replacement"),
        ("no type", r#"[{"MsgContent":{}}]"#.to_owned(), "replacement"),
        ("two types", r#"[{"MsgType":"A","MsgType":"B","MsgContent":{}}]"#.to_owned(), "replacement"),
        ("a text that is none", text("5"), "replacement"),
        ("half a surrogate pair", text(r#""\ud800""#), "replacement"),
        ("nested deep", nested(100), "replacement"),
        ("nested very deep", nested(30_000), "replacement"),
        ("too long", text(&format!("{:?}", "x".repeat(13_000))), "replacement"),
        (
            "too many elements",
            format!("[{}]", vec![r#"{"MsgType":"A","MsgContent":{}}"#; 300].join(",")),
            "replacement",
        ),
        ("not JSON", "[".to_owned(), "malformed"),
    ];
    let answer = |members: &str| format!(r#"{{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0{members}}}"#);
    let mut cases: Vec<(&str, String, &str)> = bodies
        .into_iter()
        .map(|(name, body, reason)| (name, answer(&format!(r#","MsgBody":{body}"#)), reason))
        .collect();
    cases.push(("data that is no text", answer(&format!(r#","MsgBody":{good},"CloudCustomData":{{}}"#)), "malformed"));
    cases.push(("a body twice", answer(&format!(r#","MsgBody":{good},"MsgBody":{good}"#)), "malformed"));
    cases.push(("two codes", answer(r#","ErrorCode":1"#), "malformed"));
    let both_too_long = format!(
        r#","MsgBody":{},"CloudCustomData":"{}""#,
        text(&format!("{:?}", "x".repeat(7_000))),
        "y".repeat(7_000)
    );
    cases.push(("both within, together too long", answer(&both_too_long), "replacement"));
    let moderator = Receiver::start().await;
    for (name, body, reason) in cases {
        moderator.rule(move |_| Reply { body: body.clone(), ..Reply::ok() });
        let endpoint = Endpoint { gate_failure: Some(GateFailure::Drop), ..moderated(APP, &moderator.url("/")) };
        let door = Door::new(vec![endpoint]);
        let dropped = refused(80_003, "the before-send webhook failed and the policy is to drop");
        assert_eq!(door.decide(&draft("hello")).await, dropped, "{name}");
        let counted = format!(r#"roomhook_gate_failures_total{{app="1400000001",reason="{reason}"}}"#);
        assert_eq!(door.metric(&counted), "1", "{name}: {:?}", door.gate.recent(APP));
    }
    // What is unusual and allowed: another type, both parts, nulls, members nobody knows.
    for (body, replaced) in [
        (answer(&format!(r#","MsgBody":{good},"CloudCustomData":"c""#)), Some((good.as_str(), r#""c""#))),
        (
            answer(r#","MsgBody":[{"MsgType":"TIMCustomElem","MsgContent":{"Data":"d"}}]"#),
            Some((r#"[{"MsgType":"TIMCustomElem","MsgContent":{"Data":"d"}}]"#, r#""""#)),
        ),
        (answer(r#","MsgBody":null,"CloudCustomData":null,"Whatever":[1]"#), None),
    ] {
        moderator.rule(move |_| Reply { body: body.clone(), ..Reply::ok() });
        let door = Door::new(vec![moderated(APP, &moderator.url("/"))]);
        let expected = match replaced {
            Some((body, data)) => {
                Decision::Replace { body: body.to_owned().into(), custom_data: data.to_owned().into() }
            }
            None => Decision::Allow,
        };
        assert_eq!(door.decide(&draft("hello")).await, Some(expected));
    }
}

#[tokio::test]
async fn a_refusal_tells_the_sender_a_sentence_and_not_a_page() {
    let moderator = Receiver::start().await;
    moderator.rule(|_| verdict(10_107, &"né".repeat(10_000)));
    let door = Door::new(vec![moderated(APP, &moderator.url("/"))]);
    assert_eq!(door.decide(&draft("hello")).await, refused(10_107, &format!("{}n", "né".repeat(341))));
}

/// An answer more than there were questions must not become the verdict of the next message.
#[tokio::test]
async fn a_moderator_that_answers_twice_is_not_believed_about_the_next_message() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}/", listener.local_addr().expect("address"));
    let _moderator = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut request = vec![0; 65_536];
                while let Ok(1..) = stream.read(&mut request).await {
                    let code = u8::from(request.windows(4).any(|four| four == b"evil"));
                    let body = format!(r#"{{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":{code}}}"#);
                    let one = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    let _gone = stream.write_all(one.repeat(2).as_bytes()).await;
                    request.fill(0);
                }
            });
        }
    });
    let door = Door::new(vec![moderated(APP, &url)]);
    for _ in 0..20 {
        assert_eq!(door.decide(&draft("good")).await, Some(Decision::Allow));
        assert_eq!(door.decide(&draft("evil")).await, refused(10_016, "rejected by webhook"));
    }
}

#[tokio::test]
async fn a_flood_of_bad_messages_takes_few_connections_and_no_question_waits_for_it() {
    let receiver = Receiver::start().await;
    // Reports are never answered, questions at once.
    receiver.rule(|got| match got.body["CallbackCommand"].as_str() {
        Some(EXCEPTION) => Reply { after: Duration::from_secs(60), ..Reply::ok() },
        _ => Reply::ok(),
    });
    let mut endpoint = moderated(APP, &receiver.url("/"));
    endpoint.commands.push(EXCEPTION.into());
    endpoint.concurrency = Some(16);
    endpoint.timeout_ms = Some(60_000);
    let config = Config { errands_max: 100, timeout: Duration::from_secs(60), ..Config::default() };
    let door = Door::with(config, vec![endpoint.clone()]);
    let flood = |door: &Door| {
        for _ in 0..1_000 {
            if let Some(report) = door.gate.report(&room(APP, "room-7")) {
                report.tell("Live", &draft("bad"), 10_004, "bad");
            }
        }
    };
    flood(&door);
    receiver.wait_for(2).await;
    flood(&door);
    assert_eq!(door.decide(&draft("good")).await, Some(Decision::Allow));
    endpoint.gate_shadow = Some(true);
    door.configure(vec![endpoint]);
    assert_eq!(door.decide(&draft("watched")).await, Some(Decision::Allow));
    let got = receiver.wait_until(|got| got.iter().any(|got| text_of(got) == "watched")).await;
    let reports = got.iter().filter(|got| got.body["CallbackCommand"] == EXCEPTION).count();
    assert_eq!(reports, 2, "an eighth of the connections");
    assert_eq!(door.metric(r#"roomhook_gate_errands_waiting{app="1400000001"}"#), "100");
    let dropped: u32 =
        door.metric(r#"roomhook_gate_exceptions_total{app="1400000001",outcome="dropped"}"#).parse().expect("number");
    assert_eq!(dropped, 2_000 - 102);
}
