//! URLs and bodies as we send them, and what we make of the answers.

use proptest::prelude::*;
use roomhook_protocol::{
    codes,
    envelope::ActionStatus,
    message::{Content, Limits, string_literal},
    sign::Signed,
    webhook::{
        AfterSendMsg, Answer, BeforeSendMsg, CommandWord, Event, Platform, Query, SendMsgException, Style, UrlError,
        Verdict, callback_url, check_url,
    },
};
use serde_json::{Value, json};

use crate::{fixture, fixtures, value};

const NUMBER: Style = Style { event_time_as_string: false, extra_fields: false };

/// The members of a JSON object in the order in which they stand, from a parser that keeps it.
fn member_order(json: &[u8]) -> Vec<String> {
    struct Order(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Order {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Names;
            impl<'de> serde::de::Visitor<'de> for Names {
                type Value = Order;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Order, A::Error> {
                    let mut names = Vec::new();
                    while let Some((name, _)) = map.next_entry::<String, Value>()? {
                        names.push(name);
                    }
                    Ok(Order(names))
                }
            }
            deserializer.deserialize_map(Names)
        }
    }
    serde_json::from_slice::<Order>(json).unwrap().0
}

/// Writes the body of a fixture from its own values.
fn rewrite_after(fixture: &Value, style: Style) -> Vec<u8> {
    let text = |name: &str| fixture[name].as_str().unwrap();
    let number = |name: &str| fixture[name].as_u64().unwrap();
    let mut out = Vec::new();
    AfterSendMsg {
        group_id: text("GroupId"),
        group_type: text("Type"),
        from_account: text("From_Account"),
        operator_account: text("Operator_Account"),
        random: number("Random").try_into().unwrap(),
        msg_id: text("MsgId"),
        msg_seq: number("MsgSeq"),
        msg_time: number("MsgTime"),
        msg_body: fixture["MsgBody"].to_string().as_bytes(),
        cloud_custom_data: &string_literal(text("CloudCustomData")),
        event_time_ms: fixture["EventTime"].as_u64().unwrap_or_else(|| text("EventTime").parse().unwrap()),
    }
    .write_json(style, &mut out);
    out
}

#[test]
fn after_send_bodies_are_the_fixtures_member_for_member_in_order() {
    for name in fixtures("webhook_Group.CallbackAfterSendMsg.", ".json") {
        let bytes = fixture(&name);
        let style = Style { event_time_as_string: name.contains("eventtime_string"), ..NUMBER };
        let written = rewrite_after(&value(&bytes), style);
        assert_eq!(value(&written), value(&bytes), "{name}");
        assert_eq!(member_order(&written), member_order(&bytes), "{name}");
        assert_eq!(member_order(&written).len(), 12);
        assert!(!written.contains(&b'\n'));
    }
}

#[test]
fn extra_fields_come_behind_the_twelve() {
    let bytes = fixture("webhook_Group.CallbackAfterSendMsg.text.json");
    let written = rewrite_after(&value(&bytes), Style { extra_fields: true, ..NUMBER });
    let order = member_order(&written);
    assert_eq!(order[..12], member_order(&bytes)[..]);
    assert_eq!(order[12..], ["OnlineOnlyFlag", "GroupAtInfo"]);
    assert_eq!(value(&written)["OnlineOnlyFlag"], 0);
}

#[test]
fn before_send_and_exception_bodies_are_the_fixtures() {
    let bytes = fixture("webhook_Group.CallbackBeforeSendMsg.json");
    let before = value(&bytes);
    let text = |name: &str| before[name].as_str().unwrap();
    let mut out = Vec::new();
    BeforeSendMsg {
        group_id: text("GroupId"),
        group_type: text("Type"),
        from_account: text("From_Account"),
        operator_account: text("Operator_Account"),
        random: 2_874_610_953,
        msg_id: text("MsgId"),
        msg_body: before["MsgBody"].to_string().as_bytes(),
        cloud_custom_data: &string_literal(text("CloudCustomData")),
        event_time_ms: 1_767_225_663_377,
    }
    .write_json(NUMBER, &mut out);
    assert_eq!((value(&out), member_order(&out)), (before.clone(), member_order(&bytes)));

    let bytes = fixture("webhook_Group.CallbackSendMsgException.json");
    let exception = value(&bytes);
    let mut out = Vec::new();
    SendMsgException {
        group_id: "room-nightmarket-07",
        group_type: "Live",
        from_account: "bo77",
        operator_account: "bo77",
        random: 99_120_471,
        msg_body: exception["MsgBody"].to_string().as_bytes(),
        cloud_custom_data: b"\"\"",
        error_code: codes::GROUP_MESSAGE_RATE,
        error_info: codes::text(codes::GROUP_MESSAGE_RATE).unwrap(),
        event_time_ms: 1_767_225_663_473,
    }
    .write_json(NUMBER, &mut out);
    assert_eq!((value(&out), member_order(&out)), (exception, member_order(&bytes)));
}

