//! A backup of a running server, and what a restored one tells those who count.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    admin::{Operator, QUICK, of, open_lobby, said, say},
    support::{Server, roomhook, text},
};

fn cli(arguments: &[&str]) -> (bool, String) {
    let output = roomhook(arguments).output().expect("the program starts");
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn texts(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().expect("events");
    let body = |event: &Value| serde_json::from_str::<Value>(event["body"].as_str().expect("a body")).expect("JSON");
    events.iter().map(|event| said(&body(event)).to_owned()).collect()
}

#[test]
fn a_backup_of_a_running_server_is_restored_and_cursors_from_after_it_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = format!("{QUICK}\n[app.webhook]\nurl = \"http://127.0.0.1:1/hook\"\n");
    let server = Server::start(folder.path(), &more);
    open_lobby(&server);
    for number in 1..=5 {
        say(&server, &format!("before {number}"));
    }
    let (config, backup) = (path(folder.path(), "roomhook.toml"), path(folder.path(), "backup"));
    let (fine, told) = cli(&["backup", "--config", &config, "--to", &backup]);
    assert!(fine && told.contains("were checked"), "{told}");
    let (fine, told) = cli(&["backup", "--config", &config, "--to", &backup]);
    assert!(!fine && told.contains("is not empty; choose another folder"), "{told}");

    for number in 1..=3 {
        say(&server, &format!("after {number}"));
    }
    let operator = Operator { server: &server, token: "" };
    let page = operator.must("GET", &of("default", "/events?limit=100"), None);
    assert_eq!(texts(&page).len(), 8);
    let cursor = page["next"].as_str().expect("a cursor").to_owned();
    let (fine, told) = cli(&["restore", "--config", &config, "--from", &backup]);
    assert!(!fine && told.contains("in use by another process"), "{told}");
    server.stop();
    let (fine, told) = cli(&["restore", "--config", &config, "--from", &backup]);
    assert!(!fine && told.contains("move it away"), "never over a store: {told}");

    std::fs::rename(folder.path().join("data"), folder.path().join("lost")).expect("rename");
    let (fine, told) = cli(&["restore", "--config", &config, "--from", &backup]);
    assert!(fine && told.contains("start the server"), "{told}");
    let (fine, told) = cli(&["doctor", "--config", &config]);
    assert!(fine && told.contains("every byte of the journal checked"), "{told}");
    let server = Server::start(folder.path(), &more);
    let answer = say(&server, "instead");
    assert_eq!(answer["Response"]["MsgSeq"], json!(6), "the last message of the backup was the fifth: {answer}");
    let operator = Operator { server: &server, token: "" };
    let (status, answer) = operator.call("GET", &of("default", &format!("/events?limit=100&after={cursor}")), None);
    assert_eq!((status, &answer["error"]["code"]), (410, &json!("cursor_expired")), "{answer}");
    let next = answer["error"]["next"].as_str().expect("where to go on");
    let page = operator.must("GET", &of("default", &format!("/events?limit=100&after={next}")), None);
    assert_eq!(texts(&page), ["instead"], "and not what it had got before");
    server.stop();
}
