//! Vectors made with the official schema (protocol: realtime §2), read and written byte for byte.

use roomhook_centrifuge::{
    ClientInfo, Command, Commands, ConnectRequest, ConnectResult, EncodedPublication, Error, Format, HistoryResult,
    Join, Limits, PresenceResult, PresenceStatsResult, Publication, PublishRequest, PublishResult, PushBody, Replies,
    Reply, ReplyBody, Request, SendRequest, ServerSubscription, SubscribeRequest, SubscribeResult, UnsubscribePush,
    UnsubscribeResult, codes,
};

fn bytes(hex: &str) -> Vec<u8> {
    let nibbles: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    nibbles.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn check_command(hex: &str, json: &str, command: &Command) {
    for (format, frame) in [(Format::Protobuf, bytes(hex)), (Format::Json, json.as_bytes().to_vec())] {
        let mut out = Vec::new();
        format.write_command(&mut out, command);
        assert_eq!(out, frame, "{format:?}");
        let back: Vec<_> = Commands::new(format, frame, &Limits::default()).unwrap().map(Result::unwrap).collect();
        assert_eq!(back, std::slice::from_ref(command), "{format:?}");
    }
}

fn check_reply(hex: &str, json: &str, reply: &Reply) {
    for (format, frame) in [(Format::Protobuf, bytes(hex)), (Format::Json, json.as_bytes().to_vec())] {
        let mut out = Vec::new();
        format.write_reply(&mut out, reply);
        assert_eq!(out, frame, "{format:?}");
        let back: Vec<_> = Replies::new(format, frame, 1 << 20).unwrap().map(Result::unwrap).collect();
        assert_eq!(back, std::slice::from_ref(reply), "{format:?}");
    }
}

#[test]
fn ping_and_pong_are_the_empty_message() {
    check_command("00", "{}", &Command::PONG);
    check_reply("00", "{}", &Reply::PING);
    for format in [Format::Json, Format::Protobuf] {
        let mut out = Vec::new();
        format.write_reply(&mut out, &Reply::PING);
        assert_eq!(out, format.ping());
    }
}

#[test]
fn commands_match_the_official_schema() {
    let connect = ConnectRequest { token: "tok".into(), name: "js".into(), ..ConnectRequest::default() };
    check_command(
        "0d080122090a03746f6b22026a73",
        r#"{"id":1,"connect":{"token":"tok","name":"js"}}"#,
        &Command::new(1, Request::Connect(connect)),
    );
    let subscribe = SubscribeRequest {
        channel: "room:1".into(),
        recover: true,
        epoch: "abcd".into(),
        offset: 16,
        flag: SubscribeRequest::FLAG_COMPACTION,
        ..SubscribeRequest::default()
    };
    check_command(
        "1808022a140a06726f6f6d3a31180132046162636438107001",
        r#"{"id":2,"subscribe":{"channel":"room:1","recover":true,"epoch":"abcd","offset":16,"flag":1}}"#,
        &Command::new(2, Request::Subscribe(subscribe)),
    );
    let publish = PublishRequest { channel: "room:1".into(), data: r#"{"hi":1}"#.into(), ..PublishRequest::default() };
    check_command(
        "1608033a120a06726f6f6d3a3112087b226869223a317d",
        r#"{"id":3,"publish":{"channel":"room:1","data":{"hi":1}}}"#,
        &Command::new(3, Request::Publish(publish)),
    );
    check_command(
        "0562030a0131",
        r#"{"send":{"data":1}}"#,
        &Command::new(0, Request::Send(SendRequest { data: "1".into() })),
    );
}

#[test]
fn replies_match_the_official_schema() {
    let connect = ConnectResult {
        client: "c1".into(),
        version: "x 0.1".into(),
        ping: 25,
        pong: true,
        ..ConnectResult::default()
    };
    check_reply(
        "1308012a0f0a02633112057820302e3138194001",
        r#"{"id":1,"connect":{"client":"c1","version":"x 0.1","ping":25,"pong":true}}"#,
        &Reply::to(1, ReplyBody::Connect(connect)),
    );
    let subscribe = SubscribeResult {
        recoverable: true,
        epoch: "abcd".into(),
        offset: 10,
        positioned: true,
        ..SubscribeResult::default()
    };
    check_reply(
        "100802320c1801320461626364480a5001",
        r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"abcd","offset":10,"positioned":true}}"#,
        &Reply::to(2, ReplyBody::Subscribe(subscribe)),
    );
    check_reply("0408034200", r#"{"id":3,"publish":{}}"#, &Reply::to(3, ReplyBody::Publish(PublishResult {})));
    check_reply(
        "1908041215086712117065726d697373696f6e2064656e696564",
        r#"{"id":4,"error":{"code":103,"message":"permission denied"}}"#,
        &Reply::to(4, ReplyBody::Error(codes::error::PERMISSION_DENIED.into())),
    );
    let publication = Publication { data: r#"{"a":1}"#.into(), offset: 11, ..Publication::default() };
    check_reply(
        "1722151206726f6f6d3a31220b22077b2261223a317d300b",
        r#"{"push":{"channel":"room:1","pub":{"data":{"a":1},"offset":11}}}"#,
        &Reply::push("room:1", PushBody::Pub(publication)),
    );
    let unsubscribe = UnsubscribePush { code: 2500, reason: "insufficient state".into() };
    check_reply(
        "2322211206726f6f6d3a313a1710c4131a12696e73756666696369656e74207374617465",
        r#"{"push":{"channel":"room:1","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#,
        &Reply::push("room:1", PushBody::Unsubscribe(unsubscribe)),
    );
    check_reply(
        "080805520408031002",
        r#"{"id":5,"presence_stats":{"num_clients":3,"num_users":2}}"#,
        &Reply::to(5, ReplyBody::PresenceStats(PresenceStatsResult { num_clients: 3, num_users: 2 })),
    );
    check_reply(
        "0c08065a081204616263641810",
        r#"{"id":6,"history":{"publications":[],"epoch":"abcd","offset":16}}"#,
        &Reply::to(
            6,
            ReplyBody::History(HistoryResult { epoch: "abcd".into(), offset: 16, ..HistoryResult::default() }),
        ),
    );
}

#[test]
fn a_publication_encoded_once_has_the_same_bytes() {
    let publication = Publication { data: r#"{"a":1}"#.into(), offset: 11, ..Publication::default() };
    let encoded = EncodedPublication::new("room:1", &publication);
    assert_eq!(encoded.push(Format::Protobuf)[..], bytes("1722151206726f6f6d3a31220b22077b2261223a317d300b"));
    assert_eq!(encoded.element(Format::Json), br#"{"data":{"a":1},"offset":11}"#);
}

/// What Python and JS index without asking must be there even when it is zero or empty.
#[test]
fn json_keeps_the_fields_that_sdks_do_not_check() {
    let json = |reply: &Reply| {
        let mut out = Vec::new();
        Format::Json.write_reply(&mut out, reply);
        String::from_utf8(out).unwrap()
    };
    let nobody = ClientInfo::default();
    assert_eq!(
        json(&Reply::push("c", PushBody::Join(Join { info: nobody }))),
        r#"{"push":{"channel":"c","join":{"info":{"user":"","client":""}}}}"#
    );
    assert_eq!(
        json(&Reply::to(1, ReplyBody::Presence(PresenceResult::default()))),
        r#"{"id":1,"presence":{"presence":{}}}"#
    );
    assert_eq!(
        json(&Reply::to(1, ReplyBody::PresenceStats(PresenceStatsResult::default()))),
        r#"{"id":1,"presence_stats":{"num_clients":0,"num_users":0}}"#
    );
    assert_eq!(
        json(&Reply::to(1, ReplyBody::History(HistoryResult::default()))),
        r#"{"id":1,"history":{"publications":[],"epoch":"","offset":0}}"#
    );
    assert_eq!(
        json(&Reply::to(1, ReplyBody::Error(Error::default()))),
        r#"{"id":1,"error":{"code":0,"message":"error"}}"#
    );
    assert_eq!(json(&Reply::to(1, ReplyBody::Unsubscribe(UnsubscribeResult {}))), r#"{"id":1,"unsubscribe":{}}"#);
    assert_eq!(json(&Reply::to(1, ReplyBody::Subscribe(SubscribeResult::default()))), r#"{"id":1,"subscribe":{}}"#);
}

/// A map entry without its value would be legal Protobuf for an empty one, and break the JavaScript SDK.
#[test]
fn an_empty_server_side_subscription_is_still_there() {
    let sub = ServerSubscription { channel: "user:a".into(), result: SubscribeResult::default() };
    check_reply(
        "1008012a0c320a0a06757365723a611200",
        r#"{"id":1,"connect":{"subs":{"user:a":{}}}}"#,
        &Reply::to(1, ReplyBody::Connect(ConnectResult { subs: vec![sub], ..ConnectResult::default() })),
    );
}

/// As seen from the SDKs: Python writes spaces, JS puts the id last and offers newer fields, both batch.
#[test]
fn frames_are_read_as_sdks_write_them() {
    let frame = concat!(
        r#"{"connect": {"token": "t", "name": "js", "dict": "x", "newer": [1, {"a": null}]}, "id": 1}"#,
        "\n",
        r#"{"subscribe":{"channel":"room:1","tf":{"key":"k","cmp":"eq","val":"v"},"token":null},"id":2}"#,
        "\r\n\n",
        r#"{"publish":{"channel":"room:1","data":{ "a" : "b c" }},"id":3}"#,
        "\n"
    );
    let commands: Vec<_> =
        Commands::new(Format::Json, frame, &Limits::default()).unwrap().map(Result::unwrap).collect();
    assert_eq!(commands.iter().map(|command| command.id).collect::<Vec<_>>(), [1, 2, 3]);
    let Some(Request::Publish(publish)) = &commands[2].request else { panic!("{commands:?}") };
    assert_eq!(publish.data, r#"{"a":"b c"}"#);
}
