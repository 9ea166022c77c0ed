//! Sending: what a message becomes, what a repeat is answered, who may send.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use roomhook_edge::publish::{Gate, Report, Turn, Verdict};
use roomhook_log::LogId;
use roomhook_room::{
    Command, CreateRoom, Draft, Facts, Incarnation, MsgSeq, Platform, Priority, RoomId, RoomInfo, RoomKey, UnixMillis,
    UserId,
};
use serde_json::json;

use crate::world::{ADMIN, APP, NEW_YEAR, Options, World};

const TEXT: &str = "live_engine_http_srv/send_text_msg";
const CUSTOM: &str = "live_engine_http_srv/send_custom_msg";
const GROUP: &str = "group_open_http_svc/send_group_msg";

fn group_msg(from: &str, random: u32, text: &str) -> String {
    let body = json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}]);
    json!({"GroupId": "lobby", "From_Account": from, "Random": random, "MsgBody": body}).to_string()
}

#[tokio::test]
async fn a_text_becomes_a_message_with_all_its_facts() {
    let world = World::with_lobby().await;
    world.now_is(UnixMillis(NEW_YEAR.0 + 5_321));
    let said =
        json!({"RoomId": "lobby", "Sender_Account": "ann", "TextContent": "hi \"all\"", "ExtensionInfo": "{\"a\":1}"});
    let answer = world.ok(TEXT, &said.to_string()).await;
    let sent = json!({"MsgTime": NEW_YEAR.secs() + 5, "MsgSeq": 1, "MsgDropReason": ""});
    assert_eq!(answer["Response"], sent);

    let messages = world.messages("lobby").await;
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    let draft = &message.draft;
    assert_eq!((draft.from.as_str(), draft.operator.as_str()), ("ann", ADMIN));
    assert_eq!(draft.origin.platform, Platform::RestApi);
    assert_eq!(draft.origin.client_ip.to_string(), "127.0.0.1");
    assert_eq!(draft.body, r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi \"all\""}}]"#);
    assert_eq!(draft.custom_data, r#""{\"a\":1}""#);
    let number = world.services.directory.account(APP, "ann").unwrap().number;
    assert!(number > 1 << 57);
    assert_eq!(draft.msg_id.to_string(), format!("{number}-{}-{}", NEW_YEAR.secs() + 5, draft.random));
    world.stop().await;
}

