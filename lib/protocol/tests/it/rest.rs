//! Bodies of REST calls and their answers.

use proptest::prelude::*;
use roomhook_protocol::{
    codes::{self, Family},
    envelope::{ChatAnswer, Failure, LiveAnswer, RequestId, RequestIds},
    message::Limits,
    rest::{
        self, AccountCheck, AccountChecked, AccountImport, CreateRoom, DestroyRoom, ForbidCallback, GetCallbackPayload,
        GetRoomInfo, MultiAccountImport, MultiAccountPayload, Nothing, RoomInfoPayload, SendCustomMsg, SendGroupMsg,
        SendPayload, SendTextMsg, SetCallback, SetCallbackToken, StatisticPayload, TokenPayload,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{fixture, fixtures, value};

/// Reads a request as the server does and writes it as a client would.
fn request<'a, T: Deserialize<'a> + Serialize>(bytes: &'a [u8], family: Family) -> T {
    let read: T = rest::parse(bytes, family).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), value(bytes));
    read
}

fn answer<T: DeserializeOwned + Serialize>(name: &str) -> T {
    let bytes = fixture(name);
    let read: T = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(serde_json::to_value(&read).unwrap(), value(&bytes), "{name}");
    read
}

fn live(command: &str) -> (Vec<u8>, String) {
    let name = format!("rest_live_engine_http_srv.{command}");
    (fixture(&format!("{name}.request.json")), format!("{name}.response.json"))
}

#[test]
fn sending_calls_round_trip_and_package_the_documented_message() {
    let after = value(&fixture("webhook_Group.CallbackAfterSendMsg.text.json"));

    let (bytes, response) = live("send_text_msg");
    let call: SendTextMsg<'_> = request(&bytes, Family::Live);
    call.check().unwrap();
    let content = call.content(&Limits::default()).unwrap();
    assert_eq!(value(&content.body), after["MsgBody"]);
    assert_eq!(value(&content.custom_data), after["CloudCustomData"]);
    assert_eq!(answer::<LiveAnswer<SendPayload>>(&response).response.unwrap().msg_seq, 318);

    let (bytes, response) = live("send_custom_msg");
    let call: SendCustomMsg<'_> = request(&bytes, Family::Live);
    call.check().unwrap();
    let custom = value(&fixture("webhook_Group.CallbackAfterSendMsg.custom.json"));
    assert_eq!(value(&call.content(&Limits::default()).unwrap().body), custom["MsgBody"]);
    answer::<LiveAnswer<SendPayload>>(&response);

    let bytes = fixture("rest_group_open_http_svc.send_group_msg.request.json");
    let call: SendGroupMsg<'_> = request(&bytes, Family::Group);
    call.check().unwrap();
    assert!(call.forbids(ForbidCallback::BeforeSendMsg) && !call.forbids(ForbidCallback::AfterSendMsg));
    assert_eq!(value(&call.content(&Limits::default()).unwrap().body), after["MsgBody"]);
    answer::<ChatAnswer<SendPayload>>("rest_group_open_http_svc.send_group_msg.response.json");
    let dropped = answer::<ChatAnswer<SendPayload>>("rest_group_open_http_svc.send_group_msg.dropped.response.json");
    assert_eq!(dropped.payload.unwrap().msg_drop_reason, rest::DROPPED_BY_RATE);
}

#[test]
fn room_calls_round_trip() {
    let (bytes, response) = live("create_room");
    request::<CreateRoom<'_>>(&bytes, Family::Live).check().unwrap();
    assert_eq!(answer::<LiveAnswer<Nothing>>(&response).response, None);

    let (bytes, response) = live("destroy_room");
    request::<DestroyRoom<'_>>(&bytes, Family::Live).check().unwrap();
    assert_eq!(answer::<LiveAnswer<StatisticPayload>>(&response).response.unwrap().statistic.total_viewers, 842);

    let (bytes, response) = live("get_room_info");
    request::<GetRoomInfo<'_>>(&bytes, Family::Live).check().unwrap();
    // The payload borrows, as a server writes it: a reader needs the bytes to stay.
    let bytes = fixture(&response);
    let read: LiveAnswer<RoomInfoPayload<'_>> = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), value(&bytes));
}

