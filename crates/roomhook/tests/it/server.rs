//! `serve`: configuration, start, stop, and the webhook that the configuration gives first.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::support::{KEY, Server, exchange, get, roomhook, text, until, write_config};

#[test]
fn a_server_is_ready_shows_metrics_and_stops_with_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), "");
    let (status, answer) =
        until("readiness", || Some(get(server.admin_listen, "/readyz")).filter(|(status, _)| *status == 200));
    assert_eq!((status, answer.contains("\"ready\":true")), (200, true), "{answer}");
    assert_eq!(get(server.admin_listen, "/healthz").0, 200);
    let (_, metrics) = get(server.admin_listen, "/metrics");
    assert!(
        metrics.contains("roomhook_build_info{version=") && metrics.contains("roomhook_connections_open"),
        "{metrics}"
    );
    server.stop();
}

#[test]
fn both_ports_refuse_requests_that_can_be_read_in_two_ways() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), "");
    for port in [server.listen, server.admin_listen] {
        for (headers, status) in
            [("", 400), ("Host: one\r\nHost: two\r\n", 400), ("Host: one\r\nTransfer-Encoding: gzip, chunked\r\n", 501)]
        {
            let answer = exchange(port, &format!("POST /healthz HTTP/1.1\r\n{headers}\r\n0\r\n\r\n"));
            assert_eq!(answer.0, status, "{port}: {headers}: {answer:?}");
        }
    }
    server.stop();
}

#[test]
fn a_fresh_start_tells_of_its_own_doings_only_unless_the_libraries_are_asked_for() {
    let log_of = |vars: &[(&str, &str)]| {
        let folder = tempfile::tempdir().expect("a folder");
        Server::start_with(folder.path(), "", vars).stop();
        std::fs::read_to_string(folder.path().join("log")).expect("a log")
    };
    let told = log_of(&[]);
    assert!(told.contains(" INFO roomhook"), "{told}");
    assert!(!told.contains("fjall") && !told.contains("lsm_tree"), "{told}");
    assert!(log_of(&[("ROOMHOOK__LOG__LEVEL", "info,fjall=info")]).contains(" INFO fjall::"));
    assert!(log_of(&[("RUST_LOG", "lsm_tree=info")]).contains(" INFO lsm_tree::"));
}

#[test]
fn what_was_sent_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let send = json!({ "RoomId": "lobby", "Sender_Account": "administrator", "TextContent": "hi" });
    let server = Server::start(folder.path(), "");
    let room = json!({ "RoomInfo": { "RoomId": "lobby", "RoomType": "Live", "Owner_Account": "administrator" } });
    server.must("live_engine_http_srv/create_room", &room);
    assert_eq!(server.must("live_engine_http_srv/send_text_msg", &send)["Response"]["MsgSeq"], 1);
    server.stop();
    let server = Server::start(folder.path(), "");
    assert_eq!(server.must("live_engine_http_srv/send_text_msg", &send)["Response"]["MsgSeq"], 2);
    server.stop();
}

#[test]
fn an_idle_connection_does_not_hold_a_stop_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), "");
    let mut idle = TcpStream::connect(server.listen).expect("connect");
    idle.write_all(b"POST /v4/x HTTP/1.1\r\nContent-Le").expect("half a request");
    let began = std::time::Instant::now();
    server.stop();
    assert!(began.elapsed().as_secs() < 12, "within server.shutdown_deadline");
}

