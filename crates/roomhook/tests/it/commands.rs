//! One command after the other.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{KEY, Running, SDKAPPID, Server, post, roomhook, run, text, write_config};

#[test]
fn the_demo_runs_and_all_matches() {
    let output = run(&["demo"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let told = text(&output.stdout);
    assert_eq!(told.matches("<- Group.CallbackAfterSendMsg").count(), 6, "{told}");
    assert_eq!(told.matches("<- clients ann and bob got it").count(), 6, "{told}");
    assert!(told.contains("client bob (iOS) sent: acknowledged, MsgSeq 5"), "{told}");
    assert!(told.contains("all matched: 6 messages, 6 webhooks"), "{told}");
}

#[test]
fn a_usersig_can_be_read_by_the_protocol_library() {
    let output = run(&["usersig", "--sdkappid", "7", "--key", "k", "--user", "ann", "--expire", "60"]);
    let claims = roomhook_protocol::usersig::decode(text(&output.stdout).trim()).expect("a UserSig");
    assert_eq!((claims.identifier.as_str(), claims.sdkappid, claims.expire), ("ann", 7, 60));
    let empty = run(&["usersig", "--sdkappid", "7", "--key", "k", "--user", ""]);
    assert!(!empty.status.success() && text(&empty.stderr).contains("--user"), "{}", text(&empty.stderr));
}

#[test]
fn dev_prints_calls_that_work_as_printed_and_shows_their_webhook() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--inspector", "127.0.0.1:0"];
    let dev = Running::start(&[&["dev", "--data", "store"], &ports[..]].concat(), folder.path());
    let key = dev.line("  key ");
    for _ in 0..2 {
        let line = dev.line("curl -s");
        let answer = Command::new("sh").args(["-c", line.trim()]).output().expect("a shell");
        let answer: Value = serde_json::from_slice(&answer.stdout).unwrap_or_else(|_| panic!("no answer to {line}"));
        assert_eq!(answer["ErrorCode"], 0, "{answer}");
    }
    assert!(dev.line("<- Group.CallbackAfterSendMsg").contains("lobby #1  administrator: hello"));
    dev.interrupt();

    let again = Running::start(&[&["dev", "--data", "store"], &ports[..]].concat(), folder.path());
    assert_eq!(again.line("  key "), key, "the key stays with the store");
    again.interrupt();

    let elsewhere = ["dev", "--data", "store", "--webhook", "http://127.0.0.1:9/hook"];
    let elsewhere = Running::start(&[&elsewhere[..], &ports[..]].concat(), folder.path());
    let line = elsewhere.line("Ctrl-C stops");
    assert!(line.contains("webhooks go to http://127.0.0.1:9/hook; `roomhook webhooks --admin http://127"), "{line}");
    elsewhere.interrupt();
}

#[test]
fn listen_acknowledges_what_is_genuine_and_says_why_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let listen = Running::start(&["listen", "--addr", "127.0.0.1:0", "--token", "t", "--sdkappid", "7"], folder.path());
    let line = listen.line("listening");
    let addr = line.rsplit("http://").next().expect("an address").parse().expect("an address");

    let (status, _) = post(addr, "/hook?SdkAppid=7&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json", "{}");
    assert_eq!(status, 401);
    assert!(listen.line("refused with 401").contains("not signed"));

    let time =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs().to_string();
    let sign = roomhook_protocol::sign::sign("t", &time);
    let body = json!({
        "CallbackCommand": "Group.CallbackAfterSendMsg", "GroupId": "lobby", "Type": "Live", "From_Account": "ann",
        "Operator_Account": "ann", "Random": 1, "MsgId": "1-1-1", "MsgSeq": 3, "MsgTime": 1, "CloudCustomData": "",
        "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "hi" } }], "EventTime": 1000,
    });
    let query = format!(
        "SdkAppid=7&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json&Sign={sign}&RequestTime={time}"
    );
    for told in ["lobby #3  ann: hi", "repeated"] {
        let (status, answer) = post(addr, &format!("/hook?{query}"), &body.to_string());
        assert_eq!((status, answer.contains("\"ErrorCode\":0")), (200, true), "{answer}");
        assert!(listen.line("<- Group").contains(told));
    }
    listen.interrupt();
}

