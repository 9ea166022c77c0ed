//! Operators: the admin API, `roomhook webhooks`, and the before-send gate of a whole server.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::support::{SDKAPPID, Server, get, roomhook, text, until};

pub(crate) const OK: &str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;
/// Webhooks to this machine are allowed; what fails is parked after half a second.
pub(crate) const QUICK: &str = "[webhooks]\nallow = [\"127.0.0.0/8\"]\ntimeout = \"400ms\"\nretry_first = \"20ms\"\n\
                     retry_max = \"100ms\"\nretry_for = \"500ms\"\nhold = \"50ms\"\n";

type Rule = Box<dyn Fn(&Value) -> (u16, String) + Send>;

/// An app backend that keeps what it gets and answers as told.
pub(crate) struct Backend {
    addr: SocketAddr,
    got: Arc<Mutex<Vec<Value>>>,
    rule: Arc<Mutex<Rule>>,
}

impl Backend {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let addr = listener.local_addr().expect("address");
        let got: Arc<Mutex<Vec<Value>>> = Arc::default();
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_| (200, OK.to_owned()))));
        let (kept, ruled) = (got.clone(), rule.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, ruled) = (kept.clone(), ruled.clone());
                std::thread::spawn(move || serve(stream, &kept, &ruled));
            }
        });
        Self { addr, got, rule }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    pub(crate) fn rule(&self, rule: impl Fn(&Value) -> (u16, String) + Send + 'static) {
        *self.rule.lock().expect("rule") = Box::new(rule);
    }

    /// What messages of one command said, in order.
    pub(crate) fn heard(&self, command: &str) -> Vec<String> {
        let got = self.got.lock().expect("got");
        got.iter().filter(|body| body["CallbackCommand"] == command).map(|body| said(body).to_owned()).collect()
    }
}

pub(crate) fn said(body: &Value) -> &str {
    body["MsgBody"][0]["MsgContent"]["Text"].as_str().unwrap_or("?")
}

/// Answers one connection until it ends.
fn serve(stream: TcpStream, got: &Mutex<Vec<Value>>, rule: &Mutex<Rule>) {
    let mut reader = BufReader::new(stream.try_clone().expect("clone"));
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some((_, value)) = line.to_lowercase().split_once("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let (status, answer) = rule.lock().expect("rule")(&body);
        got.lock().expect("got").push(body);
        let length = answer.len();
        let _gone = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{answer}");
    }
}

/// The admin API of a server.
pub(crate) struct Operator<'a> {
    pub(crate) server: &'a Server,
    pub(crate) token: &'static str,
}

impl Operator<'_> {
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(self.server.admin_listen).expect("connect");
        write!(
            stream,
            "{method} /admin/api{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.server.admin_listen,
            self.token,
            body.len(),
        )
        .expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("receive");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    pub(crate) fn must(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.call(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub(crate) fn code(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let (status, answer) = self.call(method, path, body);
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}: {answer}");
        (status, answer["error"]["code"].as_str().expect("a code").to_owned())
    }

    pub(crate) fn state(&self, endpoint: &str) -> Value {
        self.must("GET", &of(endpoint, ""), None)["state"].clone()
    }

    /// `roomhook webhooks …`, which must succeed; what it printed.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let output = self.cli_output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    pub(crate) fn cli_output(&self, arguments: &[&str]) -> std::process::Output {
        let admin = format!("http://{}", self.server.admin_listen);
        let all = [&["webhooks", "--admin", &admin], arguments].concat();
        roomhook(&all).env("ROOMHOOK_ADMIN_TOKEN", self.token).output().expect("the program starts")
    }
}

pub(crate) fn of(endpoint: &str, rest: &str) -> String {
    format!("/apps/{SDKAPPID}/endpoints/{endpoint}{rest}")
}

pub(crate) fn open_lobby(server: &Server) {
    let room = json!({ "RoomInfo": { "RoomId": "lobby", "RoomType": "Live", "Owner_Account": "administrator" } });
    server.must("live_engine_http_srv/create_room", &room);
}

