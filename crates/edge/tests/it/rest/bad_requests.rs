//! Hundreds of bad requests, generated: each gets its documented code, and the server goes on.

use bytes::Bytes;
use http::Method;
use roomhook_protocol::codes;
use serde_json::{Map, Value, json};

use crate::world::{ADMIN, Client, KEY, World, code_of, query, usersig};

const TEXT: &str = "live_engine_http_srv/send_text_msg";
const GROUP: &str = "group_open_http_svc/send_group_msg";

/// One bad request and the codes that its documents allow (mostly one).
struct Case {
    what: String,
    method: Method,
    path: String,
    query: String,
    body: Bytes,
    codes: &'static [i64],
}

impl Case {
    fn body(command: &str, what: impl Into<String>, body: impl Into<Bytes>, codes: &'static [i64]) -> Self {
        Self {
            what: format!("{command}: {}", what.into()),
            method: Method::POST,
            path: format!("/v4/{command}"),
            query: query(),
            body: body.into(),
            codes,
        }
    }

    fn query(what: impl Into<String>, query: String, codes: &'static [i64]) -> Self {
        Self { query, ..Self::body(TEXT, what, good_text().to_string(), codes) }
    }

    async fn check(self, client: &mut Client) {
        let uri = format!("{}?{}", self.path, self.query);
        let answer = client.send(self.method, &uri, &[], self.body).await;
        let code = code_of(&answer);
        assert!(self.codes.contains(&code), "{}: {code} instead of {:?}: {answer}", self.what, self.codes);
    }
}

fn good_text() -> Value {
    json!({"RoomId": "lobby", "Sender_Account": "ann", "TextContent": "grüße", "ExtensionInfo": "{}"})
}

fn good_group() -> Value {
    json!({
        "GroupId": "lobby", "From_Account": "ann", "Random": 7, "MsgPriority": "Low", "CloudCustomData": "ä\u{1f600}",
        "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "grüße \" \\ \n"}}], "ForbidCallbackControl": [],
        "SendMsgControl": ["NoUnread"], "OnlineOnlyFlag": 0,
    })
}

