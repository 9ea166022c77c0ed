//! The before-send gate and real moderators on loopback: every verdict, every way to fail, order, and who waits for whom.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt;
use prometheus_client::{encoding::text::encode, registry::Registry};
use roomhook_hooks::gate::{Config, Decision, Gate};
use roomhook_room::{AppId, Draft, Endpoint, EndpointId, GateFailure, RoomId, RoomKey};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    receiver::{Got, Receiver, Reply},
    world::{self, APP, draft, user},
};

pub(crate) const BEFORE_SEND: &str = "Group.CallbackBeforeSendMsg";
pub(crate) const EXCEPTION: &str = "Group.CallbackSendMsgException";

pub(crate) struct Door {
    pub(crate) gate: Gate,
    endpoints: watch::Sender<Arc<Vec<Arc<Endpoint>>>>,
    registry: Registry,
}

impl Door {
    pub(crate) fn new(endpoints: Vec<Endpoint>) -> Self {
        Self::with(Config { timeout: Duration::from_millis(300), ..Config::default() }, endpoints)
    }

    pub(crate) fn with(config: Config, endpoints: Vec<Endpoint>) -> Self {
        Self::beside(world::config(), config, endpoints)
    }

    pub(crate) fn beside(hooks: roomhook_hooks::Config, config: Config, endpoints: Vec<Endpoint>) -> Self {
        let (sender, receiver) = watch::channel(Arc::default());
        let mut registry = Registry::default();
        let gate = Gate::new(receiver, hooks, config, Arc::new(world::now), &mut registry);
        let door = Self { gate, endpoints: sender, registry };
        door.configure(endpoints);
        door
    }

    pub(crate) fn configure(&self, endpoints: Vec<Endpoint>) {
        self.endpoints.send_replace(Arc::new(endpoints.into_iter().map(Arc::new).collect()));
    }

    pub(crate) async fn decide(&self, draft: &Draft) -> Option<Decision> {
        let room = room(APP, "room-7");
        let mut turn = self.gate.line_up(&room, &draft.from).await?;
        Some(turn.ask("AVChatRoom", draft).await)
    }

    pub(crate) fn metric(&self, line: &str) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("metrics");
        // What never happened is not shown.
        text.lines().find_map(|shown| shown.strip_prefix(line)).unwrap_or("0").trim().to_owned()
    }
}

pub(crate) fn room(app: AppId, id: &str) -> RoomKey {
    RoomKey { app, room: RoomId::new(id).expect("room id") }
}

pub(crate) fn moderated(app: AppId, url: &str) -> Endpoint {
    Endpoint {
        url: url.into(),
        commands: vec![BEFORE_SEND.into()],
        ..Endpoint::new(app, EndpointId(EndpointId::DEFAULT.into()))
    }
}

fn answer(body: serde_json::Value) -> Reply {
    Reply { body: body.to_string(), ..Reply::ok() }
}

pub(crate) fn verdict(code: i64, info: &str) -> Reply {
    answer(json!({"ActionStatus": "OK", "ErrorInfo": info, "ErrorCode": code}))
}

pub(crate) fn text_of(got: &Got) -> &str {
    got.body["MsgBody"][0]["MsgContent"]["Text"].as_str().unwrap_or("?")
}

pub(crate) fn refused(code: i32, info: &str) -> Option<Decision> {
    Some(Decision::Refuse { code, info: info.into() })
}