#[test]
fn webhook_configuration_calls_round_trip() {
    let of = |command: &str, kind: &str| format!("rest_live_config.{command}.{kind}.json");
    for command in ["set_callback", "update_callback"] {
        request::<SetCallback<'_>>(&fixture(&of(command, "request")), Family::Live).check().unwrap();
    }
    request::<SetCallbackToken<'_>>(&fixture(&of("set_callback_token", "request")), Family::Live).check().unwrap();
    for command in ["get_callback", "delete_callback", "get_callback_token", "delete_callback_token"] {
        request::<Nothing>(&fixture(&of(command, "request")), Family::Live);
    }
    for command in ["set_callback", "update_callback", "delete_callback", "set_callback_token", "delete_callback_token"]
    {
        answer::<LiveAnswer<Nothing>>(&of(command, "response"));
    }
    answer::<LiveAnswer<GetCallbackPayload>>(&of("get_callback", "response"));
    answer::<LiveAnswer<TokenPayload>>(&of("get_callback_token", "response"));
}

#[test]
fn account_calls_round_trip() {
    let of = |command: &str, kind: &str| format!("rest_im_open_login_svc.{command}.{kind}.json");
    request::<AccountImport<'_>>(&fixture(&of("account_import", "request")), Family::Account).check().unwrap();
    answer::<ChatAnswer<Nothing>>(&of("account_import", "response"));

    let bytes = fixture(&of("multiaccount_import", "request"));
    let call: MultiAccountImport<'_> = request(&bytes, Family::Account);
    call.check().unwrap();
    let bad: Vec<_> = call.rows().filter(|row| row.check().is_err()).filter_map(|row| row.user_id).collect();
    let payload = answer::<ChatAnswer<MultiAccountPayload>>(&of("multiaccount_import", "response")).payload.unwrap();
    assert_eq!(bad, payload.fail_accounts);

    request::<AccountCheck<'_>>(&fixture(&of("account_check", "request")), Family::Account).check().unwrap();
    answer::<ChatAnswer<AccountChecked>>(&of("account_check", "response"));
}

