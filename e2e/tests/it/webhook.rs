//! What a receiver that knows nothing of roomhook sees, byte for byte.

use std::collections::HashSet;

use anyhow::Result;
use roomhook_e2e::receiver::{Options, Receiver, Seen};
use roomhook_e2e::server::Setup;
use roomhook_e2e::{ADMIN, SDKAPPID, rest};
use serde_json::json;

use crate::lobby;

const TOKEN: &str = "lantern-9f21";

/// The documented fields, in the documented order, with the types that Python's `json` gives them.
const FIELDS: [(&str, &str); 12] = [
    ("CallbackCommand", "str"),
    ("GroupId", "str"),
    ("Type", "str"),
    ("From_Account", "str"),
    ("Operator_Account", "str"),
    ("Random", "int"),
    ("MsgId", "str"),
    ("MsgSeq", "int"),
    ("MsgTime", "int"),
    ("MsgBody", "list"),
    ("CloudCustomData", "str"),
    ("EventTime", "int"),
];

fn types(seen: &Seen) -> Vec<(&str, &str)> {
    seen.types.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect()
}

/// A server that sends to this path of a receiver that checks `Sign`.
async fn pointed_at(path: &str) -> Result<(Receiver, Setup)> {
    let receiver = Receiver::start_with(Options { token: TOKEN.to_owned(), ..Options::default() }).await?;
    let setup = Setup { token: TOKEN.to_owned(), ..Setup::webhook(receiver.url() + path) };
    Ok((receiver, setup))
}

#[tokio::test]
async fn a_message_is_told_in_the_documented_form() -> Result<()> {
    let (mut receiver, setup) = pointed_at("/hook").await?;
    let server = setup.start().await?;
    let mut client = lobby(&server).await?;
    let receipt = client.text("lobby", "ana_k", "does it ship \"today\"? 🏮").await?;

    let seen = receiver.next().await?;
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/hook"));
    assert_eq!(types(&seen), FIELDS);
    let body = &seen.body;
    assert_eq!(body["CallbackCommand"], "Group.CallbackAfterSendMsg");
    assert_eq!((&body["GroupId"], &body["Type"]), (&json!("lobby"), &json!("Live")));
    assert_eq!((&body["From_Account"], &body["Operator_Account"]), (&json!("ana_k"), &json!(ADMIN)));
    assert_eq!((seen.seq(), &body["MsgTime"]), (receipt.seq, &json!(receipt.time_secs)));
    assert_eq!(
        body["MsgBody"],
        json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": "does it ship \"today\"? 🏮"}}])
    );
    assert_eq!(body["CloudCustomData"], "");
    assert_eq!(body["EventTime"].as_u64().unwrap_or_default() / 1000, receipt.time_secs);

    let msg_id: Vec<u64> =
        body["MsgId"].as_str().unwrap_or_default().split('-').map_while(|part| part.parse().ok()).collect();
    let [account, secs, random] = msg_id[..] else { panic!("MsgId {}", body["MsgId"]) };
    assert!(account > 1 << 57, "{account}");
    assert_eq!(&json!(random), &body["Random"]);
    assert!(
        (receipt.time_secs.saturating_sub(5)..=receipt.time_secs).contains(&secs),
        "of the request, just before it was sent: {secs}"
    );
    Ok(())
}

#[tokio::test]
async fn the_query_is_the_documented_one_wherever_the_url_points() -> Result<()> {
    for (path, own, at) in
        [("", "", "/"), ("/", "", "/"), ("/a/b", "", "/a/b"), ("/hook?tenant=7&x=", "tenant=7&x=&", "/hook")]
    {
        let (mut receiver, setup) = pointed_at(path).await?;
        let server = setup.start().await?;
        let mut client = lobby(&server).await?;
        client.text("lobby", "ana_k", "hi").await?;

        let seen = receiver.next().await?;
        assert_eq!(seen.path, at, "{path}");
        let (sign, time) = (seen.param("Sign").unwrap_or_default(), seen.param("RequestTime").unwrap_or_default());
        let expected = format!(
            "{own}SdkAppid={SDKAPPID}&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json&ClientIP=127.0.0.1&OptPlatform=RESTAPI\
             &Sign={sign}&RequestTime={time}"
        );
        assert_eq!(seen.raw_query, expected, "{path}");
        assert!(seen.sign_holds, "hashlib computes another Sign than {sign} for {time}");
    }
    Ok(())
}

#[tokio::test]
async fn without_a_token_nothing_is_signed() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let server = Setup::webhook(receiver.url()).start().await?;
    lobby(&server).await?.text("lobby", "ana_k", "hi").await?;
    let seen = receiver.next().await?;
    assert_eq!((seen.param("Sign"), seen.param("RequestTime")), (None, None));
    Ok(())
}