fn plain_query() -> Query<'static> {
    Query { sdkappid: 7, command: "Group.CallbackAfterSendMsg", client_ip: None, platform: None, signed: None }
}

#[test]
fn a_url_keeps_its_path_and_its_own_query() {
    let added = "SdkAppid=7&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json";
    let cases = [
        ("https://h.example", format!("https://h.example?{added}")),
        ("https://h.example/", format!("https://h.example/?{added}")),
        ("http://127.0.0.1:8080/a/b", format!("http://127.0.0.1:8080/a/b?{added}")),
        ("https://h.example/p?tenant=3", format!("https://h.example/p?tenant=3&{added}")),
        ("https://h.example?x", format!("https://h.example?x&{added}")),
        ("https://h.example/p?", format!("https://h.example/p?{added}")),
        ("https://h.example/p?x=1&", format!("https://h.example/p?x=1&{added}")),
        ("https://h.example/p#part", format!("https://h.example/p?{added}")),
        ("https://h.example/p?x=1#a?b", format!("https://h.example/p?x=1&{added}")),
    ];
    for (base, expected) in cases {
        assert_eq!(callback_url(base, &plain_query()), expected);
    }
}

#[test]
fn the_complete_url_of_the_documents_is_made_exactly() {
    let query = Query {
        sdkappid: 1_400_555_012,
        client_ip: Some("203.0.113.24".parse().unwrap()),
        platform: Some(Platform::Web),
        signed: Some(&Signed::new("lantern-9f21", 1_767_225_663)),
        ..plain_query()
    };
    assert_eq!(
        callback_url("https://hooks.example.com/tencent", &query),
        "https://hooks.example.com/tencent?SdkAppid=1400555012&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json\
         &ClientIP=203.0.113.24&OptPlatform=Web\
         &Sign=32737a5c76449e88fd643090f61d848c64b887704d38f5e6a4b392f0b5252a6a&RequestTime=1767225663"
    );
}

#[test]
fn addresses_are_written_as_people_know_them() {
    let url = |ip: &str| callback_url("http://h", &Query { client_ip: Some(ip.parse().unwrap()), ..plain_query() });
    assert!(url("::ffff:10.0.0.1").ends_with("&ClientIP=10.0.0.1"));
    assert!(url("2001:db8::1").ends_with("&ClientIP=2001:db8::1"));
}

#[test]
fn platforms_are_read_in_every_documented_spelling() {
    for (text, platform) in
        [("Mac", Platform::Mac), ("macOS", Platform::Mac), ("IOS", Platform::Ios), ("?", Platform::Unknown)]
    {
        assert_eq!(text.parse::<Platform>(), Ok(platform));
    }
    for text in ["RESTAPI", "Web", "Android", "iOS", "Windows", "Mac", "iPad", "Unknown"] {
        assert_eq!(text.parse::<Platform>().unwrap().as_str(), text);
    }
}