pub(crate) fn say(server: &Server, what: &str) -> Value {
    server.call("live_engine_http_srv/send_text_msg", &message(what))
}

fn message(what: &str) -> Value {
    json!({ "RoomId": "lobby", "Sender_Account": "administrator", "TextContent": what })
}

pub(crate) fn group_msg(random: u32, what: &str) -> Value {
    let body = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": what } }]);
    json!({ "GroupId": "lobby", "From_Account": "administrator", "Random": random, "MsgBody": body })
}

#[test]
fn endpoints_are_made_changed_and_shown_without_their_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), QUICK);
    let operator = Operator { server: &server, token: "" };
    let secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
    let request = json!({
        "url": "https://second.example.com/hook", "room_prefix": "vip-", "order": "none", "retry": "durable-skip",
        "signing_secrets": [secret], "token": { "value": "hush-hush" }, "concurrency": 3, "gate_failure": "drop",
        "commands": ["Group.CallbackAfterSendMsg", "Group.CallbackAfterSendMsg"], "paused": true,
    });
    let made = operator.must("PUT", &of("second", ""), Some(&request));
    assert_eq!(made["commands"], json!(["Group.CallbackAfterSendMsg"]));
    assert_eq!((&made["token_set"], &made["signing_secrets_set"]), (&json!(true), &json!(1)));
    let shown = operator.must("GET", &of("second", ""), None).to_string();
    assert!(!shown.contains("hush") && !shown.contains("whsec"), "{shown}");

    let changed = operator.must("PUT", &of("second", ""), Some(&json!({ "url": "https://third.example.com/hook" })));
    assert_eq!((&changed["url"], &changed["room_prefix"]), (&json!("https://third.example.com/hook"), &json!("")));
    assert_eq!(changed["signing_secrets_set"], 1, "what cannot be read is kept when it is left out");
    assert_eq!((&changed["paused"], &changed["created_at"]), (&json!(true), &made["created_at"]));
    let bare = json!({ "url": "https://third.example.com/hook", "signing_secrets": [], "token": { "value": "" } });
    let changed = operator.must("PUT", &of("second", ""), Some(&bare));
    assert_eq!((&changed["token_set"], &changed["signing_secrets_set"]), (&json!(false), &json!(0)));

    let bad = |request: Value| operator.code("PUT", &of("third", ""), Some(&request));
    for request in [
        json!({}),
        json!({ "url": "ftp://x" }),
        json!({ "url": "http://x.example/", "colour": 1 }),
        json!({ "url": "http://x.example/", "commands": ["Group.Nothing"] }),
        json!({ "url": "http://x.example/", "signing_secrets": ["whsec_x"] }),
        json!({ "url": "http://x.example/", "start": { "at": "time" } }),
    ] {
        assert_eq!(bad(request.clone()), (400, "bad_request".to_owned()), "{request}");
    }
    let no_token = json!({ "url": "http://x.example/", "token": { "enabled": true } });
    assert_eq!(bad(no_token), (422, "unusable".to_owned()));
    assert_eq!(operator.code("GET", &of("third", ""), None), (404, "endpoint_missing".to_owned()));
    assert_eq!(operator.code("GET", "/apps/7/endpoints", None), (404, "app_missing".to_owned()));
    assert_eq!(operator.code("GET", "/nothing", None), (404, "path_missing".to_owned()));
    assert_eq!(operator.code("PATCH", &of("second", ""), None), (405, "method_wrong".to_owned()));
    assert_eq!(operator.code("GET", &of("second", "/parked?limit=0"), None), (400, "bad_request".to_owned()));
    assert_eq!(operator.code("GET", &of("second", "/parked?after=x"), None), (400, "bad_request".to_owned()));
    let nothing = json!({ "delivery": "0-1-0" });
    until("the endpoint's start", || operator.state("second").is_object().then_some(()));
    assert_eq!(operator.code("POST", &of("second", "/skip"), Some(&nothing)), (404, "delivery_missing".to_owned()));
    assert_eq!(operator.code("GET", "/replays/9", None), (404, "replay_missing".to_owned()));

    operator.must("DELETE", &of("second", ""), None);
    assert_eq!(operator.must("GET", "/endpoints", None)["endpoints"], json!([]));
    server.stop();
}