#[test]
fn clients_come_in_where_rest_calls_do_and_a_stop_sends_them_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = "[realtime]\norigins = [\"https://here.example.com\"]\n";
    let server = Server::start(folder.path(), more);
    let upgrade = |origin: &str| {
        let mut stream = TcpStream::connect(server.listen).expect("connect");
        write!(
            stream,
            "GET /connection/websocket HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Origin: {origin}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .expect("ask for an upgrade");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        (stream, text(&answer))
    };
    assert_eq!(upgrade("https://elsewhere.example.com").1, "HTTP/1.1 403", "realtime.origins");
    let (mut client, answer) = upgrade("https://here.example.com");
    assert_eq!(answer, "HTTP/1.1 101");
    server.stop();
    let mut told = Vec::new();
    let _until_it_closes = client.read_to_end(&mut told);
    assert!(told.windows(8).any(|part| part == b"shutdown"), "told why: {}", text(&told));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(folder.path(), "");
    // A request whose body never comes keeps the first signal waiting.
    let mut stuck = TcpStream::connect(server.listen).expect("connect");
    let path = Server::path("live_engine_http_srv/create_room");
    write!(stuck, "POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n{{").expect("half a request");
    until("the request's arrival", || {
        let (_, metrics) = get(server.admin_listen, "/metrics");
        metrics
            .lines()
            .any(|line| line.starts_with("roomhook_rest_requests_in_work") && line.ends_with(" 1"))
            .then_some(())
    });
    server.signal("TERM");
    until("the first signal", || {
        let log = std::fs::read_to_string(folder.path().join("log")).ok()?;
        log.contains("asked to stop").then_some(())
    });
    assert!(server.child.try_wait().expect("wait").is_none(), "the request in work is waited for");
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(130));
}

#[test]
fn a_configuration_that_cannot_work_stops_the_start_with_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = write_config(folder.path(), "[servr]\nlisten = \"127.0.0.1:0\"\n");
    let output = roomhook(&["serve"]).env("ROOMHOOK_CONFIG", &config).output().expect("the program starts");
    let told = text(&output.stderr);
    assert!(!output.status.success() && told.contains("servr: there is no such key; did you mean `server`?"), "{told}");
    assert!(!told.contains(KEY), "no secrets: {told}");

    let none = roomhook(&["serve"]).output().expect("the program starts");
    assert!(!none.status.success() && text(&none.stderr).contains("no [[app]]"), "{}", text(&none.stderr));
}

#[test]
fn a_store_is_used_by_one_server_at_a_time_and_its_shards_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), "");
    let config = folder.path().join("roomhook.toml");
    let second = roomhook(&["serve", "--config", &config.display().to_string()]).output().expect("the program starts");
    assert!(!second.status.success() && text(&second.stderr).contains("in use"), "{}", text(&second.stderr));
    server.stop();
    let mut command = roomhook(&["serve", "--config", &config.display().to_string()]);
    let other = command.env("ROOMHOOK__STORAGE__SHARDS", "7").output().expect("the program starts");
    assert!(!other.status.success() && text(&other.stderr).contains("7"), "{}", text(&other.stderr));
}

#[test]
fn the_webhook_of_the_file_is_a_first_value_until_the_file_is_edited() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = |server: &Server| -> Value {
        let answer = server.call("live_config/get_callback", &json!({}));
        answer["Response"]["Url"].clone()
    };
    let block = |url: &str| format!("[app.webhook]\nurl = \"{url}\"\ntoken = \"t\"\n");

    let server = Server::start(folder.path(), &block("https://one.example.com/h"));
    assert_eq!(url(&server), "https://one.example.com/h", "the first start applies it");
    let update = json!({ "Url": "https://two.example.com/h", "CallbackCommandList": ["Group.CallbackAfterSendMsg"] });
    server.must("live_config/update_callback", &update);
    server.stop();

    let server = Server::start(folder.path(), &block("https://one.example.com/h"));
    assert_eq!(url(&server), "https://two.example.com/h", "a restart leaves what live_config changed");
    server.stop();

    let server = Server::start(folder.path(), &block("https://three.example.com/h"));
    assert_eq!(url(&server), "https://three.example.com/h", "an edited file wins, once");
    server.stop();
}