#[tokio::test]
async fn each_attempt_is_signed_over_the_body_and_all_have_one_id() -> Result<()> {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
    let mut receiver =
        Receiver::start_with(Options { secret: secret.clone(), fail_first: 2, ..Options::default() }).await?;
    let setup = Setup {
        of_webhook: format!("signing_secret = \"{secret}\""),
        of_webhooks: "retry_first = \"50ms\"\nretry_max = \"500ms\"".to_owned(),
        ..Setup::webhook(receiver.url())
    };
    let server = setup.start().await?;
    let mut client = lobby(&server).await?;
    client.text("lobby", "ana_k", "hi").await?;

    let attempts = receiver.take(3).await?;
    assert!(attempts.iter().all(|seen| seen.signature_holds), "hmac computes other signatures: {attempts:?}");
    assert!(attempts.iter().all(|seen| seen.text == attempts[0].text), "a repeat is the same body");
    let ids: HashSet<_> = attempts.iter().map(|seen| seen.header("webhook-id")).collect();
    assert!(ids.len() == 1 && !ids.contains(&None), "{ids:?}");
    let numbers: Vec<_> = attempts.iter().map(|seen| seen.header("roomhook-attempt")).collect();
    assert_eq!(numbers, [Some("1"), Some("2"), Some("3")]);

    client.text("lobby", "ana_k", "hi again").await?;
    let next = receiver.next().await?;
    assert!(next.seq() == 2 && next.signature_holds && next.header("webhook-id") != attempts[0].header("webhook-id"));
    Ok(())
}

#[tokio::test]
async fn event_time_is_a_string_where_the_app_wants_it() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let setup = Setup { of_webhook: "event_time = \"string\"".to_owned(), ..Setup::webhook(receiver.url()) };
    let server = setup.start().await?;
    lobby(&server).await?.text("lobby", "ana_k", "hi").await?;
    let seen = receiver.next().await?;
    let mut expected = FIELDS.to_vec();
    expected[11] = ("EventTime", "str");
    assert_eq!(types(&seen), expected);
    Ok(())
}

#[tokio::test]
async fn custom_and_group_messages_are_packed_as_documented() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let server = Setup::webhook(receiver.url()).start().await?;
    let mut client = lobby(&server).await?;

    let custom = json!({"RoomId": "lobby", "BusinessId": "coupon_drop", "Data": "{\"left\":35}"});
    client.ok("live_engine_http_srv/send_custom_msg", &custom).await?;
    let seen = receiver.next().await?;
    assert_eq!(types(&seen), FIELDS);
    assert_eq!((&seen.body["From_Account"], &seen.body["CloudCustomData"]), (&json!(ADMIN), &json!("")));
    let data = r#"{"BusinessId":"coupon_drop","Data":"{\"left\":35}"}"#;
    assert_eq!(seen.body["MsgBody"], json!([{"MsgType": "TIMCustomElem", "MsgContent": {"Data": data}}]));

    let elements = json!([
        {"MsgType": "TIMTextElem", "MsgContent": {"Text": "look"}},
        {"MsgType": "TIMFaceElem", "MsgContent": {"Index": 6, "Data": "abc"}},
    ]);
    let group = json!({"GroupId": "lobby", "From_Account": "ana_k", "Random": 4_000_000_007_u32, "MsgBody": elements,
        "CloudCustomData": "{\"badge\":\"lv12\"}", "MsgPriority": "High"});
    let answer = client.ok("group_open_http_svc/send_group_msg", &group).await?;
    assert_eq!(rest::receipt(&answer)?.seq, 2, "Chat APIs answer at the top level: {answer}");
    let seen = receiver.next().await?;
    assert_eq!(types(&seen), FIELDS);
    assert_eq!((&seen.body["Random"], &seen.body["MsgBody"]), (&group["Random"], &group["MsgBody"]));
    assert_eq!(seen.body["CloudCustomData"], group["CloudCustomData"]);
    Ok(())
}

#[tokio::test]
async fn only_what_was_sent_is_told() -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let mut server = Setup::webhook(receiver.url()).start().await?;
    let mut client = lobby(&server).await?;
    let group = |random: u32, more: serde_json::Value| {
        let mut body = json!({"GroupId": "lobby", "From_Account": "ana_k", "Random": random,
            "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "once"}}]});
        body.as_object_mut()
            .into_iter()
            .for_each(|members| members.extend(more.as_object().cloned().unwrap_or_default()));
        body
    };
    const SEND: &str = "group_open_http_svc/send_group_msg";

    let first = client.ok(SEND, &group(1, json!({}))).await?;
    let again = client.ok(SEND, &group(1, json!({}))).await?;
    assert_eq!(rest::receipt(&first)?, rest::receipt(&again)?, "a repeat gets the first receipt");
    client.ok(SEND, &group(2, json!({"ForbidCallbackControl": ["ForbidAfterSendMsgCallback"]}))).await?;
    for (refused, code) in [
        (group(3, json!({"GroupId": "attic"})), 10010),
        (group(3, json!({"MsgBody": []})), 10004),
        (group(3, json!({"MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "x".repeat(13_000)}}]})), 80002),
    ] {
        assert_eq!(client.call(SEND, &refused).await?["ErrorCode"], code, "{refused}");
    }
    client.ok(SEND, &group(4, json!({}))).await?;

    let told: Vec<_> = receiver.take(2).await?.iter().map(|seen| (seen.seq(), seen.body["Random"].clone())).collect();
    assert_eq!(told, [(1, json!(1)), (3, json!(4))]);
    assert!(server.terminate().await?.success(), "and nothing else, up to the last webhook that a shutdown flushes");
    assert!(receiver.stop().await?.is_empty());
    Ok(())
}