#[test]
fn listen_can_be_a_bad_receiver_and_what_it_did_not_acknowledge_comes_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = ["status=500", "wrong-json", "redirect=http://127.0.0.1:9/", "reset", "endless", "drip", "slow=1s"];
    let ways: Vec<_> = bad.iter().flat_map(|way| ["--misbehave", way]).collect();
    let listen = Running::start(&[&["listen", "--addr", "127.0.0.1:0"], &ways[..]].concat(), folder.path());
    let line = listen.line("listening");
    let addr = line.rsplit("http://").next().expect("an address");
    // Short times, so that the byte-dripping answer is given up soon, and the slow one too.
    let more = format!(
        "[app.webhook]\nurl = \"http://{addr}/hook\"\n[webhooks]\nallow = [\"127.0.0.0/8\"]\ntimeout = \"300ms\"\n\
         retry_first = \"1ms\"\nretry_max = \"10ms\"\n",
    );
    let server = Server::start(folder.path(), &more);
    let room = json!({ "RoomInfo": { "RoomId": "lobby", "RoomType": "Live", "Owner_Account": "administrator" } });
    server.must("live_engine_http_srv/create_room", &room);
    let send = json!({ "RoomId": "lobby", "Sender_Account": "administrator", "TextContent": "hi" });
    server.must("live_engine_http_srv/send_text_msg", &send);
    assert!(listen.line("lobby #1").contains("(misbehaved: status=500)"), "the first way first");
    // "wrong-json" is a 200 all the same, and acknowledges for the server: the next message meets the next way.
    assert!(listen.line("lobby #1").contains("(misbehaved: wrong-json)"));
    server.must("live_engine_http_srv/send_text_msg", &send);
    for way in ["redirect=http://127.0.0.1:9/", "reset", "endless", "drip"] {
        let line = listen.line("lobby #2");
        assert!(line.contains(&format!("(misbehaved: {way})")), "{way}: {line}");
    }
    server.stop();
    listen.interrupt();
    let wrong = run(&["listen", "--misbehave", "nicely"]);
    assert!(!wrong.status.success() && text(&wrong.stderr).contains("slow=3s, status=500"), "{}", text(&wrong.stderr));
}

#[test]
fn a_receiver_told_to_reset_breaks_off_with_a_tcp_reset_and_not_with_a_farewell() {
    let folder = tempfile::tempdir().expect("a folder");
    let listen = Running::start(&["listen", "--addr", "127.0.0.1:0", "--misbehave", "reset"], folder.path());
    let line = listen.line("listening");
    let addr: std::net::SocketAddr = line.rsplit("http://").next().expect("an address").parse().expect("an address");
    let mut stream = TcpStream::connect(addr).expect("connect");
    stream.write_all(b"POST /hook HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}").expect("send");
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert_eq!(ended.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset, "{}", text(&answer));
    assert!(
        text(&answer).starts_with("HTTP/1.1 200") && text(&answer).contains("{\"Action"),
        "in the middle of its answer"
    );
    listen.interrupt();
}

#[test]
fn doctor_finds_what_is_wrong_and_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = write_config(folder.path(), "");
    let doctor =
        || roomhook(&["doctor", "--config", &config.display().to_string()]).output().expect("the program starts");
    let output = doctor();
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("ok     configuration: 1 app(s)") && told.contains("fdatasync"), "{told}");

    Server::start(folder.path(), "").stop();
    let told = text(&doctor().stdout);
    assert!(told.contains("ok     store:"), "{told}");

    write_config(folder.path(), "[app.webhook]\nurl = \"http://no-such-host.invalid/h\"\n");
    let output = doctor();
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let wrong = format!("WRONG  endpoint: of app {SDKAPPID}, in the file: no-such-host.invalid does not resolve");
    assert!(told.contains(&wrong), "{told}");

    write_config(folder.path(), "[sever]\nlisten = 1\n");
    let output = doctor();
    assert!(!output.status.success() && text(&output.stdout).contains("sever"), "{}", text(&output.stdout));
}