/// What was applied used to be told by a file beside the store, which a crash could leave empty: then nothing started any more.
#[test]
fn what_was_applied_of_the_file_is_in_the_store_and_survives_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = |server: &Server| -> Value {
        let answer = server.call("live_config/get_callback", &json!({}));
        answer["Response"]["Url"].clone()
    };
    let block = |url: &str| format!("[app.webhook]\nurl = \"{url}\"\ntoken = \"t\"\n");
    let kill = |mut server: Server| {
        server.signal("KILL");
        server.ended();
    };

    kill(Server::start(folder.path(), &block("https://one.example.com/h")));
    let server = Server::start(folder.path(), &block("https://one.example.com/h"));
    assert_eq!(url(&server), "https://one.example.com/h");
    let update = json!({ "Url": "https://two.example.com/h", "CallbackCommandList": ["Group.CallbackAfterSendMsg"] });
    server.must("live_config/update_callback", &update);
    kill(server);

    let server = Server::start(folder.path(), &block("https://one.example.com/h"));
    assert_eq!(url(&server), "https://two.example.com/h", "it was applied once already");
    kill(server);
    let mut of_the_store: Vec<_> = std::fs::read_dir(folder.path().join("data"))
        .expect("a store")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    of_the_store.sort();
    assert_eq!(
        of_the_store,
        ["LOCK", "STORE", "dumps", "journal", "mirror"],
        "nothing else has to be right for a start"
    );

    let server = Server::start(folder.path(), &block("https://three.example.com/h"));
    assert_eq!(url(&server), "https://three.example.com/h");
    server.must("live_config/update_callback", &update);
    kill(server);
    let server = Server::start(folder.path(), &block("https://three.example.com/h"));
    assert_eq!(url(&server), "https://two.example.com/h", "an edit is applied once, too");
    server.stop();
}

#[test]
fn https_is_served_with_the_configured_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("write");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("write");
    let tls = format!("{{ cert = {:?}, key = {:?} }}", cert.display().to_string(), key.display().to_string());
    let server = Server::start_with(folder.path(), "", &[("ROOMHOOK__SERVER__TLS", &tls)]);
    let url = format!("https://localhost:{}/v4/live_engine_http_srv/create_room", server.listen.port());
    let resolve = format!("localhost:{}:127.0.0.1", server.listen.port());
    let call = std::process::Command::new("curl")
        .arg("-s")
        .args(["-d", "{}", "--resolve", &resolve, "--cacert"])
        .arg(&cert)
        .arg(&url)
        .output();
    let answer: Value = serde_json::from_slice(&call.expect("curl").stdout).expect("an answer over HTTPS");
    assert_eq!(answer["ErrorCode"], 60012, "{answer}");
    server.stop();
}

#[test]
fn the_longest_message_that_can_be_configured_is_stored_and_one_that_is_longer_harms_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = "[limits]\nmessage_max = \"1023KiB\"\nbody_max = \"8MiB\"\n[realtime]\nframe_max = \"8MiB\"\n";
    let server = Server::start(folder.path(), more);
    let room = json!({ "RoomInfo": { "RoomId": "lobby", "RoomType": "Live", "Owner_Account": "administrator" } });
    server.must("live_engine_http_srv/create_room", &room);
    let send = |random: u32, text: &str| {
        let body = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } }]);
        let said = json!({ "GroupId": "lobby", "Random": random, "MsgBody": body });
        server.call("group_open_http_svc/send_group_msg", &said)
    };
    let around = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "" } }]).to_string().len() + "\"\"".len();
    let longest = "x".repeat(1023 * 1024 - around);
    assert_eq!(send(1, &longest)["MsgSeq"], 1);
    assert_eq!(send(2, &format!("{longest}x"))["ErrorCode"], 80002);
    assert_eq!(send(3, "hello")["MsgSeq"], 2);
    server.stop();
}

#[test]
fn limits_and_log_settings_do_what_they_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let more =
        "[limits]\nmessage_max = \"100B\"\nbody_max = \"1KiB\"\nroom_messages_per_s = 1\n[log]\nformat = \"json\"\n";
    let server = Server::start(folder.path(), more);
    let room = json!({ "RoomInfo": { "RoomId": "lobby", "RoomType": "Live", "Owner_Account": "administrator" } });
    server.must("live_engine_http_srv/create_room", &room);
    let send = |text: &str| {
        server.call(
            "live_engine_http_srv/send_text_msg",
            &json!({ "RoomId": "lobby", "Sender_Account": "administrator", "TextContent": text }),
        )
    };
    assert_eq!(send(&"long ".repeat(30))["ErrorCode"], 80002, "limits.message_max");
    assert_eq!(send(&"longer ".repeat(300))["ErrorCode"], 80002, "limits.body_max");
    let dropped =
        (0..50).map(|_| send("hi")).filter(|answer| answer["Response"]["MsgDropReason"] == "MsgFreqCtrl").count();
    assert!(dropped > 0, "limits.room_messages_per_s");
    server.stop();
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "log.format: {line}");
    }
    assert!(log.contains("stopped") && !log.contains(KEY), "{log}");
}
