//! Operators of a whole server, at three in the morning: what they are told when something is wrong, and what outlives a crash.

use std::{collections::BTreeMap, net::TcpListener, path::Path, sync::Barrier};

use serde_json::{Value, json};

use crate::{
    admin::{Backend, Operator, QUICK, of, open_lobby, said, say},
    support::{SDKAPPID, Server, roomhook, text, until},
};

fn start(folder: &Path, url: &str) -> Server {
    Server::start(folder, &format!("{QUICK}\n[app.webhook]\nurl = \"{url}\"\n"))
}

fn kill_9_and_start_again(server: Server, folder: &Path, url: &str) -> Server {
    let mut server = server;
    server.signal("KILL");
    server.ended();
    start(folder, url)
}

/// A URL at which nobody listens.
fn nobody() -> String {
    let addr = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
    format!("http://{addr}/hook")
}

#[test]
fn whatever_is_wrong_is_told_in_one_shape_and_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path(), &nobody());
    let operator = Operator { server: &server, token: "" };
    let told = |method: &str, path: &str, body: Option<&Value>| {
        let (status, answer) = operator.call(method, path, body);
        let error = &answer["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}: {status} {answer}");
        let field = error["field"].as_str().unwrap_or("-").to_owned();
        (status, error["code"].as_str().unwrap_or("?").to_owned(), field)
    };
    let is = |status: u16, code: &str, field: &str| (status, code.to_owned(), field.to_owned());
    for (method, path, expected) in [
        ("GET", "/apps/abc/endpoints", is(400, "bad_request", "app")),
        ("GET", "/apps/99999999999/endpoints/default", is(400, "bad_request", "app")),
        ("GET", "/apps/-1/endpoints/default/parked", is(400, "bad_request", "app")),
        ("GET", "/apps/7/endpoints/default", is(404, "app_missing", "-")),
        ("GET", &of("no such one", "").replace(' ', "%20"), is(404, "endpoint_missing", "-")),
        ("GET", &of("%ff", ""), is(400, "bad_request", "endpoint")),
        ("GET", &format!("/apps/{SDKAPPID}/rooms/lobby/messages/x/trail"), is(400, "bad_request", "msg_seq")),
        ("GET", &format!("/apps/{SDKAPPID}/rooms/lobby/messages/1/trail"), is(404, "event_missing", "-")),
        ("GET", "/replays/x", is(400, "bad_request", "replay")),
        ("GET", "/replays/9", is(404, "replay_missing", "-")),
        ("DELETE", "/replays/9", is(404, "replay_missing", "-")),
        ("GET", "", is(404, "path_missing", "-")),
        ("GET", "/", is(404, "path_missing", "-")),
        ("GET", "/endpoints/", is(404, "path_missing", "-")),
        ("GET", "/apps//endpoints", is(400, "bad_request", "app")),
        ("PATCH", "/endpoints", is(405, "method_wrong", "-")),
        ("POST", &of("default", ""), is(405, "method_wrong", "-")),
        ("GET", &of("default", "/parked?limit=0"), is(400, "bad_request", "limit")),
        ("GET", &of("default", "/parked?limit=x"), is(400, "bad_request", "-")),
        ("GET", &of("default", "/parked?colour=1"), is(400, "bad_request", "-")),
        ("GET", &of("default", "/parked?after=x"), is(400, "bad_request", "delivery")),
        ("GET", &of("default", "/events?after=x"), is(422, "unusable", "-")),
    ] {
        assert_eq!(told(method, path, None), expected, "{method} {path}");
    }
    until("the endpoint's start", || operator.state("default").is_object().then_some(()));
    let replays = of("default", "/replays");
    for (body, field) in [
        (json!({ "messages": { "room": "lobby", "from": 2, "to": 1 } }), "messages"),
        (json!({ "time": { "from_ms": 2, "to_ms": 1 } }), "time"),
        (json!({ "parked": true, "to": "http://x y/" }), "to"),
    ] {
        assert_eq!(told("POST", &replays, Some(&body)), is(422, "unusable", field), "{body}");
    }
    for (body, field) in [
        (json!({ "messages": { "room": "lobby", "from": 0, "to": 1 } }), "messages.from"),
        (json!({ "messages": { "room": "lobby", "from": "1", "to": 1 } }), "messages.from"),
        (json!({ "delivery": "x" }), "delivery"),
        (json!({ "parked": true, "per_s": 0 }), "per_s"),
        (json!({ "parked": true, "to": "ftp://x/" }), "to"),
        (json!({ "parked": true, "when": 1 }), "when"),
        (json!({ "parked": true, "delivery": "1-1-0" }), "-"),
    ] {
        assert_eq!(told("POST", &replays, Some(&body)), is(400, "bad_request", field), "{body}");
    }
    let long = json!({ "url": "x".repeat(300_000) });
    assert_eq!(told("PUT", &of("long", ""), Some(&long)).1, "bad_request");
    server.stop();
}