#[tokio::test]
async fn a_custom_message_is_packaged_and_sent_by_the_caller_unless_told_otherwise() {
    let world = World::with_lobby().await;
    let said = json!({"RoomId": "lobby", "BusinessId": "coupon", "Data": "{\"left\":35}"});
    world.ok(CUSTOM, &said.to_string()).await;
    let messages = world.messages("lobby").await;
    let draft = &messages[0].draft;
    // An admin is an account without having been imported.
    assert_eq!(draft.from.as_str(), ADMIN);
    let inner = r#"{\"BusinessId\":\"coupon\",\"Data\":\"{\\\"left\\\":35}\"}"#;
    assert_eq!(draft.body, format!(r#"[{{"MsgType":"TIMCustomElem","MsgContent":{{"Data":"{inner}"}}}}]"#));
    assert_eq!(draft.custom_data, r#""""#);
    world.stop().await;
}

#[tokio::test]
async fn a_group_message_keeps_what_its_sender_chose() {
    let world = World::with_lobby().await;
    let said = json!({
        "GroupId": "lobby", "From_Account": "bob", "Random": 4_294_967_295_u32, "MsgPriority": "High",
        "MsgBody": [{"MsgType": "TIMFaceElem", "MsgContent": {"Index": 1, "Data": "x", "Own": [1, 2]}, "Extra": null}],
        "CloudCustomData": "c", "ForbidCallbackControl": ["ForbidBeforeSendMsgCallback", "ForbidAfterSendMsgCallback"],
        "OnlineOnlyFlag": 0, "SendMsgControl": ["NoLastMsg"], "OfflinePushInfo": {"PushFlag": 0}, "FromSomeSdk": true,
    });
    let answer = world.ok(GROUP, &said.to_string()).await;
    assert_eq!((&answer["MsgSeq"], &answer["MsgDropReason"]), (&json!(1), &json!("")));
    let messages = world.messages("lobby").await;
    let draft = &messages[0].draft;
    assert_eq!((draft.random, draft.content.is_some(), draft.msg_id.random), (u32::MAX, true, u32::MAX));
    assert_eq!(draft.priority, Priority::High);
    assert!(draft.forbid_after_hook);
    let body: serde_json::Value = serde_json::from_slice(&draft.body).unwrap();
    assert_eq!(body, said["MsgBody"]);
    world.stop().await;
}

#[tokio::test]
async fn the_same_random_is_the_same_message() {
    let world = World::with_lobby().await;
    let first = world.ok(GROUP, &group_msg("ann", 7, "hi")).await;
    world.now_is(UnixMillis(NEW_YEAR.0 + 60_000));
    assert_eq!(world.ok(GROUP, &group_msg("ann", 7, "hi")).await, first);
    assert_eq!(world.ok(GROUP, &group_msg("bob", 7, "hi")).await["MsgSeq"], 2);
    assert_eq!(world.ok(GROUP, &group_msg("ann", 8, "hi")).await["MsgSeq"], 3);
    // The Live APIs have no such key: the same words twice are two messages.
    let said = json!({"RoomId": "lobby", "Sender_Account": "ann", "TextContent": "hi"}).to_string();
    assert_eq!(world.ok(TEXT, &said).await["Response"]["MsgSeq"], 4);
    assert_eq!(world.ok(TEXT, &said).await["Response"]["MsgSeq"], 5);
    assert_eq!(world.messages("lobby").await.len(), 5);
    world.stop().await;
}

/// There are clients with one `Random` for all that a process sends, and such that draw from 65,535: what they say is not lost.
#[tokio::test]
async fn another_text_under_the_same_random_is_another_message() {
    let world = World::with_lobby().await;
    assert_eq!(world.ok(GROUP, &group_msg("ann", 7, "中")).await["MsgSeq"], 1);
    assert_eq!(world.ok(GROUP, &group_msg("ann", 7, "hi again")).await["MsgSeq"], 2);
    // Trying again is no new message, in whatever spelling the text comes this time.
    for again in [group_msg("ann", 7, "中"), group_msg("ann", 7, "中").replace('中', "\\u4E2D").replace(',', " , ")]
    {
        assert_eq!(world.ok(GROUP, &again).await["MsgSeq"], 1, "{again}");
    }
    assert_eq!(world.ok(GROUP, &group_msg("ann", 7, "hi again")).await["MsgSeq"], 2);
    let with_data = group_msg("ann", 7, "中").replacen('{', r#"{"CloudCustomData":"c","#, 1);
    assert_eq!(world.ok(GROUP, &with_data).await["MsgSeq"], 3, "custom data is content too");
    assert_eq!(world.ok(GROUP, &with_data).await["MsgSeq"], 3);
    let texts: Vec<Bytes> = world.messages("lobby").await.into_iter().map(|message| message.draft.body).collect();
    assert!(texts[1].windows(8).any(|part| part == b"hi again"), "{texts:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_message_without_random_gets_one_and_repeats_nothing() {
    let world = World::with_lobby().await;
    let body = json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": "hi"}}]);
    let without = json!({"GroupId": "lobby", "From_Account": "ann", "MsgBody": body}).to_string();
    let nulls = json!({
        "GroupId": "lobby", "From_Account": null, "Random": null, "MsgPriority": null, "MsgBody": body, "CloudCustomData": null,
        "ForbidCallbackControl": null, "SendMsgControl": null, "To_Account": null, "OnlineOnlyFlag": null,
        "MsgOnlineOnlyFlag": 1,
    });
    let nulls = nulls.to_string();
    for (seq, said) in (1..).zip([&without, &without, &nulls, &nulls]) {
        assert_eq!(world.ok(GROUP, said).await["MsgSeq"], seq, "{said}");
    }
    let messages = world.messages("lobby").await;
    assert!(messages.iter().all(|message| message.draft.msg_id.random == message.draft.random));
    let drawn: std::collections::BTreeSet<u32> = messages.iter().map(|message| message.draft.random).collect();
    assert_eq!(drawn.len(), 4, "{drawn:?}");
    world.stop().await;
}

/// What PHP and Python write unless told otherwise takes six bytes on the wire for a character of three.
#[tokio::test]
async fn a_text_is_as_long_as_it_is_however_its_writer_escapes_it() {
    let world = World::with_lobby().await;
    let escaped = |text: &str| {
        text.chars()
            .map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) })
            .collect::<String>()
    };
    let long = group_msg("ann", 1, &"中".repeat(4_000));
    assert_eq!(world.ok(GROUP, &escaped(&long)).await["MsgSeq"], 1);
    assert_eq!(world.ok(GROUP, &long).await["MsgSeq"], 1, "the same content");
    let too_long = group_msg("ann", 2, &"中".repeat(4_100));
    for spelling in [escaped(&too_long), too_long] {
        assert_eq!(world.code(GROUP, &spelling).await, 80_002);
    }
    let text = json!({"RoomId": "lobby", "Sender_Account": "ann", "TextContent": "中".repeat(4_000)}).to_string();
    assert_eq!(world.ok(TEXT, &escaped(&text)).await["Response"]["MsgSeq"], 2);
    for message in world.messages("lobby").await {
        let body = String::from_utf8(message.draft.body.to_vec()).unwrap();
        assert_eq!(
            (body.matches('中').count(), body.contains('\\')),
            (4_000, false),
            "{} is stored as it is",
            message.seq
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn who_may_not_send_is_told_in_the_words_of_the_api() {
    let world = World::with_lobby().await;
    let text = |room: &str, from: &str, text: &str| {
        json!({"RoomId": room, "Sender_Account": from, "TextContent": text}).to_string()
    };
    let long = "x".repeat(13_000);
    assert_eq!(world.code(TEXT, &text("nowhere", "ann", "hi")).await, 100_004);
    assert_eq!(world.code(TEXT, &text("nowhere", "ghost", &long)).await, 100_004, "the room comes first");
    assert_eq!(world.code(TEXT, &text("lobby", "ghost", &long)).await, 80_002, "then the size");
    assert_eq!(world.code(TEXT, &text("lobby", "ghost", "hi")).await, 70_107);
    assert_eq!(world.code(GROUP, &group_msg("ghost", 1, "hi")).await, 10_019);
    assert_eq!(world.code(GROUP, &group_msg("ann", 1, &long)).await, 80_002);
    assert_eq!(world.code(GROUP, &group_msg("ann", 1, "hi").replace("lobby", "nowhere")).await, 10_010);
    assert_eq!(world.code(GROUP, &group_msg("ann", 1, "hi").replace("lobby", "ä")).await, 10_015);
    let loud = group_msg("ann", 1, "hi").replace('}', "").replace("[{", "");
    assert_eq!(world.code(GROUP, &loud).await, 60_003);
    let urgent = r#"{"GroupId":"lobby","Random":1,"MsgPriority":"Urgent","MsgBody":[]}"#;
    assert_eq!(world.code(GROUP, urgent).await, 10_004);
    assert!(world.messages("lobby").await.is_empty(), "nothing refused uses a number");
    world.stop().await;
}

#[tokio::test]
async fn a_room_without_messages_refuses_all_but_its_owner() {
    let world = World::with_lobby().await;
    let quiet = r#"{"RoomInfo":{"RoomId":"quiet","RoomType":"Live","Owner_Account":"ann","IsMessageDisabled":true}}"#;
    world.ok("live_engine_http_srv/create_room", quiet).await;
    let text = |from: &str| json!({"RoomId": "quiet", "Sender_Account": from, "TextContent": "hi"}).to_string();
    assert_eq!(world.code(TEXT, &text("bob")).await, 100_017);
    assert_eq!(world.code(GROUP, &group_msg("bob", 1, "hi").replace("lobby", "quiet")).await, 10_017);
    assert_eq!(world.code(TEXT, &text("ann")).await, 0);
    world.stop().await;
}

#[tokio::test]
async fn many_senders_at_once_get_each_number_once() {
    let world = Arc::new(World::with_lobby().await);
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..16_u32 {
        let world = Arc::clone(&world);
        senders.spawn(async move {
            let mut client = world.client().await;
            let mut seqs = Vec::new();
            for n in 0..50 {
                let answer = client.call(GROUP, group_msg("ann", sender * 1000 + n, "hi")).await;
                assert_eq!(answer["ErrorCode"], 0, "{answer}");
                seqs.push(answer["MsgSeq"].as_u64().unwrap());
            }
            assert!(seqs.is_sorted());
            seqs
        });
    }
    let mut seqs = senders.join_all().await.concat();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=800).collect::<Vec<_>>());
    let numbered: Vec<MsgSeq> = world.messages("lobby").await.iter().map(|message| message.seq).collect();
    assert_eq!(numbered, (1..=800).map(MsgSeq).collect::<Vec<_>>());
    Arc::into_inner(world).unwrap().stop().await;
}

/// A moderator that answers by the text it sees and remembers who asked.
#[derive(Debug, Default)]
struct Moderator {
    asked: Arc<Mutex<Vec<u32>>>,
    unsent: Arc<Mutex<Vec<Unsent>>>,
}

/// What was told of a message that was not sent.
#[derive(Debug)]
struct Unsent {
    room_type: String,
    from: String,
    random: u32,
    body: String,
    custom_data: String,
    code: i32,
}

impl Moderator {
    fn codes(&self) -> Vec<(u32, i32)> {
        self.unsent.lock().unwrap().iter().map(|unsent| (unsent.random, unsent.code)).collect()
    }
}

#[derive(Debug)]
struct Teller(Arc<Mutex<Vec<Unsent>>>);

impl Report for Teller {
    fn tell(self: Box<Self>, room_type: &str, attempted: &Draft, code: i32, info: &str) {
        assert!(!info.is_empty());
        let text = |bytes: &Bytes| std::str::from_utf8(bytes).unwrap().to_owned();
        self.0.lock().unwrap().push(Unsent {
            room_type: room_type.to_owned(),
            from: attempted.from.as_str().to_owned(),
            random: attempted.random,
            body: text(&attempted.body),
            custom_data: text(&attempted.custom_data),
            code,
        });
    }
}

#[async_trait]
impl Gate for Moderator {
    fn is_on(&self, room: &RoomKey) -> bool {
        room.app == APP
    }

    async fn line_up(&self, room: &RoomKey, _from: &UserId) -> Option<Box<dyn Turn>> {
        (room.room.as_str() != "unmoderated").then(|| Box::new(Asker { asked: Arc::clone(&self.asked) }) as _)
    }

    fn report(&self, _room: &RoomKey) -> Option<Box<dyn Report>> {
        Some(Box::new(Teller(Arc::clone(&self.unsent))))
    }
}

#[derive(Debug)]
struct Asker {
    asked: Arc<Mutex<Vec<u32>>>,
}

#[async_trait]
impl Turn for Asker {
    async fn ask(&mut self, room_type: &str, draft: &Draft) -> Verdict {
        assert_eq!(room_type, "Live");
        self.asked.lock().unwrap().push(draft.random);
        match std::str::from_utf8(&draft.body).unwrap() {
            body if body.contains("curse") => {
                let body = Bytes::from(body.replace("curse", "*****"));
                Verdict::Replace { body, custom_data: Bytes::from_static(br#""moderated""#) }
            }
            body if body.contains("spam") => Verdict::Discard,
            body if body.contains("link") => Verdict::Refuse { code: 10_107, info: "no links in this room".to_owned() },
            _ => Verdict::Allow,
        }
    }
}

#[tokio::test]
async fn the_gate_decides_before_the_room_does() {
    let moderator = Arc::new(Moderator::default());
    let gate: Arc<dyn Gate> = Arc::clone(&moderator) as _;
    let world = World::with(Options { gate: Some(gate), ..Options::default() }).await;
    world.furnish().await;
    assert_eq!(world.ok(GROUP, &group_msg("ann", 1, "hello")).await["MsgSeq"], 1);
    assert_eq!(world.ok(GROUP, &group_msg("ann", 2, "curse")).await["MsgSeq"], 2);
    let discarded = world.ok(GROUP, &group_msg("ann", 3, "spam")).await;
    assert_eq!((&discarded["MsgSeq"], &discarded["MsgTime"]), (&json!(0), &json!(NEW_YEAR.secs())));
    let refused = world.call(GROUP, &group_msg("ann", 4, "link")).await;
    assert_eq!((&refused["ErrorCode"], &refused["ErrorInfo"]), (&json!(10_107), &json!("no links in this room")));
    let forced =
        group_msg("ann", 5, "link").replacen('{', r#"{"ForbidCallbackControl":["ForbidBeforeSendMsgCallback"],"#, 1);
    assert_eq!(world.ok(GROUP, &forced).await["MsgSeq"], 3);
    assert_eq!(world.code(GROUP, &group_msg("ghost", 6, "hello")).await, 10_019);

    let elsewhere = group_msg("ann", 7, "hello").replace("lobby", "nowhere");
    assert_eq!(world.code(GROUP, &elsewhere).await, 10_010);
    assert_eq!(world.ok(GROUP, &group_msg("ann", 2, "curse")).await["MsgSeq"], 2, "a repeat");

    assert_eq!(world.ok(GROUP, &group_msg("ann", 2, "another curse")).await["MsgSeq"], 4, "another text is none");

    assert_eq!(*moderator.asked.lock().unwrap(), [1, 2, 3, 4, 2], "not of repeats, unknown senders, missing rooms");
    assert_eq!(moderator.codes(), [(4, 10_107), (6, 10_019), (7, 10_010)]);
    let messages = world.messages("lobby").await;
    let bodies: Vec<&str> = messages.iter().map(|m| std::str::from_utf8(&m.draft.body).unwrap()).collect();
    assert!(bodies[1].contains("*****"), "{bodies:?}");
    assert_eq!(messages[1].draft.custom_data, r#""moderated""#);
    world.stop().await;
}

#[tokio::test]
async fn the_gate_is_asked_after_the_mute_and_before_the_rate_and_told_of_both() {
    let moderator = Arc::new(Moderator::default());
    let gate: Arc<dyn Gate> = Arc::clone(&moderator) as _;
    let facts = Facts { room_messages_per_s: 1 };
    let shard = roomhook_shard::Config { facts, ..roomhook_shard::Config::default() };
    let world = World::with(Options { gate: Some(gate), shard, ..Options::default() }).await;
    world.furnish().await;
    let quiet = r#"{"RoomInfo":{"RoomId":"quiet","RoomType":"Live","Owner_Account":"ann","IsMessageDisabled":true}}"#;
    world.ok("live_engine_http_srv/create_room", quiet).await;

    assert_eq!(world.code(GROUP, &group_msg("bob", 1, "hi").replace("lobby", "quiet")).await, 10_017);
    assert_eq!(world.ok(GROUP, &group_msg("bob", 2, "hi")).await["MsgSeq"], 1);
    assert_eq!(world.ok(GROUP, &group_msg("bob", 3, "hi")).await["MsgDropReason"], "MsgFreqCtrl");
    assert_eq!(*moderator.asked.lock().unwrap(), [2, 3], "also of a message that rate control drops then");
    assert_eq!(moderator.codes(), [(1, 10_017), (3, 10_023)]);
    world.stop().await;
}

#[tokio::test]
async fn a_look_before_the_gate_that_takes_too_long_has_sent_nothing_and_says_so() {
    let moderator = Arc::new(Moderator::default());
    let gate: Arc<dyn Gate> = Arc::clone(&moderator) as _;
    let backend_timeout = Duration::from_secs(1);
    let world = World::with(Options { gate: Some(gate), backend_timeout, ..Options::default() }).await;
    world.furnish().await;
    let holds = [0, 1].map(|shard| world.log.hold_appends(LogId(shard)));
    // Nobody is asked about this one: it keeps the room's shard waiting for its log.
    let unmoderated =
        group_msg("ann", 1, "hello").replacen('{', r#"{"ForbidCallbackControl":["ForbidBeforeSendMsgCallback"],"#, 1);
    let mut backend = world.client().await;
    let sending = tokio::spawn(async move { backend.call(GROUP, unmoderated).await });
    tokio::select! {
        () = holds[0].reached() => {}
        () = holds[1].reached() => {}
    }
    assert_eq!(world.code(GROUP, &group_msg("ann", 2, "hello")).await, 60_018, "too many requests: try again");
    drop(holds);
    sending.await.unwrap();
    assert_eq!(world.ok(GROUP, &group_msg("ann", 3, "hello")).await["MsgSeq"], 2, "only the first and this one");
    assert_eq!(*moderator.asked.lock().unwrap(), [3]);
    assert_eq!(moderator.codes(), [(2, 60_018)], "the backend is told that it was not sent");
    world.stop().await;
}

fn room(id: &str) -> RoomKey {
    RoomKey { app: APP, room: RoomId::new(id).unwrap() }
}

#[tokio::test]
async fn what_was_not_sent_is_told_of_whatever_was_wrong_and_only_what_can_be_read() {
    let moderator = Arc::new(Moderator::default());
    let gate: Arc<dyn Gate> = Arc::clone(&moderator) as _;
    let world = World::with(Options { gate: Some(gate), ..Options::default() }).await;
    world.furnish().await;
    // A group of another type, made as the Chat API will make it.
    let router = &world.services.router;
    let lobby = router.view(room("lobby")).await.unwrap().unwrap().info;
    let info = RoomInfo { room_type: "AVChatRoom".to_owned(), ..lobby };
    let create = CreateRoom { operator: info.owner.clone(), info, incarnation: Incarnation::from_random(7) };
    router.execute(room("group"), Command::Create(create)).await.unwrap();
    let custom = |body: &str| {
        format!(r#"{{"GroupId":"group","From_Account":"ann","Random":7,"MsgBody":{body},"CloudCustomData":"c"}}"#)
    };
    let readable = r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":5}}]"#;
    let long = format!(r#"[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{}"}}}}]"#, "x".repeat(13_000));
    let said = r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"hello"}}]"#;
    let cases = [
        (custom(&readable.replace(',', " , ")), 10_004, "AVChatRoom", readable),
        (custom(r#"[{"MsgContent":{}}]"#), 10_004, "AVChatRoom", "[]"),
        (custom(r#"{"Text":"no array"}"#), 10_004, "AVChatRoom", "[]"),
        (custom("[]"), 10_004, "AVChatRoom", "[]"),
        (custom(&long), 80_002, "AVChatRoom", "[]"),
        (custom(said).replace("ann", "ghost"), 10_019, "AVChatRoom", said),
        (custom(said).replace("group", "nowhere"), 10_010, "Live", said),
        (custom(&long).replace("group", "nowhere"), 10_010, "Live", "[]"),
    ];
    for (request, code, room_type, body) in cases {
        assert_eq!(world.code(GROUP, &request).await, code, "{request}");
        let unsent = moderator.unsent.lock().unwrap().pop().expect("it is told");
        let from = if request.contains("ghost") { "ghost" } else { "ann" };
        assert_eq!((i64::from(unsent.code), unsent.from.as_str(), unsent.random), (code, from, 7), "{request}");
        assert_eq!((unsent.room_type.as_str(), unsent.body.as_str()), (room_type, body), "{request}");
        assert_eq!(unsent.custom_data, r#""c""#);
    }
    // Whatever the door answers, these codes are of group_open_http_svc.
    let text = format!(r#"{{"RoomId":"lobby","Sender_Account":"ghost","TextContent":"{}"}}"#, "x".repeat(13_000));
    assert_eq!(world.code("live_engine_http_srv/send_text_msg", &text).await, 80_002);
    let nobody = r#"{"RoomId":"lobby","Sender_Account":"ghost","TextContent":"hello"}"#;
    assert_ne!(world.code("live_engine_http_srv/send_text_msg", nobody).await, 10_019);
    let told: Vec<(i32, String)> =
        moderator.unsent.lock().unwrap().drain(..).map(|unsent| (unsent.code, unsent.body)).collect();
    assert_eq!(told, [(80_002, "[]".to_owned()), (10_019, said.to_owned())]);
    assert!(moderator.asked.lock().unwrap().is_empty(), "nobody is asked about these");
    world.stop().await;
}