#[test]
fn a_token_is_asked_for_where_one_is_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = "a-token-of-24-characters";
    let server = Server::start(folder.path(), &format!("[admin]\ntoken = \"{token}\"\n"));
    let (with, without) = (Operator { server: &server, token }, Operator { server: &server, token: "wrong" });
    assert_eq!(with.must("GET", "/endpoints", None)["endpoints"], json!([]));
    assert_eq!(without.code("GET", "/endpoints", None), (401, "unauthorized".to_owned()));
    assert_eq!(get(server.admin_listen, "/healthz").0, 200, "probes need no token");
    assert!(with.cli(&["list"]).starts_with("no app has an endpoint yet"));
    let refused = without.cli_output(&["list"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("unauthorized"), "{}", text(&refused.stderr));
    let (_, document) = with.call("GET", "/openapi.json", None);
    assert_eq!(document["openapi"], "3.1.0");
    server.stop();
}

#[test]
fn a_poison_message_is_parked_found_explained_and_sent_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start();
    backend.rule(|body| (if said(body) == "poison" { 500 } else { 200 }, OK.to_owned()));
    let server = Server::start(folder.path(), &format!("{QUICK}\n[app.webhook]\nurl = \"{}\"\n", backend.url()));
    let operator = Operator { server: &server, token: "" };
    open_lobby(&server);
    for what in ["one", "poison", "three"] {
        assert_eq!(say(&server, what)["ErrorCode"], 0);
    }
    until("parking", || (operator.state("default")["parked"] == 1).then_some(()));
    let state = operator.state("default");
    assert_eq!((&state["acknowledged"], &state["delivered"], &state["pending"]), (&json!(3), &json!(2), &json!(0)));
    assert_eq!(state["last_failure"]["status"], 500);

    let parked = until("the parked row", || {
        let parked = operator.must("GET", &of("default", "/parked"), None);
        parked["deliveries"][0]["delivery"].as_str().map(str::to_owned)
    });
    assert!(operator.cli(&["parked"]).contains(&parked));
    assert!(operator.cli(&["list"]).contains("running"));
    let trail = operator.must("GET", &format!("/apps/{SDKAPPID}/rooms/lobby/messages/2/trail"), None);
    assert_eq!((&trail["delivery"], &trail["endpoints"][0]["state"]), (&json!(parked), &json!("parked")));
    let told = operator.cli(&["trail", "lobby", "2"]);
    assert!(told.contains("parked") && told.contains("the endpoint answered 500"), "{told}");
    assert!(operator.cli(&["trail", "lobby", "3"]).contains("delivered"));
    assert!(operator.cli(&["show"]).contains("newest failures"));

    backend.rule(|_| (200, OK.to_owned()));
    assert!(operator.cli(&["replay", "--parked"]).contains("1 requeued, 0 failed"));
    until("its delivery", || (operator.state("default")["delivered"] == 3).then_some(()));
    let state = operator.state("default");
    assert_eq!((&state["parked"], &state["pending"], &state["expired"]), (&json!(0), &json!(0), &json!(0)));
    assert_eq!(backend.heard("Group.CallbackAfterSendMsg").last().map(String::as_str), Some("poison"));
    server.stop();
}