/// A certificate and its key.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["client.example".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn an_endpoint_that_could_not_be_used_is_refused_when_it_is_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), QUICK);
    let operator = Operator { server: &server, token: "" };
    let ((cert, key), (_, other_key)) = (pair(), pair());
    let put = |more: Value| {
        let mut request = json!({ "url": "https://x.example/hook" });
        request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let (status, answer) = operator.call("PUT", &of("second", ""), Some(&request));
        let shown = answer.to_string();
        assert!(!shown.contains("PRIVATE") && !shown.contains("hush"), "{shown}");
        (status, answer["error"]["field"].as_str().unwrap_or("-").to_owned())
    };
    let certificate =
        |cert: &str, key: &str| json!({ "client_certificate": { "certificate_pem": cert, "key_pem": key } });
    for (request, field) in [
        (json!({ "url": "http://[::1/" }), "url"),
        (json!({ "url": "http://x y/" }), "url"),
        (json!({ "url": "http://256.1.1.1/" }), "url"),
        (json!({ "extra_roots_pem": "not a certificate" }), "extra_roots_pem"),
        (
            json!({ "extra_roots_pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" }),
            "extra_roots_pem",
        ),
        (certificate(&cert, ""), "client_certificate"),
        (certificate("", &key), "client_certificate"),
        (certificate("hush", &key), "client_certificate.certificate_pem"),
        (certificate(&cert, "hush"), "client_certificate.key_pem"),
        (certificate(&cert, &other_key), "client_certificate.certificate_pem"),
        (json!({ "token": { "enabled": true } }), "token.value"),
    ] {
        assert_eq!(put(request.clone()), (422, field.to_owned()), "{request}");
    }
    for (request, field) in [
        (json!({ "url": 7 }), "url"),
        (json!({ "url": "ftp://x.example/" }), "url"),
        (json!({ "room_prefix": "räume" }), "room_prefix"),
        (json!({ "client_certificate": { "certificate_pem": "" } }), "client_certificate.key_pem"),
        (json!({ "signing_secrets": ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz", "hush"] }), "signing_secrets[1]"),
        (json!({ "signing_secrets": vec!["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"; 2] }), "signing_secrets[1]"),
        (json!({ "signing_secrets": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz" }), "signing_secrets"),
        (json!({ "token": { "value": "h".repeat(129) } }), "token.value"),
        (json!({ "order": "random" }), "order"),
        (json!({ "retry": "never" }), "retry"),
        (json!({ "gate_failure": "maybe" }), "gate_failure"),
        (json!({ "timeout_ms": 0 }), "timeout_ms"),
        (json!({ "timeout_ms": 60_001 }), "timeout_ms"),
        (json!({ "timeout_ms": -1 }), "timeout_ms"),
        (json!({ "concurrency": 0 }), "concurrency"),
        (json!({ "concurrency": 5_000_000_000_u64 }), "concurrency"),
        (json!({ "room_prefix": "x".repeat(300) }), "room_prefix"),
        (json!({ "commands": ["Group.CallbackAfterSendMsg", "Group.Nothing"] }), "commands[1]"),
        (json!({ "start": { "at": "time" } }), "start"),
        (json!({ "start": { "at": "yesterday" } }), "start.at"),
        (json!({ "start": { "at": "tail", "colour": 1 } }), "start.colour"),
        (json!({ "colour": 1 }), "colour"),
    ] {
        assert_eq!(put(request.clone()), (400, field.to_owned()), "{request}");
    }
    for id in ["so%20so", ".hidden"] {
        assert_eq!(operator.code("PUT", &of(id, ""), Some(&json!({ "url": "http://x/" }))).0, 400, "{id}");
    }
    assert_eq!(operator.must("GET", "/endpoints", None)["endpoints"], json!([]), "nothing of that was set");

    let mut good = certificate(&cert, &key);
    good["extra_roots_pem"] = json!(cert);
    assert_eq!(put(good), (200, "-".to_owned()));
    // What is kept is looked at together with what is new.
    assert_eq!(put(json!({ "url": "http://x.example/" })), (200, "-".to_owned()));
    server.stop();
}

#[test]
fn changes_through_two_doors_at_once_are_both_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path(), "http://127.0.0.1:1/first");
    let operator = Operator { server: &server, token: "" };
    let commands = json!(["Group.CallbackAfterSendMsg"]);
    for round in 0..40 {
        let (url, paused) = (format!("http://127.0.0.1:1/{round}"), round % 2 == 0);
        let together = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let request = json!({ "Url": url, "CallbackCommandList": commands });
                let path = Server::path("live_config/update_callback");
                together.wait();
                let (_, answer) = crate::support::post(server.listen, &path, &request.to_string());
                assert!(answer.contains("\"ErrorCode\":0"), "{answer}");
            });
            scope.spawn(|| {
                together.wait();
                operator.must("POST", &of("default", if paused { "/pause" } else { "/resume" }), Some(&json!({})));
            });
        });
        let endpoint = operator.must("GET", &of("default", ""), None);
        assert_eq!((&endpoint["url"], &endpoint["paused"]), (&json!(url), &json!(paused)), "round {round}");
    }
    server.stop();
}