#[test]
fn doctor_looks_at_the_endpoints_that_the_server_has_running_or_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (dead, alive) = ("http://127.0.0.1:1/hook", format!("http://{}/hook", taken.local_addr().expect("an address")));
    let more = format!("[app.webhook]\nurl = {dead:?}\n[webhooks]\nallow = [\"127.0.0.0/8\"]\n");
    let server = Server::start(folder.path(), &more);
    let update = |server: &Server, url: &str| {
        let callback = json!({ "Url": url, "CallbackCommandList": ["Group.CallbackAfterSendMsg"] });
        server.must("live_config/update_callback", &callback)
    };
    // The file with the addresses that the running server has.
    let config = folder.path().join("as-it-runs.toml");
    let text_of_file = std::fs::read_to_string(folder.path().join("roomhook.toml")).expect("a file");
    let admin = format!("admin_listen = \"{}\"", server.admin_listen);
    std::fs::write(&config, text_of_file.replacen("admin_listen = \"127.0.0.1:0\"", &admin, 1)).expect("write");
    let doctor = |config: &std::path::Path| {
        let output = roomhook(&["doctor", "--config", &config.display().to_string()]).output().expect("it starts");
        assert!(output.status.success(), "{}", text(&output.stdout));
        text(&output.stdout)
    };
    let refuses = format!("note   endpoint: default of app {SDKAPPID}: 127.0.0.1:1 does not take connections");
    let takes =
        format!("ok     endpoint: default of app {SDKAPPID}: {} takes", taken.local_addr().expect("an address"));

    let told = doctor(&config);
    assert!(told.contains(&refuses) && told.contains("start the receiver"), "{told}");
    assert!(told.contains("is taken, and a server runs here"), "{told}");
    update(&server, &alive);
    let told = doctor(&config);
    assert!(told.contains(&takes) && told.contains(&format!("has {alive} now, the file says {dead}")), "{told}");
    let told = doctor(&folder.path().join("roomhook.toml"));
    assert!(told.contains("run doctor with the configuration of that server"), "it cannot be asked: {told}");
    server.stop();

    let told = doctor(&config);
    assert!(told.contains(&takes), "of a stopped server too: {told}");
    let server = Server::start(folder.path(), &more);
    assert_eq!(server.must("live_config/get_callback", &json!({}))["Response"]["Url"], alive, "nothing was changed");
    server.stop();
}

#[test]
fn bench_send_measures_and_tells_in_one_line_of_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let acks = folder.path().join("acks");
    let acks_text = acks.display().to_string();
    let load = ["--connections", "8", "--rooms", "3", "--size", "100", "--seconds", "1", "--warmup", "0"];
    let output = run(&[&["bench", "send", "--json", "--acks", &acks_text], &load[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line = text(&output.stdout);
    assert_eq!(line.lines().count(), 1, "{line}");
    let report: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&report["bench"], &report["connections"], &report["errors"]), (&json!("send"), &json!(8), &json!(0)));
    for name in ["per_s", "cpu_s_per_10k", "p50_ms", "p99_ms", "p999_ms", "rss_mb_start", "rss_mb_peak"] {
        assert!(report[name].as_f64().is_some_and(|value| value > 0.0), "{name}: {line}");
    }
    let acks = std::fs::read_to_string(acks).expect("acknowledged messages");
    let mut rooms: std::collections::BTreeMap<&str, Vec<u64>> = std::collections::BTreeMap::new();
    for line in acks.lines() {
        let (room, seq) = line.split_once(' ').expect("room and MsgSeq");
        rooms.entry(room).or_default().push(seq.parse().expect("a MsgSeq"));
    }
    assert_eq!(rooms.len(), 3);
    for (room, mut seqs) in rooms {
        seqs.sort_unstable();
        let dense: Vec<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(seqs, dense, "MsgSeq of {room} is dense");
    }
}

#[test]
fn bench_send_loads_a_running_server_and_counts_its_refusals() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), "");
    let url = format!("http://{}", server.listen);
    let (app, pid) = (SDKAPPID.to_string(), server.child.id().to_string());
    let load = [
        "bench",
        "send",
        "--json",
        "--connections",
        "2",
        "--rooms",
        "2",
        "--rate",
        "200",
        "--seconds",
        "1",
        "--warmup",
        "0",
    ];
    let at = ["--url", &url, "--sdkappid", &app, "--server-pid", &pid, "--key"];
    let output = run(&[&load[..], &at[..], &[KEY]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_str(&text(&output.stdout)).expect("JSON");
    let per_s = report["per_s"].as_f64().unwrap_or_default();
    // A busy machine may keep it below, but nothing may drive it above.
    assert!(per_s > 0.0 && per_s <= 201.0, "an open loop sends at its rate: {per_s}");

    let refused = run(&[&load[..], &at[..], &["another key"]].concat());
    assert!(!refused.status.success() && text(&refused.stderr).contains("70009"), "{}", text(&refused.stderr));
    server.stop();
}