#[test]
fn messages_are_replayed_to_another_url_and_pulled_by_cursor() {
    let folder = tempfile::tempdir().expect("a folder");
    let (backend, other) = (Backend::start(), Backend::start());
    let server = Server::start(folder.path(), &format!("{QUICK}\n[app.webhook]\nurl = \"{}\"\n", backend.url()));
    let operator = Operator { server: &server, token: "" };
    open_lobby(&server);
    let end = operator.must("GET", &of("default", "/events?after=end"), None)["next"].clone();
    for number in 1..=5 {
        assert_eq!(say(&server, &format!("m{number}"))["ErrorCode"], 0);
    }
    until("delivery", || (operator.state("default")["delivered"] == 5).then_some(()));

    let range = ["replay", "--room", "lobby", "--from", "2", "--to", "4", "--per-s", "1000"];
    let told = operator.cli(&[&range[..], &["--url", &other.url()]].concat());
    assert!(told.contains("done; 3 acknowledged, 0 requeued, 0 failed, 0 gone"), "{told}");
    assert_eq!(other.heard("Group.CallbackAfterSendMsg"), ["m2", "m3", "m4"]);
    let told = operator.cli(&["replay", "--since", "1h", "--per-s", "1000", "--url", &other.url()]);
    assert!(told.contains("5 acknowledged"), "{told}");
    let refused = operator.cli_output(&["replay", "--room", "lobby", "--from", "9", "--to", "2"]);
    assert!(!refused.status.success());
    let elsewhere = ["replay", "--room", "lobby", "--from", "1", "--to", "1", "--url", "http://10.0.0.1/"];
    let guarded = operator.cli_output(&elsewhere);
    let told = text(&guarded.stdout);
    assert!(!guarded.status.success() && told.contains("10.0.0.1 is private and not allowed"), "{told}");

    let mut after = end.as_str().expect("a cursor").to_owned();
    let mut pulled = Vec::new();
    loop {
        let page = operator.must("GET", &of("default", &format!("/events?limit=2&after={after}")), None);
        let events = page["events"].as_array().expect("events");
        after = page["next"].as_str().expect("a cursor").to_owned();
        if events.is_empty() {
            break;
        }
        for event in events {
            let body: Value = serde_json::from_str(event["body"].as_str().expect("a body")).expect("JSON");
            pulled.push(said(&body).to_owned());
        }
    }
    assert_eq!(pulled, ["m1", "m2", "m3", "m4", "m5"]);
    let at_end = operator.cli_output(&["events", "--after", "end"]);
    assert!(
        at_end.stdout.is_empty() && text(&at_end.stderr).contains("go on with --after "),
        "{}",
        text(&at_end.stderr)
    );
    let all = operator.cli(&["events", "--after", end.as_str().expect("a cursor"), "--limit", "2", "--all"]);
    let bodies: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).expect("a body per line")).collect();
    assert_eq!(bodies.iter().map(said).collect::<Vec<_>>(), ["m1", "m2", "m3", "m4", "m5"]);

    // A new endpoint that begins in the past, with a message.
    let late = Backend::start();
    let start = json!({ "at": "message", "room": "lobby", "msg_seq": 4 });
    operator.must("PUT", &of("late", ""), Some(&json!({ "url": late.url(), "start": start })));
    let heard = until("the past", || {
        let heard = late.heard("Group.CallbackAfterSendMsg");
        heard.contains(&"m5".to_owned()).then_some(heard)
    });
    assert!(heard.contains(&"m4".to_owned()), "{heard:?}");
    let start = json!({ "at": "message", "room": "lobby", "msg_seq": 400 });
    let refused = operator.code("PUT", &of("later", ""), Some(&json!({ "url": late.url(), "start": start })));
    assert_eq!(refused, (404, "event_missing".to_owned()));
    server.stop();
}

#[test]
fn an_endpoint_is_paused_by_hand_tested_and_resumed() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start();
    let server = Server::start(folder.path(), &format!("{QUICK}\n[app.webhook]\nurl = \"{}\"\n", backend.url()));
    let operator = Operator { server: &server, token: "" };
    open_lobby(&server);
    assert!(operator.cli(&["pause"]).contains("paused"));
    until("the pause", || (operator.state("default")["mode"] == "paused_by_hand").then_some(()));
    assert_eq!(say(&server, "while paused")["ErrorCode"], 0);
    until("the debt", || (operator.state("default")["pending"] == 1).then_some(()));
    assert!(operator.cli(&["test"]).contains("answered 200"), "a test goes out, pause or not");
    assert_eq!(backend.heard("Group.CallbackAfterSendMsg"), Vec::<String>::new());
    assert!(operator.cli(&["resume"]).contains("tries again now"));
    until("delivery", || (operator.state("default")["delivered"] == 1).then_some(()));

    backend.rule(|_| (503, String::new()));
    let failed = operator.cli_output(&["test"]);
    assert!(!failed.status.success() && text(&failed.stdout).contains("503"), "{}", text(&failed.stdout));
    server.stop();
}