#[tokio::test]
async fn the_question_is_the_documented_one_and_signed_like_every_webhook() {
    let moderator = Receiver::start().await;
    let mut endpoint = moderated(APP, &moderator.url("/tencent"));
    endpoint.token = Some(roomhook_room::Token { value: "lantern-9f21".into(), enabled: true });
    endpoint.signing_secrets = vec!["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into()];
    let door = Door::new(vec![endpoint]);
    assert_eq!(door.decide(&draft("does it ship today?")).await, Some(Decision::Allow));
    let got = moderator.got().remove(0);
    let query = "/tencent?SdkAppid=1400000001&CallbackCommand=Group.CallbackBeforeSendMsg&contenttype=json\
                 &ClientIP=203.0.113.24&OptPlatform=Web&Sign=";
    assert!(got.target.starts_with(query), "{}", got.target);
    assert!(got.header("webhook-signature").starts_with("v1,"));
    let mut body = got.body.clone();
    assert!(body["EventTime"].take().is_u64());
    let expected = json!({
        "CallbackCommand": BEFORE_SEND,
        "GroupId": "room-7",
        "Type": "AVChatRoom",
        "From_Account": "ana_k",
        "Operator_Account": "ana_k",
        "Random": 2_874_610_953_u32,
        "MsgId": "144115289000012345-1767225663-2874610953",
        "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "does it ship today?"}}],
        "CloudCustomData": "",
        "EventTime": null,
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn each_verdict_does_what_it_says() {
    let moderator = Receiver::start().await;
    moderator.rule(|got| match text_of(got) {
        "fine" => verdict(0, ""),
        "curse" => answer(json!({
            "ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0,
            "MsgBody": [ {"MsgType": "TIMTextElem", "MsgContent": {"Text": "*****"}} ],
        })),
        "tagged" => {
            answer(json!({"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0, "CloudCustomData": "{\"seen\":1}"}))
        }
        "bad" => verdict(1, "not here"),
        "bad, no reason" => verdict(1, ""),
        "spam" => verdict(2, ""),
        "link" => verdict(10_107, "no links in this room"),
        _ => verdict(4711, "what is this"),
    });
    let door = Door::new(vec![moderated(APP, &moderator.url("/"))]);
    let decide = async |text: &str| door.decide(&draft(text)).await;
    assert_eq!(decide("fine").await, Some(Decision::Allow));
    let Some(Decision::Replace { body, custom_data }) = decide("curse").await else { panic!("not replaced") };
    assert_eq!(body, r#"[{"MsgContent":{"Text":"*****"},"MsgType":"TIMTextElem"}]"#);
    assert_eq!(custom_data, r#""""#, "what the moderator left out stays the sender's");
    let Some(Decision::Replace { body, custom_data }) = decide("tagged").await else { panic!("not replaced") };
    assert_eq!((body, custom_data), (draft("tagged").body, r#""{\"seen\":1}""#.into()));
    assert_eq!(decide("bad").await, refused(10_016, "not here"));
    assert_eq!(decide("bad, no reason").await, refused(10_016, "rejected by webhook"));
    assert_eq!(decide("spam").await, Some(Decision::Discard));
    assert_eq!(decide("link").await, refused(10_107, "no links in this room"));
    assert_eq!(decide("odd").await, refused(10_016, "rejected by webhook"));

    let recent: Vec<(&str, i32)> = door.gate.recent(APP).iter().map(|asked| (asked.verdict, asked.code)).collect();
    let expected = [
        ("undocumented", 10_016),
        ("refuse", 10_107),
        ("discard", 0),
        ("refuse", 10_016),
        ("refuse", 10_016),
        ("replace", 0),
        ("replace", 0),
        ("allow", 0),
    ];
    assert_eq!(recent, expected);
    let counted = r#"roomhook_gate_verdicts_total{app="1400000001",verdict="undocumented",mode="act"}"#;
    assert_eq!(door.metric(counted), "1");
}

/// Every way of a moderator to give no verdict. `true`: the question arrived.
async fn failing(text: &str, receiver: &Receiver) -> String {
    receiver.rule(|got| match text_of(got) {
        "slow" => Reply { after: Duration::from_secs(60), ..Reply::ok() },
        "error" => Reply::status(500),
        "no content" => Reply { body: String::new(), ..Reply::status(204) },
        "redirect" => Reply { headers: vec![("location", "http://127.0.0.1:9/".into())], ..Reply::status(302) },
        "garbage" => Reply { body: "<html>".into(), ..Reply::ok() },
        "no text" => answer(json!({"ActionStatus": "FAIL", "ErrorCode": 10_107})),
        "array" => Reply { body: "[0,\"\",0]".into(), ..Reply::ok() },
        "oversized" => Reply { body: format!("{{\"x\":\"{}\"}}", "y".repeat(100_000)), ..Reply::ok() },
        "no message" => answer(json!({"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0, "MsgBody": []})),
        _ => answer(json!({
            "ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0, "CloudCustomData": "z".repeat(20_000),
        })),
    });
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        format!("http://{}/", listener.local_addr().expect("address"))
    };
    match text {
        "dead" => dead,
        "forbidden address" => "http://10.0.0.1/".into(),
        _ => receiver.url("/"),
    }
}

#[tokio::test]
async fn whatever_fails_goes_by_the_policy() {
    let receiver = Receiver::start().await;
    for (text, reason) in [
        ("slow", "timeout"),
        ("dead", "connect"),
        ("forbidden address", "not_allowed"),
        ("error", "status"),
        ("no content", "status"),
        ("redirect", "status"),
        ("garbage", "malformed"),
        ("no text", "malformed"),
        ("array", "malformed"),
        ("oversized", "answer_too_long"),
        ("no message", "replacement"),
        ("too long", "replacement"),
    ] {
        let url = failing(text, &receiver).await;
        let passing = moderated(APP, &url);
        let dropping = Endpoint { gate_failure: Some(GateFailure::Drop), ..passing.clone() };
        let door = Door::new(vec![passing]);
        assert_eq!(door.decide(&draft(text)).await, Some(Decision::Allow), "{text}");
        door.configure(vec![dropping]);
        let text_80003 = "the before-send webhook failed and the policy is to drop";
        assert_eq!(door.decide(&draft(text)).await, refused(80_003, text_80003), "{text}");
        let counted = format!(r#"roomhook_gate_failures_total{{app="1400000001",reason="{reason}"}}"#);
        assert_eq!(door.metric(&counted), "2", "{text}");
        let asked = door.gate.recent(APP);
        assert!(asked.iter().all(|asked| asked.verdict == "failed" && asked.problem.is_some()), "{asked:?}");
        assert_eq!(door.metric(r#"roomhook_gate_waiting_messages{app="1400000001"}"#), "0");
    }
}

#[tokio::test]
async fn a_refusal_without_its_text_is_a_failed_call_and_the_operator_reads_what_it_lacks() {
    let receiver = Receiver::start().await;
    let door = Door::new(vec![moderated(APP, &failing("no text", &receiver).await)]);
    door.decide(&draft("no text")).await;
    let problem = door.gate.recent(APP)[0].problem.clone().expect("a problem");
    assert!(problem.contains("lacks ActionStatus, ErrorInfo (may be empty) or a whole ErrorCode"), "{problem}");
}

#[tokio::test]
async fn a_sender_is_asked_about_and_goes_on_in_order_however_the_answers_come() {
    let moderator = Receiver::start().await;
    // Later messages are answered faster.
    moderator.rule(|got| {
        let late = 20u64.saturating_sub(text_of(got).parse().unwrap_or(0));
        Reply { after: Duration::from_millis(late), ..Reply::ok() }
    });
    let door = Arc::new(Door::with(
        Config { wait_max: Duration::from_secs(20), timeout: Duration::from_secs(20), ..Config::default() },
        vec![moderated(APP, &moderator.url("/"))],
    ));
    let appended = Arc::new(Mutex::new(Vec::new()));
    let mut senders = JoinSet::new();
    for number in 0..20 {
        for name in ["ana_k", "bo77", "cat"] {
            let (door, appended) = (door.clone(), appended.clone());
            senders.spawn(async move {
                let draft = Draft { from: user(name), ..draft(&number.to_string()) };
                let room = room(APP, if number % 2 == 0 { "room-7" } else { "room-8" });
                let mut turn = door.gate.line_up(&room, &draft.from).await.expect("moderated");
                assert_eq!(turn.ask("Live", &draft).await, Decision::Allow);
                appended.lock().expect("appended").push((name, number));
                drop(turn);
            });
        }
        // Each message joins its line before the next one is sent.
        tokio::task::yield_now().await;
    }
    senders.join_all().await;
    let appended = appended.lock().expect("appended").clone();
    for name in ["ana_k", "bo77", "cat"] {
        let own: Vec<u32> = appended.iter().filter(|(from, _)| *from == name).map(|(_, number)| *number).collect();
        assert_eq!(own, (0..20).collect::<Vec<_>>(), "{name}");
    }
    let asked: Vec<String> = moderator.got().iter().map(|got| got.body["From_Account"].to_string()).collect();
    assert!(asked.chunk_by(|a, b| a == b).count() > 3, "senders are asked about side by side");
}

#[tokio::test]
async fn a_moderator_that_never_answers_holds_up_nobody_elses_app() {
    let (stuck, healthy) = (AppId(1), AppId(2));
    let black_hole = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let well = Receiver::start().await;
    let config = Config { timeout: Duration::from_secs(60), wait_max: Duration::from_secs(60), ..Config::default() };
    let hole = format!("http://{}/", black_hole.local_addr().expect("address"));
    let mut patient = moderated(stuck, &hole);
    patient.timeout_ms = Some(60_000);
    let mut other = moderated(healthy, &well.url("/"));
    other.timeout_ms = Some(60_000);
    let door = Arc::new(Door::with(config, vec![patient, other]));
    let mut waiting = JoinSet::new();
    for number in 0..500 {
        let door = door.clone();
        waiting.spawn(async move {
            let draft = Draft { from: user(&format!("u{number}")), ..draft("hello?") };
            let mut turn = door.gate.line_up(&room(stuck, "r"), &draft.from).await.expect("moderated");
            turn.ask("Live", &draft).await
        });
    }
    while door.metric(r#"roomhook_gate_questions_in_flight{app="1"}"#) != "64" {
        tokio::task::yield_now().await;
    }
    // No gate: answered at the first poll, whatever happens elsewhere.
    for number in 0..1_000 {
        let unmoderated = room(AppId(3), &format!("r{number}"));
        assert!(door.gate.line_up(&unmoderated, &user("bo77")).now_or_never().expect("at once").is_none());
    }
    // A gate of its own: asked and answered while the other app's 64 questions hang.
    for number in 0..100 {
        let draft = Draft { from: user("bo77"), ..draft(&number.to_string()) };
        let mut turn = door.gate.line_up(&room(healthy, "r"), &draft.from).await.expect("moderated");
        assert_eq!(turn.ask("Live", &draft).await, Decision::Allow);
    }
    assert_eq!(door.metric(r#"roomhook_gate_questions_in_flight{app="1"}"#), "64", "still hanging");
    assert_eq!(door.metric(r#"roomhook_gate_waiting_messages{app="1"}"#), "500");
    waiting.shutdown().await;
    assert_eq!(door.metric(r#"roomhook_gate_waiting_messages{app="1"}"#), "0", "who gives up leaves the line");
    assert_eq!(door.metric(r#"roomhook_gate_questions_in_flight{app="1"}"#), "0");
}

#[tokio::test]
async fn too_many_waiting_go_by_the_policy_and_are_counted() {
    let black_hole = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let mut endpoint = moderated(APP, &format!("http://{}/", black_hole.local_addr().expect("address")));
    endpoint.gate_failure = Some(GateFailure::Drop);
    endpoint.concurrency = Some(1);
    let config = Config { waiting_max: 2, wait_max: Duration::from_millis(50), ..Config::default() };
    let door = Arc::new(Door::with(config, vec![endpoint]));
    let mut waiting = JoinSet::new();
    for name in ["ann", "bob"] {
        let door = door.clone();
        waiting.spawn(async move { door.decide(&Draft { from: user(name), ..draft("hello") }).await });
    }
    while door.metric(r#"roomhook_gate_waiting_messages{app="1400000001"}"#) != "2" {
        tokio::task::yield_now().await;
    }
    let text = "the before-send webhook failed and the policy is to drop";
    assert_eq!(door.decide(&Draft { from: user("cat"), ..draft("full") }).await, refused(80_003, text));
    // One of the two gets the only connection, the other waits for it in vain.
    let counted = r#"roomhook_gate_failures_total{app="1400000001",reason="overloaded"}"#;
    assert_eq!(waiting.join_next().await.expect("one").expect("task"), refused(80_003, text));
    assert_eq!(door.metric(counted), "2");
    waiting.shutdown().await;
}

#[tokio::test]
async fn shadow_mode_asks_and_records_and_holds_nothing_up() {
    let moderator = Receiver::start().await;
    moderator.rule(|_| verdict(10_150, "I would have said no"));
    let mut endpoint = moderated(APP, &moderator.url("/"));
    endpoint.gate_shadow = Some(true);
    let door = Door::new(vec![endpoint.clone()]);
    let decided = door.decide(&draft("hello")).now_or_never().expect("without waiting");
    assert_eq!(decided, Some(Decision::Allow));
    moderator.wait_for(1).await;
    while door.gate.recent(APP).is_empty() {
        tokio::task::yield_now().await;
    }
    let asked = door.gate.recent(APP).remove(0);
    assert_eq!((asked.verdict, asked.code, asked.shadow), ("refuse", 10_150, true));
    let counted = r#"roomhook_gate_verdicts_total{app="1400000001",verdict="refuse",mode="shadow"}"#;
    assert_eq!(door.metric(counted), "1");

    endpoint.gate_shadow = Some(false);
    door.configure(vec![endpoint]);
    assert_eq!(door.decide(&draft("hello")).await, refused(10_150, "I would have said no"), "from the next message on");
}

#[tokio::test]
async fn only_what_is_switched_on_and_in_the_filter_is_asked_about() {
    let moderator = Receiver::start().await;
    let on = moderated(APP, &moderator.url("/"));
    let door = Door::new(vec![]);
    assert_eq!(door.decide(&draft("no endpoint")).await, None);
    door.configure(vec![Endpoint { commands: vec!["Group.CallbackAfterSendMsg".into()], ..on.clone() }]);
    assert_eq!(door.decide(&draft("switched off")).await, None);
    door.configure(vec![Endpoint { room_prefix: "vip-".into(), ..on.clone() }]);
    assert_eq!(door.decide(&draft("filtered")).await, None);
    door.configure(vec![Endpoint { url: String::new(), ..on.clone() }]);
    assert_eq!(door.decide(&draft("no url")).await, None);
    door.configure(vec![Endpoint { id: EndpointId("second".into()), ..on.clone() }]);
    assert_eq!(door.decide(&draft("not the default endpoint")).await, None);
    door.configure(vec![on]);
    assert_eq!(door.decide(&draft("asked")).await, Some(Decision::Allow));
    assert_eq!(moderator.got().iter().map(text_of).collect::<Vec<_>>(), ["asked"]);
}

#[tokio::test]
async fn a_message_that_was_not_sent_is_reported_once_or_dropped_with_a_count() {
    let receiver = Receiver::start().await;
    let mut endpoint = moderated(APP, &receiver.url("/"));
    endpoint.commands = vec![EXCEPTION.into()];
    let config = Config { errands_max: 2, ..Config::default() };
    let door = Door::with(config, vec![endpoint]);
    assert_eq!(door.decide(&draft("first!")).await, None, "reporting is not asking");
    for _ in 0..5 {
        // Nothing runs between these: the queue of two fills up.
        if let Some(report) = door.gate.report(&room(APP, "room-7")) {
            report.tell("AVChatRoom", &draft("first!"), 10_023, "message rate of the group exceeded");
        }
    }
    let got = receiver.wait_for(2).await;
    let mut body = got[0].body.clone();
    body["EventTime"] = json!(1_767_225_663_473_u64);
    let expected = json!({
        "CallbackCommand": EXCEPTION,
        "GroupId": "room-7",
        "Type": "AVChatRoom",
        "From_Account": "ana_k",
        "Operator_Account": "ana_k",
        "Random": 2_874_610_953_u32,
        "OnlineOnlyFlag": 0,
        "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "first!"}}],
        "CloudCustomData": "",
        "ErrorCode": 10_023,
        "ErrorInfo": "message rate of the group exceeded",
        "EventTime": 1_767_225_663_473_u64,
    });
    assert_eq!(body, expected);
    assert_eq!(door.metric(r#"roomhook_gate_exceptions_total{app="1400000001",outcome="dropped"}"#), "3");
    assert_eq!(got.len(), 2);
    assert_ne!(got[0].header("webhook-id"), got[1].header("webhook-id"), "a receiver drops repeats by it");
}
