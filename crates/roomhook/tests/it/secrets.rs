//! What a server says at its most talkative, to the logs, to operators and to metrics, and what must not be in it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex},
};

use rcgen::KeyPair;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    admin::{OK, Operator, group_msg, of, open_lobby},
    attacks::{
        http2,
        tls::Authority,
        wire::{Identity, Wire, encrypted},
    },
    support::{KEY, SDKAPPID, Server, get, run, text, until},
};

const ADMIN_TOKEN: &str = "planted-admin-token-0123456789";
const TOKEN: &str = "planted-callback-token";
const TOKEN_BESIDE: &str = "planted-token-of-another";
const SIGNING: [&str; 2] = ["whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldC0x", "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldC0y"];
/// Content of messages: in no log, no metric and no trail.
const SAID: &str = "planted-words-of-a-message";
/// What a URL's query may hold: in no log and no metric. Operators see URLs as they set them.
const IN_URL: &str = "planted-in-the-url";

/// An app backend over TLS that keeps the heads of its requests.
fn backend(identity: &Identity) -> (String, Arc<Mutex<Vec<String>>>) {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = heads.clone();
    let url = encrypted(identity, move |wire| serve(wire, kept.clone()));
    (format!("{url}?key={IN_URL}"), heads)
}

async fn serve(mut wire: impl Wire, heads: Arc<Mutex<Vec<String>>>) {
    let mut read = Vec::new();
    loop {
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
            let mut some = [0; 4_096];
            match wire.read(&mut some).await {
                Ok(0) | Err(_) => return,
                Ok(more) => read.extend_from_slice(&some[..more]),
            }
            continue;
        };
        let head = text(&read[..end]);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let (body, there) = (length.trim().parse::<usize>().expect("a length"), read.len() - end - 4);
        let mut rest = vec![0; body.saturating_sub(there)];
        if wire.read_exact(&mut rest).await.is_err() {
            return;
        }
        read.clear();
        heads.lock().expect("heads").push(head);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{OK}", OK.len());
        if wire.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Connects with a token, joins, and publishes, once well and once badly, over a WebSocket made by hand.
fn chat(server: &Server, usersig: &str) {
    let mut socket = TcpStream::connect(server.listen).expect("connect");
    let upgrade = "GET /connection/websocket HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).expect("upgrade");
    let commands = [
        json!({ "id": 1, "connect": { "token": usersig } }),
        json!({ "id": 2, "subscribe": { "channel": "room:lobby" } }),
        json!({ "id": 3, "publish": { "channel": "room:lobby", "data": { "Text": SAID } } }),
        json!({ "id": 4, "publish": { "channel": "room:lobby", "data": { "Wrong": SAID } } }),
    ];
    for command in commands {
        let command = command.to_string();
        let length = u16::try_from(command.len()).expect("short").to_be_bytes();
        // A masked text frame whose mask is zero.
        let frame = [&[0x81, 0x80 | 126], &length[..], &[0; 4], command.as_bytes()].concat();
        socket.write_all(&frame).expect("send");
    }
    let mut got = String::new();
    while !got.contains("\"id\":4") {
        let mut some = [0; 4_096];
        let read = socket.read(&mut some).expect("receive");
        assert!(read > 0, "the socket ended after {got}");
        got.push_str(&text(&some[..read]));
    }
    assert!(got.contains("\"id\":3,\"publish\""), "{got}");
}

/// Looks for planted words in everything that was said.
#[derive(Default)]
struct Ears {
    heard: Vec<(String, String)>,
}

impl Ears {
    fn hear(&mut self, where_from: impl Into<String>, said: impl Into<String>) {
        self.heard.push((where_from.into(), said.into()));
    }

    /// Panics with the line where one of `secrets` is found in what came from a place that `may_not` say it.
    fn never(&self, secrets: &[&str], may_not: impl Fn(&str) -> bool) {
        for (from, said) in self.heard.iter().filter(|(from, _)| may_not(from)) {
            for secret in secrets {
                let line = said.lines().find(|line| line.contains(secret));
                assert!(line.is_none(), "{from} says {secret}: {}", line.unwrap_or_default());
            }
        }
    }
}

#[test]
fn no_secret_is_ever_said_not_even_at_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let client_key = KeyPair::generate().expect("a key");
    let client = {
        let params = rcgen::CertificateParams::new(vec!["roomhook".to_owned()]).expect("params");
        params.signed_by(&client_key, &authority.0).expect("a certificate")
    };
    let mutual = Identity { clients: Some(authority.0.der().clone()), ..authority.issue("localhost", |_| {}) };
    let (url, heads) = backend(&mutual);
    let second = http2::well(&Identity { alpn: b"h2", ..authority.issue("localhost", |_| {}) });

    let settings = format!(
        "[admin]\ntoken = \"{ADMIN_TOKEN}\"\n\
         [webhooks]\nallow = [\"127.0.0.0/8\", \"::1\"]\ntimeout = \"2s\"\nretry_first = \"20ms\"\nretry_max = \"50ms\"\nretry_for = \"2s\"\n\
         [app.webhook]\nurl = \"{url}\"\ntoken = \"{TOKEN}\"\nsigning_secret = \"{}\"\n",
        SIGNING[0],
    );
    // Word for word: at trace, dependencies too.
    let server = Server::start_with(folder.path(), &settings, &[("RUST_LOG", "trace")]);
    let operator = Operator { server: &server, token: ADMIN_TOKEN };
    let endpoint = |url: &str, token: &str| {
        json!({
            "url": url, "token": { "value": token }, "signing_secrets": SIGNING,
            "commands": ["Group.CallbackAfterSendMsg", "Group.CallbackBeforeSendMsg", "Group.CallbackSendMsgException"],
            "extra_roots_pem": authority.0.pem(),
            "client_certificate": { "certificate_pem": client.pem(), "key_pem": client_key.serialize_pem() },
        })
    };
    operator.must("PUT", &of("default", ""), Some(&endpoint(&url, TOKEN)));
    operator.must("PUT", &of("second", ""), Some(&endpoint(&second, TOKEN_BESIDE)));
    let dead = format!("http://127.0.0.1:1/?key={IN_URL}");
    operator.must("PUT", &of("dead", ""), Some(&endpoint(&dead, TOKEN_BESIDE)));
    operator.must("PUT", &of("forbidden", ""), Some(&endpoint(&format!("http://10.0.0.1/{IN_URL}"), TOKEN)));

    // Calls that go well, and calls that do not.
    open_lobby(&server);
    let mut message = group_msg(1, SAID);
    message["CloudCustomData"] = json!(SAID);
    assert_eq!(server.must("group_open_http_svc/send_group_msg", &message)["MsgSeq"], 1);
    message["MsgBody"] = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": [SAID] } }]);
    assert_eq!(server.call("group_open_http_svc/send_group_msg", &message)["ErrorCode"], 10_004);
    message["GroupId"] = json!({ "no": SAID });
    assert_ne!(server.call("group_open_http_svc/send_group_msg", &message)["ErrorCode"], 0);
    let app = SDKAPPID.to_string();
    let usersig = run(&["usersig", "--sdkappid", &app, "--key", KEY, "--user", "ann"]).stdout;
    let usersig = text(&usersig).trim().to_owned();
    chat(&server, &usersig);
    let admin_usersig =
        Server::path("x").split("usersig=").nth(1).expect("a usersig").split('&').next().map(str::to_owned);
    let wrong = Operator { server: &server, token: "planted-wrong-admin-token" };
    assert_eq!(wrong.code("GET", "/endpoints", None).0, 401);
    let bad = json!({ "url": "http://x.example/", "signing_secrets": ["whsec_planted-bad-secret"] });
    let bad = operator.call("PUT", &of("bad", ""), Some(&bad));
    assert_eq!(bad.0, 400);
    until("deliveries", || (heads.lock().expect("heads").len() >= 5).then_some(()));
    until("a failure", || {
        (operator.must("GET", &of("dead", "/attempts?failures=true"), None)["attempts"][0].is_object()).then_some(())
    });

    // Everything that can be read.
    let mut ears = Ears::default();
    ears.hear("an answer", bad.1.to_string());
    for path in [
        "/endpoints".to_owned(),
        "/replays".to_owned(),
        format!("/apps/{app}/endpoints"),
        format!("/apps/{app}/gate/questions"),
        format!("/apps/{app}/rooms/lobby/messages/1/trail"),
    ] {
        ears.hear(format!("GET {path}"), operator.must("GET", &path, None).to_string());
    }
    for id in ["default", "second", "dead", "forbidden"] {
        for path in ["", "/attempts", "/attempts?failures=true", "/parked", "/set-aside", "/events"] {
            let (status, answer) = operator.call("GET", &of(id, path), None);
            assert_eq!(status, 200, "{path}");
            ears.hear(format!("GET {id}{path}"), answer.to_string());
        }
        ears.hear("POST test", operator.must("POST", &of(id, "/test"), None).to_string());
        ears.hear("webhooks show", operator.cli(&["show", id]));
    }
    ears.hear("webhooks list", operator.cli(&["list"]));
    ears.hear("webhooks trail", operator.cli(&["trail", "lobby", "1"]));
    for path in ["/metrics", "/healthz", "/readyz"] {
        ears.hear(path, get(server.admin_listen, path).1);
    }
    let config = folder.path().join("roomhook.toml");
    let doctor = run(&["doctor", "--config", config.to_str().expect("a path")]);
    ears.hear("doctor", text(&doctor.stdout) + &text(&doctor.stderr));
    server.stop();
    let log = fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(log.contains("TRACE") && log.contains("h2::"), "it was talkative, dependencies too");
    ears.hear("log", log);

    // Signatures that were used: as good as the secret for a minute or five.
    let heads = heads.lock().expect("heads").join("\n");
    let between = |begin: &str, end: char| -> Vec<String> {
        heads.split(begin).skip(1).filter_map(|rest| rest.split([end, '\r']).next()).map(str::to_owned).collect()
    };
    let (signs, signatures) = (between("&Sign=", '&'), between("webhook-signature: ", ' '));
    assert!(!signs.is_empty() && !signatures.is_empty(), "{heads}");
    assert!(heads.contains(IN_URL));

    let key_pem = client_key.serialize_pem();
    let key_line = key_pem.lines().nth(1).expect("a line");
    let admin_usersig = admin_usersig.expect("a usersig");
    let mut secrets =
        vec![KEY, ADMIN_TOKEN, TOKEN, TOKEN_BESIDE, "planted-wrong", "planted-bad", key_line, &usersig, &admin_usersig];
    secrets.extend(SIGNING.map(|secret| secret.trim_start_matches("whsec_")));
    secrets.push("planted-signing-secret");
    secrets.extend(signs.iter().chain(&signatures).map(String::as_str));
    ears.never(&secrets, |_| true);
    ears.never(&[SAID], |from| !from.ends_with("/events"));
    ears.never(&[IN_URL], |from| matches!(from, "log" | "/metrics" | "doctor" | "/readyz"));
}