/// Most community programs say `Identifier`; the vendor's present form of many accounts is a list with profiles.
#[test]
fn accounts_are_imported_under_the_older_and_the_newer_names() {
    fn import(body: &str) -> AccountImport<'_> {
        rest::parse(body.as_bytes(), Family::Account).unwrap()
    }
    for body in [
        r#"{"UserID":"ana_k","Nick":null,"FaceUrl":null}"#,
        r#"{"Identifier":"ana_k"}"#,
        r#"{"Identifier":"ana_k","UserID":null}"#,
        r#"{"UserID":"ana_k","Identifier":"ana_k"}"#,
    ] {
        let call = import(body);
        assert_eq!((call.user_id(), call.check()), (Ok("ana_k"), Ok(())), "{body}");
    }
    for (body, field) in [
        (r#"{"UserID":"ana_k","Identifier":"bob"}"#, "Identifier says something else than UserID"),
        (r#"{"Nick":"Ana"}"#, "UserID is missing"),
        (r#"{"Identifier":""}"#, "UserID must not be empty"),
    ] {
        let invalid = import(body).check().unwrap_err();
        assert_eq!((invalid.to_string().as_str(), invalid.code), (field, codes::BAD_PARAMETER), "{body}");
    }

    let body = r#"{"Accounts":["a",""],"AccountList":[{"UserID":"b","Nick":"B"},{"Identifier":"c","FaceUrl":"f"}]}"#;
    let call: MultiAccountImport<'_> = rest::parse(body.as_bytes(), Family::Account).unwrap();
    call.check().unwrap();
    let rows: Vec<_> = call.rows().collect();
    let told: Vec<_> =
        rows.iter().map(|row| (row.user_id().unwrap(), row.nick.as_deref(), row.check().is_ok())).collect();
    assert_eq!(told, [("a", None, true), ("", None, false), ("b", Some("B"), true), ("c", None, true)]);
    for body in [
        "{}",
        r#"{"Accounts":null,"AccountList":[]}"#,
        r#"{"AccountList":[{"Nick":"nobody"}]}"#,
        r#"{"AccountList":[{"UserID":"a","Identifier":"b"}]}"#,
        &json!({"Accounts": vec!["a"; 60], "AccountList": vec![json!({"UserID": "b"}); 41]}).to_string(),
    ] {
        let call: MultiAccountImport<'_> = rest::parse(body.as_bytes(), Family::Account).unwrap();
        assert_eq!(call.check().unwrap_err().code, codes::BAD_PARAMETER, "{body}");
    }
}

/// Some writers name every member that they know, and say `null` of those that they have not set.
#[test]
fn null_in_place_of_what_may_be_left_out_counts_as_left_out() {
    let of = |names: &[&str], body: &str| {
        names.iter().fold(value(body.as_bytes()), |mut body, name| {
            body[*name] = Value::Null;
            body
        })
    };
    let group = r#"{"GroupId":"lobby","MsgBody":[]}"#;
    let members = [
        "Random",
        "MsgPriority",
        "From_Account",
        "CloudCustomData",
        "ForbidCallbackControl",
        "OnlineOnlyFlag",
        "SendMsgControl",
        "To_Account",
        "OfflinePushInfo",
        "TopicId",
    ];
    let nulls = of(&members, group).to_string();
    let call: SendGroupMsg<'_> = rest::parse(nulls.as_bytes(), Family::Group).unwrap();
    call.check().unwrap();
    assert_eq!(serde_json::to_value(&call).unwrap(), value(group.as_bytes()));

    let room = r#"{"RoomId":"lobby","RoomType":"Live"}"#;
    let members = [
        "SeatTemplate",
        "Owner_Account",
        "RoomName",
        "CoverURL",
        "BackgroundURL",
        "IsMessageDisabled",
        "Category",
        "IsPublicVisible",
        "ActivityStatus",
        "TakeSeatMode",
        "MaxSeatCount",
        "KeepOwnerOnSeat",
        "MaxMemberCount",
        "IsSeatEnabled",
        "IsUnlimitedRoomEnabled",
        "SeatLayoutTemplateId",
        "Notice",
        "CustomInfo",
    ];
    let nulls = json!({"RoomInfo": of(&members, room)}).to_string();
    let call: CreateRoom<'_> = rest::parse(nulls.as_bytes(), Family::Live).unwrap();
    call.check().unwrap();
    assert_eq!(serde_json::to_value(&call).unwrap(), json!({"RoomInfo": value(room.as_bytes())}));

    let text = of(&["ExtensionInfo"], r#"{"RoomId":"lobby","Sender_Account":"ann","TextContent":"hi"}"#).to_string();
    assert_eq!(rest::parse::<SendTextMsg<'_>>(text.as_bytes(), Family::Live).unwrap().extension_info, None);
    let custom = of(&["Sender_Account"], r#"{"RoomId":"lobby","BusinessId":"b","Data":"d"}"#).to_string();
    assert_eq!(rest::parse::<SendCustomMsg<'_>>(custom.as_bytes(), Family::Live).unwrap().sender_account, None);
    let token = of(&["Token", "IsTokenEnable"], "{}").to_string();
    assert_eq!(rest::parse::<SetCallbackToken<'_>>(token.as_bytes(), Family::Live).unwrap().token, None);
}

#[test]
fn failed_answers_are_those_of_the_fixtures() {
    for name in fixtures("rest_error.", ".json") {
        let bytes = value(&fixture(&name));
        let code = i32::try_from(bytes["ErrorCode"].as_i64().unwrap()).unwrap();
        let failure = Failure::new(code, bytes["ErrorInfo"].as_str().unwrap().to_owned());
        let written = match bytes["RequestId"].as_str() {
            Some(id) => serde_json::to_value(LiveAnswer::<Nothing>::failed(id.parse().unwrap(), &failure)),
            None => serde_json::to_value(ChatAnswer::<Nothing>::failed(&failure)),
        };
        assert_eq!(written.unwrap(), bytes, "{name}");
    }
}

#[test]
fn request_ids_have_the_documented_shape_and_never_repeat() {
    let ids = RequestIds::new(0x4f0c_9a71_b2d8_4e6f_a35d_17c0_8be9_2001);
    let many: std::collections::HashSet<_> = (0..1000).map(|_| ids.next().to_string()).collect();
    assert_eq!(many.len(), 1000);
    for text in &many {
        assert_eq!(text.parse::<RequestId>().unwrap().to_string(), *text);
    }
    assert_eq!(RequestId::new(7, 1).to_string(), "Id-00000000000000000000000000000007-O-Seq-1");
    for text in [
        "",
        "Id-7-O-Seq-1",
        "Id-0000000000000000000000000000000G-O-Seq-1",
        "Id-00000000000000000000000000000007-O-Seq-",
    ] {
        assert!(text.parse::<RequestId>().is_err(), "{text}");
    }
}

fn code_of(body: &[u8], family: Family) -> i32 {
    rest::parse::<SendTextMsg<'_>>(body, family).map_or_else(|failure| failure.code, |_| 0)
}

#[test]
fn broken_json_and_wrong_members_are_told_apart() {
    let broken: [&[u8]; 7] = [
        b"{",
        b"hello",
        b"[1,",
        br#"{"RoomId":7,"#,
        br#"{"RoomId":7} trailing"#,
        b"{\"RoomId\":\"\xff\"}",
        br#"{"RoomId":"\ud800"}"#,
    ];
    let wrong: [&[u8]; 9] = [
        b"",
        b"{}",
        b"[]",
        b"7",
        b"null",
        br#"{"RoomId":7,"Sender_Account":"a","TextContent":"b"}"#,
        br#"{"RoomId":"r","Sender_Account":"a"}"#,
        br#"["r","a","b",null]"#,
        br#"{"RoomId":"r","RoomId":"q","Sender_Account":"a","TextContent":"b"}"#,
    ];
    for (family, code) in [(Family::Live, 100_002), (Family::Group, 10_004), (Family::Account, 70_402)] {
        for body in broken {
            assert_eq!(code_of(body, family), codes::JSON_MALFORMED, "{}", String::from_utf8_lossy(body));
        }
        for body in wrong {
            assert_eq!(code_of(body, family), code, "{}", String::from_utf8_lossy(body));
        }
    }
    let deep =
        format!(r#"{{"RoomId":"r","Sender_Account":"a","TextContent":"b","x":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    assert_eq!(code_of(deep.as_bytes(), Family::Live), codes::JSON_MALFORMED);
    assert_eq!(code_of("[".repeat(1 << 20).as_bytes(), Family::Live), codes::JSON_MALFORMED);
}

#[test]
fn a_failure_names_the_member_and_stays_short() {
    let named = rest::parse::<SendTextMsg<'_>>(br#"{"RoomId":"r"}"#, Family::Live).unwrap_err();
    assert!(named.info.contains("Sender_Account"), "{}", named.info);
    let long = format!(r#"{{"Random":"{}"}}"#, "主".repeat(5000));
    let cut = rest::parse::<SendGroupMsg<'_>>(long.as_bytes(), Family::Group).unwrap_err();
    assert!(cut.info.len() < 210, "{}", cut.info.len());
}

/// The failure of creating a room with one member of the fixture changed.
fn create_with(member: &str, replacement: Value) -> Result<(), Failure> {
    let mut body = value(&fixture("rest_live_engine_http_srv.create_room.request.json"));
    body["RoomInfo"][member] = replacement;
    let body = body.to_string();
    Ok(rest::parse::<CreateRoom<'_>>(body.as_bytes(), Family::Live)?.check()?)
}

#[test]
fn creating_a_room_keeps_to_the_documented_limits() {
    let wide = "主".repeat(34);
    let refused = [
        ("RoomId", json!("")),
        ("RoomId", json!("x".repeat(49))),
        ("RoomId", json!("主播")),
        ("RoomId", json!(7)),
        ("RoomId", json!(null)),
        ("RoomType", json!("Public")),
        ("RoomType", json!("live")),
        ("Owner_Account", json!("")),
        ("Owner_Account", json!("x".repeat(33))),
        ("Owner_Account", json!("a\nb")),
        ("RoomName", json!(wide)),
        ("RoomName", json!("x".repeat(101))),
        ("RoomName", json!([])),
        ("CoverURL", json!("x".repeat(201))),
        ("BackgroundURL", json!("x".repeat(201))),
        ("Notice", json!("x".repeat(101))),
        ("Category", json!([1, 2, 3, 4])),
        ("Category", json!(["1"])),
        ("Category", json!(1)),
        ("SeatTemplate", json!("Sofa")),
        ("TakeSeatMode", json!("1")),
        ("IsMessageDisabled", json!("true")),
        ("MaxSeatCount", json!(-1)),
    ];
    for (member, replacement) in refused {
        let failure = create_with(member, replacement.clone()).expect_err(&format!("{member}: {replacement}"));
        assert_eq!(failure.code, 100_002, "{member}");
    }
    let accepted = [
        ("RoomId", json!("x".repeat(48))),
        ("RoomId", json!("@TGS#2J4SZEAEL")),
        ("RoomName", json!("x".repeat(100))),
        ("RoomName", json!("")),
        ("CoverURL", json!("x".repeat(200))),
        ("Category", json!([])),
        ("Owner_Account", json!("x".repeat(32))),
        ("MaxSeatCount", json!(9)),
        ("SeatLayoutTemplateId", json!(600)),
        ("Tomorrow", json!({"a": 1})),
        ("Owner_Account", json!(null)),
    ];
    for (member, replacement) in accepted {
        create_with(member, replacement).unwrap_or_else(|failure| panic!("{member}: {failure}"));
    }
    let named = create_with("CoverURL", json!("x".repeat(201))).unwrap_err();
    assert_eq!(named.info, "CoverURL is 201 bytes long, at most 200 are allowed");
}

#[test]
fn checks_of_the_other_calls_give_their_familys_code() {
    fn check(json: &Value, family: Family) -> Result<(), Failure> {
        let body = json.to_string();
        match family {
            Family::Live => rest::parse::<SetCallback<'_>>(body.as_bytes(), family)?.check()?,
            Family::Account => rest::parse::<AccountImport<'_>>(body.as_bytes(), family)?.check()?,
            _ => rest::parse::<SendGroupMsg<'_>>(body.as_bytes(), family)?.check()?,
        }
        Ok(())
    }
    let check = |json: Value, family| check(&json, family).map_err(|failure| failure.code);
    let set = |url: &str, word: &str| check(json!({"Url": url, "CallbackCommandList": [word]}), Family::Live);
    assert_eq!(set("https://a", "Live.CallbackBeforeCallBackNotBlock"), Ok(()));
    assert_eq!(set("https://a", "Live.CallbackNothing"), Err(100_002));
    assert_eq!(set("a.example", "Group.CallbackAfterSendMsg"), Err(100_002));

    let send = |json: Value| {
        let mut body = json!({"GroupId": "g", "Random": 1, "MsgBody": []});
        body.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        check(body, Family::Group)
    };
    assert_eq!(send(json!({})), Ok(()));
    assert_eq!(send(json!({"GroupId": "x".repeat(49)})), Err(codes::GROUP_ID_MALFORMED));
    assert_eq!(send(json!({"Random": 4_294_967_296u64})), Err(10_004));
    assert_eq!(send(json!({"Random": -1})), Err(10_004));
    assert_eq!(send(json!({"MsgPriority": "high"})), Err(10_004));
    assert_eq!(send(json!({"ForbidCallbackControl": ["Nothing"]})), Err(10_004));
    assert_eq!(send(json!({"CloudCustomData": {}})), Err(10_004));
    assert_eq!(send(json!({"To_Account": ["a"]})), Err(codes::GROUP_NOT_PERMITTED));
    assert_eq!(send(json!({"OfflinePushInfo": {"PushFlag": 0}, "SupportMessageExtension": 1})), Ok(()));

    assert_eq!(check(json!({"UserID": "x".repeat(33)}), Family::Account), Err(70_402));
    assert_eq!(check(json!({"UserID": "a", "Nick": "x".repeat(501)}), Family::Account), Err(40_601));

    let token = |token: &str| SetCallbackToken { token: Some(token.to_owned().into()), is_token_enable: None };
    assert!(token("").check().is_err() && token(&"主".repeat(129)).check().is_err());
    assert!(token(&"主".repeat(128)).check().is_ok());
    assert!(!format!("{:?}", token("hush")).contains("hush"));
    let batch = |count| MultiAccountImport { accounts: vec!["a".into(); count], ..MultiAccountImport::default() };
    assert!(batch(0).check().is_err() && batch(101).check().is_err() && batch(100).check().is_ok());
}

proptest! {
    #[test]
    fn reading_a_call_never_panics_and_always_has_a_code(bytes in any::<Vec<u8>>(), at in 0usize..500, byte: u8) {
        let mut almost = fixture("rest_group_open_http_svc.send_group_msg.request.json");
        let at = at % almost.len();
        almost[at] = byte;
        for body in [bytes, almost] {
            if let Err(failure) = rest::parse::<SendGroupMsg<'_>>(&body, Family::Group) {
                prop_assert!(matches!(failure.code, codes::JSON_MALFORMED | codes::GROUP_BAD_PARAMETER));
            }
        }
    }
}