#[test]
fn a_replay_outlives_a_crash_of_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let (backend, other) = (Backend::start(), Backend::start());
    let server = start(folder.path(), &backend.url());
    let operator = Operator { server: &server, token: "" };
    open_lobby(&server);
    for number in 0..60 {
        assert_eq!(say(&server, &format!("m{number}"))["ErrorCode"], 0);
    }
    until("delivery", || (operator.state("default")["delivered"] == 60).then_some(()));
    let range = ["replay", "--room", "lobby", "--from", "1", "--to", "60", "--per-s", "40", "--no-wait"];
    let told = operator.cli(&[&range[..], &["--url", &other.url()]].concat());
    assert!(told.starts_with("replay 1: running"), "{told}");
    until("half of it", || (other.heard("Group.CallbackAfterSendMsg").len() >= 20).then_some(()));

    let server = kill_9_and_start_again(server, folder.path(), &backend.url());
    let operator = Operator { server: &server, token: "" };
    let done = until("its end", || {
        let state = operator.call("GET", "/replays/1", None).1;
        (state["status"] == "done").then_some(state)
    });
    assert_eq!((&done["resumed"], &done["progress"]["acknowledged"]), (&json!(1), &json!(60)));
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    other.heard("Group.CallbackAfterSendMsg").into_iter().for_each(|said| *times.entry(said).or_default() += 1);
    assert_eq!(times.len(), 60, "{times:?}");
    assert!(operator.cli(&["replays"]).contains("lobby 1..60"));
    assert!(operator.cli(&["replays", "1"]).starts_with("replay 1: done; 60 acknowledged"));

    let slow = ["replay", "--since", "1h", "--per-s", "1", "--no-wait", "--url", &other.url()];
    assert!(operator.cli(&slow).starts_with("replay 2: running"));
    assert!(operator.cli(&["replays", "2", "--stop"]).starts_with("replay 2: stopped"));
    let server = kill_9_and_start_again(server, folder.path(), &backend.url());
    let operator = Operator { server: &server, token: "" };
    let stopped = until("its row", || operator.call("GET", "/replays/2", None).1["status"].as_str().map(str::to_owned));
    assert_eq!(stopped, "stopped");
    server.stop();
}

/// A receiver that keeps what it pulled, and the cursor after it.
#[derive(Default)]
struct Puller {
    cursor: Option<String>,
    seen: Vec<String>,
}

impl Puller {
    /// One page. True: that was all.
    fn pull(&mut self, operator: &Operator<'_>) -> bool {
        let after = self.cursor.as_ref().map(|cursor| format!("&after={cursor}")).unwrap_or_default();
        let page = operator.must("GET", &of("default", &format!("/events?limit=7{after}")), None);
        for event in page["events"].as_array().expect("events") {
            let body: Value = serde_json::from_str(event["body"].as_str().expect("a body")).expect("JSON");
            self.seen.push(said(&body).to_owned());
        }
        self.cursor = page["next"].as_str().map(str::to_owned);
        page["at_end"] == true
    }
}