/// Requests of all commands that read members: the body, the code for a wrong member, and the members that must be there.
fn good_bodies() -> Vec<(&'static str, Value, &'static [i64], Vec<&'static str>)> {
    const LIVE: &[i64] = &[100_002];
    const CHAT: &[i64] = &[10_004];
    const ACCOUNT: &[i64] = &[70_402];
    let room = json!({"RoomId": "lobby"});
    let callback = json!({"Url": "http://h/", "CallbackCommandList": ["Group.CallbackAfterSendMsg"]});
    vec![
        (TEXT, good_text(), LIVE, vec!["RoomId", "Sender_Account", "TextContent"]),
        (
            "live_engine_http_srv/send_custom_msg",
            json!({"RoomId": "lobby", "Sender_Account": "ann", "BusinessId": "b", "Data": "d"}),
            LIVE,
            vec!["RoomId", "BusinessId", "Data"],
        ),
        (GROUP, good_group(), CHAT, vec!["GroupId", "MsgBody"]),
        ("live_engine_http_srv/create_room", json!({"RoomInfo": {}}), LIVE, vec!["RoomInfo"]),
        ("live_engine_http_srv/destroy_room", room.clone(), LIVE, vec!["RoomId"]),
        ("live_engine_http_srv/get_room_info", room, LIVE, vec!["RoomId"]),
        ("live_config/set_callback", callback.clone(), LIVE, vec!["Url", "CallbackCommandList"]),
        ("live_config/update_callback", callback, LIVE, vec!["Url", "CallbackCommandList"]),
        (
            "live_config/set_callback_token",
            json!({"Token": "t", "IsTokenEnable": true}),
            LIVE,
            vec!["Token", "IsTokenEnable"],
        ),
        (
            "im_open_login_svc/account_import",
            json!({"UserID": "new", "Nick": "n", "FaceUrl": "f"}),
            ACCOUNT,
            vec!["UserID"],
        ),
        ("im_open_login_svc/multiaccount_import", json!({"Accounts": ["new"]}), ACCOUNT, vec!["Accounts"]),
        ("im_open_login_svc/account_check", json!({"CheckItem": [{"UserID": "ann"}]}), ACCOUNT, vec!["CheckItem"]),
    ]
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

fn with(body: &Value, member: &str, value: Option<Value>) -> String {
    let mut members: Map<String, Value> = body.as_object().unwrap().clone();
    match value {
        Some(value) => members.insert(member.to_owned(), value),
        None => members.remove(member),
    };
    Value::Object(members).to_string()
}

/// A valid body cut at every byte, also within characters.
fn truncated() -> Vec<Case> {
    let mut cases = Vec::new();
    for (command, body, missing) in [(TEXT, good_text(), &[100_002][..]), (GROUP, good_group(), &[10_004])] {
        let body = Bytes::from(body.to_string());
        cases.extend((0..body.len()).map(|end| {
            // Nothing at all counts as `{}`, which lacks members.
            let codes = if end == 0 { missing } else { &[60_003] };
            Case::body(command, format!("cut at {end}"), body.slice(..end), codes)
        }));
    }
    cases
}

/// Every member of every command with every other JSON type, and without it where it must be there.
fn wrong_members() -> Vec<Case> {
    let others = [json!(true), json!(-7.5), json!("text"), json!([[]]), json!({"a": 1})];
    let mut cases = Vec::new();
    for (command, body, codes, required) in good_bodies() {
        for (member, good) in body.as_object().unwrap() {
            for wrong in others.iter().filter(|wrong| kind(wrong) != kind(good)) {
                cases.push(Case::body(
                    command,
                    format!("{member} = {wrong}"),
                    with(&body, member, Some(wrong.clone())),
                    codes,
                ));
            }
        }
        for member in required {
            cases.push(Case::body(command, format!("no {member}"), with(&body, member, None), codes));
            let twice = body.to_string().replacen('{', &format!("{{{:?}:{},", member, body[member]), 1);
            cases.push(Case::body(command, format!("{member} twice"), twice, codes));
        }
        for whole in ["[]", "7", "\"text\"", "null", "true", "[{}]"] {
            cases.push(Case::body(command, format!("a body of {whole}"), whole, codes));
        }
        cases.push(Case::body(command, "wrong and broken", with(&body, "RoomId", Some(json!(7))) + "}", &[60_003]));
    }
    cases
}

fn bad_ids() -> Vec<Case> {
    let mut cases = Vec::new();
    for room in [String::new(), "x".repeat(49), "räume".into(), "a\nb".into(), "\u{7f}".into(), "a\0".into()] {
        let room = Some(json!(room));
        cases.push(Case::body(TEXT, format!("room {room:?}"), with(&good_text(), "RoomId", room.clone()), &[100_002]));
        cases.push(Case::body(GROUP, format!("group {room:?}"), with(&good_group(), "GroupId", room), &[10_015]));
    }
    for user in [String::new(), "x".repeat(33), "主".repeat(11), "a\tb".into(), "a\0".into(), "\u{85}".into()] {
        let user = Some(json!(user));
        let live = with(&good_text(), "Sender_Account", user.clone());
        cases.push(Case::body(TEXT, format!("user {user:?}"), live, &[100_002]));
        cases.push(Case::body(GROUP, format!("user {user:?}"), with(&good_group(), "From_Account", user), &[10_004]));
    }
    cases
}

fn bad_messages() -> Vec<Case> {
    let element = json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": "hi"}});
    let custom = json!({"MsgType": "TIMCustomElem", "MsgContent": {"Data": "d"}});
    let bodies = [
        json!([]),
        json!([[]]),
        json!([7]),
        json!([{}]),
        json!([{"MsgType": "TIMTextElem"}]),
        json!([{"MsgContent": {}}]),
        json!([{"MsgType": "", "MsgContent": {}}]),
        json!([{"MsgType": 7, "MsgContent": {}}]),
        json!([{"MsgType": "TIMTextElem", "MsgContent": []}]),
        json!([{"MsgType": "TIMTextElem", "MsgContent": {}}]),
        json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": 7}}]),
        json!([element, custom, custom]),
    ];
    let mut cases: Vec<Case> = bodies
        .into_iter()
        .map(|body| Case::body(GROUP, format!("MsgBody {body}"), with(&good_group(), "MsgBody", Some(body)), &[10_004]))
        .collect();
    for (member, value, codes) in [
        ("Random", json!(-1), &[10_004][..]),
        ("Random", json!(4_294_967_296_u64), &[10_004]),
        ("Random", json!("7"), &[10_004]),
        ("MsgPriority", json!("normal"), &[10_004]),
        ("MsgPriority", json!("Lowest"), &[10_004]),
        ("ForbidCallbackControl", json!(["ForbidEverything"]), &[10_004]),
        ("To_Account", json!(["ann"]), &[10_007]),
        ("CloudCustomData", json!("x".repeat(13_000)), &[80_002]),
        ("From_Account", json!("ghost"), &[10_019]),
        ("GroupId", json!("nowhere"), &[10_010]),
    ] {
        cases.push(Case::body(GROUP, format!("{member} {value}"), with(&good_group(), member, Some(value)), codes));
    }
    cases
}

/// Bodies that are too large, too deep, or no text.
fn bad_bodies() -> Vec<Case> {
    let info = "live_engine_http_srv/get_room_info";
    let mut cases = Vec::new();
    for size in [65_537, 100_000, 1_000_000, 3_000_000] {
        for (command, codes) in [(TEXT, &[80_002][..]), (GROUP, &[80_002]), (info, &[60_008])] {
            cases.push(Case::body(command, format!("{size} bytes"), " ".repeat(size), codes));
        }
    }
    for depth in [41, 129, 30_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(depth.min(60_000 / 6)), close.repeat(depth.min(60_000 / 6)));
            let inside = format!(r#"{{"RoomId":"lobby","x":{deep}}}"#);
            cases.push(Case::body(info, format!("{depth} deep"), deep.clone(), &[60_003]));
            cases.push(Case::body(info, format!("{depth} deep inside"), inside, &[60_003]));
        }
        cases.push(Case::body(GROUP, format!("{depth} open"), "[".repeat(depth), &[60_003]));
    }
    for (what, body) in [
        ("a lone byte", &b"\xff"[..]),
        ("a cut character", b"{\"RoomId\":\"\xe4\xb8\"}"),
        ("an overlong character", b"{\"RoomId\":\"\xc0\xaf\"}"),
        ("UTF-16", b"{\0}\0"),
        ("a byte order mark", b"\xef\xbb\xbf{}"),
        ("a zero byte", b"{\"RoomId\":\"lobby\"}\0"),
        ("two documents", b"{}{}"),
        ("a trailing comma", b"{\"RoomId\":\"lobby\",}"),
        ("single quotes", b"{'RoomId':'lobby'}"),
        ("a comment", b"{/**/}"),
        ("a raw line break", b"{\"RoomId\":\"a\nb\"}"),
        ("half a surrogate pair", b"{\"RoomId\":\"\\ud800\"}"),
        ("no number", b"{\"RoomId\":NaN}"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ("a form", b"RoomId=lobby"),
    ] {
        cases.push(Case::body(info, what, Bytes::copy_from_slice(body), &[60_003]));
    }
    cases
}

fn bad_queries() -> Vec<Case> {
    let good = query();
    let parameters: Vec<&str> = good.split('&').collect();
    let mut cases = vec![
        Case::query("nothing", String::new(), &[60_012]),
        Case::query("not a query", "???&&&===".into(), &[60_012]),
        Case::query("other names", good.to_uppercase(), &[60_012]),
    ];
    let missing: [(&str, &[i64]); 3] = [("sdkappid", &[60_012]), ("identifier", &[60_004]), ("usersig", &[60_004])];
    for (name, codes) in missing {
        let rest: Vec<&str> = parameters.iter().filter(|p| !p.starts_with(name)).copied().collect();
        cases.push(Case::query(format!("no {name}"), rest.join("&"), codes));
    }
    for parameter in &parameters {
        let name = parameter.split('=').next().unwrap();
        cases.push(Case::query(format!("{name} twice"), format!("{good}&{parameter}"), &[60_002]));
        for broken in ["%", "%f", "%zz", "%ff", "%c0%af", "%ed%a0%80"] {
            let query = good.replace(parameter, &format!("{name}={broken}"));
            cases.push(Case::query(format!("{name}={broken}"), query, &[60_002]));
        }
    }
    for app in ["0", "1400000002", "-1", "1e9", "14000000011400000001", "0x5372", "%31+"] {
        cases.push(Case::query(format!("app {app}"), good.replace("1400000001", app), &[60_006]));
    }
    for random in ["", "x", "1.0", "+1", "123456789012345678901"] {
        cases.push(Case::query(
            format!("random {random}"),
            good.replace("random=99", &format!("random={random}")),
            &[60_002],
        ));
    }
    cases
}

fn bad_signatures() -> Vec<Case> {
    let good = query();
    let sig = usersig(ADMIN, KEY);
    let with = |identifier: &str, sig: &str| format!("sdkappid=1400000001&identifier={identifier}&usersig={sig}");
    let mut cases = vec![
        Case::query("empty", with(ADMIN, ""), &[70_002]),
        Case::query("garbage", with(ADMIN, "garbage"), &[70_003]),
        Case::query("huge", with(ADMIN, &"A".repeat(9_000)), &[70_003]),
        Case::query("another key's", with(ADMIN, &usersig(ADMIN, "guessed")), &[70_009]),
        Case::query("another user's", with("ann", &sig), &[70_013]),
        Case::query("a guest's", with("ann", &usersig("ann", KEY)), &[60_010]),
        Case::query("another app's", good.replace(&sig, &foreign()), &[70_014]),
    ];
    for end in (1..sig.len()).step_by(5) {
        cases.push(Case::query(format!("cut at {end}"), with(ADMIN, &sig[..end]), &[70_003]));
    }
    for at in (0..sig.len()).step_by(5) {
        let mut flipped: Vec<char> = sig.chars().collect();
        flipped[at] = if flipped[at] == 'A' { 'B' } else { 'A' };
        let flipped: String = flipped.into_iter().collect();
        // What a flip breaks depends on where it lands: the packing, or a value inside.
        let codes = &[70_003, 70_009, 70_013, 70_014];
        cases.push(Case::query(format!("flipped at {at}"), with(ADMIN, &flipped), codes));
    }
    cases
}

fn foreign() -> String {
    use roomhook_protocol::usersig::{Mint, mint};
    mint(&Mint { sdkappid: 7, key: KEY, userid: ADMIN, expire_secs: 9, now_secs: 1_767_225_600, userbuf: None })
}

fn bad_paths_and_methods() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in [
        "/v4/",
        "/v4/x",
        "/v4/x/y",
        "/v4/x/y/z",
        "/v4/live_engine_http_srv/Send_Text_Msg",
        "/v4/live_engine_http_srv/send_text_msg/",
        "/v4/live_engine_http_srv//send_text_msg",
        "/v4/live_engine_http_srv/send_text_msg%20",
        "/v4/live_engine_http_srv/mute_member",
        "/v4/group_open_http_svc/group_msg_recall",
        "/v4/im_open_login_svc/kick",
        "/v4/openim/query_online_status",
        "/v4/%ff/%00",
        "/v4/../etc/passwd",
    ] {
        cases.push(Case { path: path.to_owned(), ..Case::body(path, "path", "{}", &[60_009]) });
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::TRACE] {
        cases.push(Case { method, ..Case::body(TEXT, "method", good_text().to_string(), &[60_008]) });
    }
    cases
}