#[test]
fn urls_are_accepted_or_refused_by_form() {
    for url in [
        "http://a",
        "https://a.example",
        "https://hooks.example.com/tencent-v2",
        "http://localhost:9000/x",
        "http://127.0.0.1:1",
        "http://[::1]:8080/hook",
        "https://a.example/p?tenant=3&x=$y!",
        "https://a.example.:443/",
        "https://my_service/hook",
    ] {
        assert_eq!(check_url(url), Ok(()), "{url}");
    }
    let refused = [
        ("", UrlError::Scheme),
        ("hooks.example.com", UrlError::Scheme),
        ("ftp://a", UrlError::Scheme),
        ("HTTPS://a", UrlError::Scheme),
        ("https://", UrlError::Host),
        ("https:///p", UrlError::Host),
        ("https://a..b", UrlError::Host),
        ("https://-a.b", UrlError::Host),
        ("https://a-.b", UrlError::Host),
        ("http://[::1", UrlError::Host),
        ("http://[1.2.3.4]/", UrlError::Host),
        ("http://[::1]x", UrlError::Port),
        ("http://a:0", UrlError::Port),
        ("http://a:65536", UrlError::Port),
        ("http://a:", UrlError::Port),
        ("http://a:+80", UrlError::Port),
        ("https://user:pass@a/", UrlError::UserInfo),
        ("https://a@b", UrlError::UserInfo),
        ("https://a/#x", UrlError::Character),
        ("https://a/b c", UrlError::Character),
        ("https://a/\r\nX: y", UrlError::Character),
        ("https://例え.jp", UrlError::Character),
        ("https://a\\@b/", UrlError::Character),
    ];
    for (url, error) in refused {
        assert_eq!(check_url(url), Err(error), "{url}");
    }
    let long = format!("https://a/{}", "x".repeat(1014));
    assert_eq!(check_url(&long), Ok(()));
    assert_eq!(check_url(&format!("{long}x")), Err(UrlError::TooLong { len: 1025 }));
}

#[test]
fn command_words_are_known_by_their_exact_spelling() {
    for word in CommandWord::ALL {
        assert_eq!(CommandWord::parse(word.as_str()), Some(*word));
    }
    for name in fixtures("webhook_", ".json").into_iter().filter(|name| !name.contains("response")) {
        let command = value(&fixture(&name))["CallbackCommand"].as_str().unwrap().to_owned();
        assert!(CommandWord::parse(&command).is_some(), "{command}");
    }
    assert_eq!(
        CommandWord::parse("Live.CallbackBeforeCallBackNotBlock"),
        Some(CommandWord::LiveBeforeCallBackNotBlock)
    );
    assert_eq!(CommandWord::parse("Group.callbackaftersendmsg"), None);
    assert!(CommandWord::GroupBeforeSendMsg.is_before() && !CommandWord::GroupAfterSendMsg.is_before());
}

fn verdict_of(bytes: &[u8]) -> (String, bool) {
    let answer = Answer::parse(bytes).unwrap();
    (format!("{:?}", answer.verdict()), answer.is_undocumented())
}

#[test]
fn verdicts_are_those_of_the_documents() {
    let of = |name: &str| fixture(&format!("webhook_Group.CallbackBeforeSendMsg.response.{name}.json"));
    assert_eq!(Answer::parse(&of("allow")).unwrap().verdict(), Verdict::Allow);
    assert_eq!(Answer::parse(&of("discard")).unwrap().verdict(), Verdict::Discard);
    let refused = Verdict::Refuse { code: 10_016, info: "rejected by webhook" };
    assert_eq!(Answer::parse(&of("forbid")).unwrap().verdict(), refused);
    let custom = Verdict::Refuse { code: 10_107, info: "no links in this room" };
    assert_eq!(Answer::parse(&of("custom_error")).unwrap().verdict(), custom);
    assert_eq!(Answer::parse(&fixture("webhook_response.ok.json")).unwrap().verdict(), Verdict::Allow);

    for code in [-1, 3, 10_099, 10_201, i32::MAX] {
        let answer = Answer::with_code(code, "whatever");
        assert_eq!(answer.verdict(), refused, "{code}");
        assert!(answer.is_undocumented());
    }
    assert_eq!(Answer::with_code(10_100, "a").verdict(), Verdict::Refuse { code: 10_100, info: "a" });
    assert_eq!(Answer::with_code(10_200, "a").verdict(), Verdict::Refuse { code: 10_200, info: "a" });
    // ActionStatus does not decide.
    let failed = Answer { action_status: ActionStatus::Fail, ..Answer::ok() };
    assert_eq!(failed.verdict(), Verdict::Allow);
    assert!(!verdict_of(&of("allow")).1);
}