#[test]
fn the_gate_decides_and_the_after_webhook_carries_what_it_made_of_the_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start();
    backend.rule(|body| {
        let verdict = |code: i32, info: &str| json!({ "ActionStatus": "OK", "ErrorInfo": info, "ErrorCode": code });
        let mut answer = verdict(0, "");
        if body["CallbackCommand"] == "Group.CallbackBeforeSendMsg" {
            match said(body) {
                "curse" => answer["MsgBody"] = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "*****" } }]),
                "spam" => answer = verdict(2, ""),
                "link" => answer = verdict(10_107, "no links here"),
                "bad" => answer = verdict(1, ""),
                "garbage" => return (200, "<html>".to_owned()),
                "slow" => std::thread::sleep(std::time::Duration::from_millis(150)),
                _ => {}
            }
        }
        (200, answer.to_string())
    });
    let commands = "commands = [\"Group.CallbackBeforeSendMsg\", \"Group.CallbackAfterSendMsg\", \
                    \"Group.CallbackSendMsgException\"]";
    let webhook =
        format!("{QUICK}\n[gate]\nfailure = \"drop\"\n[app.webhook]\nurl = \"{}\"\n{commands}\n", backend.url());
    let server = Server::start(folder.path(), &webhook);
    let operator = Operator { server: &server, token: "" };
    open_lobby(&server);
    let send = |random: u32, what: &str| {
        let answer = server.call("group_open_http_svc/send_group_msg", &group_msg(random, what));
        (answer["ErrorCode"].as_i64().expect("a code"), answer["MsgSeq"].as_i64().unwrap_or(-1))
    };
    assert_eq!(send(1, "fine"), (0, 1));
    assert_eq!(send(2, "curse"), (0, 2));
    assert_eq!(send(3, "spam"), (0, 0), "success for the sender, and nothing sent");
    assert_eq!(send(4, "link").0, 10_107);
    assert_eq!(send(5, "bad").0, 10_016);
    assert_eq!(send(6, "garbage").0, 80_003);
    assert_eq!(send(2, "curse"), (0, 2), "a repeat is not asked about");
    let mut forced = group_msg(7, "bad");
    forced["ForbidCallbackControl"] = json!(["ForbidBeforeSendMsgCallback"]);
    assert_eq!(server.must("group_open_http_svc/send_group_msg", &forced)["MsgSeq"], 3);

    let after =
        until("delivery", || Some(backend.heard("Group.CallbackAfterSendMsg")).filter(|heard| heard.len() == 3));
    assert_eq!(after, ["fine", "*****", "bad"]);
    assert_eq!(backend.heard("Group.CallbackBeforeSendMsg"), ["fine", "curse", "spam", "link", "bad", "garbage"]);
    let unsent = until("exceptions", || {
        let mut heard = backend.heard("Group.CallbackSendMsgException");
        heard.sort();
        Some(heard).filter(|heard| heard.len() == 3)
    });
    assert_eq!(unsent, ["bad", "garbage", "link"]);
    // The same message twice at once: the second waits for the first, and is its repeat.
    let pair = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| send(8, "slow")));
        both.map(|sender| sender.join().expect("a sender"))
    });
    assert_eq!(pair, [(0, 4), (0, 4)]);
    let asked = backend.heard("Group.CallbackBeforeSendMsg");
    assert_eq!(asked.iter().filter(|text| *text == "slow").count(), 1, "{asked:?}");

    let questions = operator.must("GET", &format!("/apps/{SDKAPPID}/gate/questions"), None);
    let verdicts: Vec<&str> =
        questions["questions"].as_array().expect("questions").iter().filter_map(|q| q["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["allow", "failed", "refuse", "refuse", "discard", "replace", "allow"]);
    server.stop();
}