#[tokio::test]
async fn every_bad_request_gets_its_documented_code_and_the_server_goes_on() {
    let world = World::with_lobby().await;
    let families = [
        truncated(),
        wrong_members(),
        bad_ids(),
        bad_messages(),
        bad_bodies(),
        bad_queries(),
        bad_signatures(),
        bad_paths_and_methods(),
    ];
    let mut asked = 0;
    for case in families.into_iter().flatten() {
        assert!(case.codes.iter().all(|code| codes::find(i32::try_from(*code).unwrap()).is_some()), "{}", case.what);
        // A connection may end with a request whose body was not read; the next one is as good.
        case.check(&mut world.client().await).await;
        asked += 1;
    }
    assert!(asked > 500, "only {asked} requests were generated");
    assert!(world.messages("lobby").await.is_empty(), "none of them sent anything");
    assert_eq!(world.ok(TEXT, &good_text().to_string()).await["Response"]["MsgSeq"], 1);
    assert!(world.metrics().contains("roomhook_rest_requests_in_work 0\n"));
    world.stop().await;
}

/// Good bodies with a few random edits: whatever becomes of them, the answer has a documented code. Same seed, same edits.
#[tokio::test]
async fn random_edits_never_get_an_undocumented_answer() {
    let world = World::with_lobby().await;
    let mut random = fastrand::Rng::with_seed(20_261_122);
    let mut client = world.client().await;
    for (command, body, ..) in good_bodies() {
        let body = body.to_string().into_bytes();
        for _ in 0..100 {
            let mut edited = body.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..edited.len().max(1)).min(edited.len());
                match random.u8(..4) {
                    0 => edited.insert(at, random.u8(..)),
                    1 if at < edited.len() => edited[at] = random.u8(..),
                    2 if at < edited.len() => drop(edited.remove(at)),
                    _ => edited.insert(at, *random.choice(b"{}[]\",:0-eE\\").unwrap()),
                }
            }
            let shown = String::from_utf8_lossy(&edited).into_owned();
            let code = code_of(&client.call(command, edited).await);
            assert!(code == 0 || codes::find(i32::try_from(code).unwrap()).is_some(), "{code} for {shown}");
        }
    }
    world.stop().await;
}