#[test]
fn a_replacement_is_checked_before_it_is_delivered() {
    let limits = Limits::default();
    let sent = Content::text("does it ship today?", "{}", &limits).unwrap();

    let modify = fixture("webhook_Group.CallbackBeforeSendMsg.response.modify.json");
    let answer = Answer::parse(&modify).unwrap();
    let delivered = answer.verdict().apply(sent.clone(), &limits).unwrap();
    assert_eq!(value(&delivered.body), value(&modify)["MsgBody"]);
    assert_eq!(value(&delivered.custom_data), value(&modify)["CloudCustomData"]);

    let apply = |json: Value| {
        let text = json.to_string();
        Answer::parse(text.as_bytes()).unwrap().verdict().apply(sent.clone(), &limits)
    };
    let ok = json!({"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0});
    let with = |name: &str, replacement: Value| {
        let mut answer = ok.clone();
        answer[name] = replacement;
        answer
    };
    assert_eq!(apply(ok.clone()), Ok(sent.clone()));
    let only_data = apply(with("CloudCustomData", "new".into())).unwrap();
    assert_eq!((only_data.body, &only_data.custom_data[..]), (sent.body.clone(), &b"\"new\""[..]));
    assert!(apply(with("MsgBody", json!([]))).is_err());
    assert!(apply(with("MsgBody", json!({"Text": "hi"}))).is_err());
    assert!(apply(with("CloudCustomData", "x".repeat(13_000).into())).is_err());
}

#[test]
fn a_code_out_of_range_is_a_refusal_and_never_wraps_around_to_a_yes() {
    let refused = Verdict::Refuse { code: 10_016, info: "rejected by webhook" };
    let of = |code: &str| format!(r#"{{"ActionStatus":"OK","ErrorInfo":"x","ErrorCode":{code}}}"#);
    for code in ["4294967296", "-4294967296", "18446744073709551615", "18446744073709551616", "1e300", "-1e300"] {
        let text = of(code);
        let answer = Answer::parse(text.as_bytes()).unwrap();
        assert_eq!((answer.verdict(), answer.is_undocumented()), (refused, true), "{code}");
    }
    for (code, verdict) in [("0.0", Verdict::Allow), ("2.0", Verdict::Discard), ("2e0", Verdict::Discard)] {
        assert_eq!(Answer::parse(of(code).as_bytes()).unwrap().verdict(), verdict, "{code}");
    }
    for code in ["0.5", "true", "null", "[0]", "{}", "\"1\"", "NaN", "1e400"] {
        assert!(Answer::parse(of(code).as_bytes()).is_err(), "{code}");
    }
}

#[test]
fn an_answer_that_is_not_of_the_form_is_a_failure() {
    let bad: [&[u8]; 8] = [
        b"",
        b"OK",
        b"[]",
        br#"["OK","",0]"#,
        br#"{"ActionStatus":"OK","ErrorInfo":""}"#,
        br#"{"ActionStatus":"Maybe","ErrorInfo":"","ErrorCode":0}"#,
        br#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":"0"}"#,
        b"{\"ActionStatus\":\"OK\",\"ErrorInfo\":\"\xff\",\"ErrorCode\":0}",
    ];
    for bytes in bad {
        assert!(Answer::parse(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
    }
}

proptest! {
    #[test]
    fn what_we_write_a_receiver_reads(
        group_id in any::<String>(), from in any::<String>(), text in any::<String>(), custom in any::<String>(),
        random: u32, msg_seq: u64, event_time_ms: u64, as_string: bool, extra_fields: bool,
    ) {
        let roomy = Limits { size_bytes_max: usize::MAX, ..Limits::default() };
        let content = Content::text(&text, &custom, &roomy).unwrap();
        let mut out = Vec::new();
        AfterSendMsg {
            group_id: &group_id, group_type: "Live", from_account: &from, operator_account: &from, random,
            msg_id: "1-2-3", msg_seq, msg_time: 5, msg_body: &content.body, cloud_custom_data: &content.custom_data,
            event_time_ms,
        }
        .write_json(Style { event_time_as_string: as_string, extra_fields }, &mut out);
        let Event::AfterSendMsg(read) = Event::parse(&out).unwrap() else { panic!("another event") };
        prop_assert_eq!((&read.group_id, &read.from_account), (&group_id, &from));
        prop_assert_eq!((read.random, read.msg_seq), (random, msg_seq));
        prop_assert_eq!(read.msg_body[0].text(), Some(&*text));
        prop_assert_eq!(read.cloud_custom_data, custom);
        prop_assert_eq!((read.event_time.millis, read.event_time.as_string), (event_time_ms, as_string));
        prop_assert_eq!(read.other.len(), if extra_fields { 2 } else { 0 });
    }

    #[test]
    fn answers_and_urls_never_panic(bytes in any::<Vec<u8>>(), url in any::<String>()) {
        let _ = Answer::parse(&bytes);
        let _ = check_url(&url);
        let _ = check_url(&format!("http://{url}"));
        let _ = callback_url(&url, &plain_query());
    }
}