#[test]
fn a_receiver_that_was_down_catches_up_by_asking_and_gets_everything_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = nobody();
    let mut server = start(folder.path(), &url);
    open_lobby(&server);
    let mut receiver = Puller::default();
    for round in 0..3 {
        for number in 0..20 {
            assert_eq!(say(&server, &format!("m{}", round * 20 + number))["ErrorCode"], 0);
        }
        // It takes a page, and then the server dies.
        let operator = Operator { server: &server, token: "" };
        until("the endpoint's start", || operator.state("default").is_object().then_some(()));
        receiver.pull(&operator);
        server = kill_9_and_start_again(server, folder.path(), &url);
    }
    let operator = Operator { server: &server, token: "" };
    until("the endpoint's start", || operator.state("default").is_object().then_some(()));
    while !receiver.pull(&operator) {}
    let all: Vec<String> = (0..60).map(|number| format!("m{number}")).collect();
    assert_eq!(receiver.seen, all, "everything, once, in order");
    let strange = operator.cli_output(&["events", "--after", "999999.1.1.1"]);
    assert!(text(&strange.stderr).contains("not given out for this server's store"), "{}", text(&strange.stderr));
    server.stop();
}

#[test]
fn the_command_line_says_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = "a-token-of-24-characters";
    let config = format!("{QUICK}\n[admin]\ntoken = \"{token}\"\n");
    let server = Server::start(folder.path(), &config);
    let operator = Operator { server: &server, token };
    let told = |operator: &Operator<'_>, arguments: &[&str]| {
        let output = operator.cli_output(arguments);
        (output.status.code().expect("a code"), text(&output.stdout), text(&output.stderr))
    };
    assert!(told(&operator, &["list"]).1.contains("no app has an endpoint yet"));
    let (code, _, stderr) = told(&operator, &["show"]);
    assert!(code == 1 && stderr.contains("no app has an endpoint yet"), "{code} {stderr}");
    let backend = Backend::start();
    operator.must("PUT", &of("default", ""), Some(&json!({ "url": backend.url() })));
    until("the endpoint's start", || operator.state("default").is_object().then_some(()));

    assert!(told(&operator, &["parked"]).1.contains("nothing is parked"));
    assert!(told(&operator, &["replays"]).1.contains("there are no replays"));
    for (arguments, code, needle) in [
        (&["show", "nope"][..], 1, "`roomhook webhooks list` shows those there are"),
        (&["pause", "nope"], 1, "has no endpoint \"nope\""),
        (&["skip", "0-1-0"], 1, "`roomhook webhooks parked` shows"),
        (&["retry", "nonsense"], 1, "it looks like 2-1871-0"),
        (&["trail", "lobby", "7"], 1, "check room and MsgSeq"),
        (&["replays", "7"], 1, "`roomhook webhooks replays` shows"),
        (&["replay"], 2, "--parked"),
        (&["replay", "--room", "lobby"], 2, "--from"),
        (&["replay", "--since", "yesterday"], 2, "\"2h\" (ago)"),
        (&["parked", "--limit", "0"], 2, "1..=1000"),
        (&["list", "--app", "7"], 1, "app 7 is not configured (app_missing); `roomhook webhooks list` shows"),
    ] {
        let (got, _, stderr) = told(&operator, arguments);
        assert!(got == code && stderr.contains(needle), "{arguments:?}: {got} {stderr}");
    }
    let wrong = Operator { server: &server, token: "wrong" };
    let (code, _, stderr) = told(&wrong, &["list"]);
    assert!(code == 3 && stderr.contains("--token or ROOMHOOK_ADMIN_TOKEN"), "{code} {stderr}");
    assert!(!stderr.contains(token) && !stderr.contains("wrong"), "{stderr}");

    let ask = |admin: String| {
        let output = roomhook(&["webhooks", "--admin", &admin, "list"]).output().expect("the program starts");
        (output.status.code().expect("a code"), text(&output.stderr))
    };
    let (code, stderr) = ask(format!("http://{}", server.listen));
    assert!(code == 3 && stderr.contains("is --admin the server's server.admin_listen?"), "{code} {stderr}");
    let gone = server.admin_listen;
    server.stop();
    let (code, stderr) = ask(format!("http://{gone}"));
    assert!(code == 3 && stderr.contains("is the server running?"), "{code} {stderr}");
    let (code, stderr) = ask("https://x".to_owned());
    assert!(code == 2 && stderr.contains("plain http"), "{code} {stderr}");
}
