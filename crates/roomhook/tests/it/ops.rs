//! `docs/ops`: alert rules and dashboard speak of metrics that are there.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    admin::{Backend, OK, QUICK, group_msg, open_lobby, said},
    support::{Server, get, until},
};

fn page(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/ops").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every name of ours in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let ends = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let starts = text.match_indices("roomhook_").map(|(at, _)| &text[at..]);
    starts.map(|rest| &rest[..rest.find(ends).unwrap_or(rest.len())]).collect()
}

#[test]
fn alerts_and_dashboard_name_metrics_that_a_server_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start();
    backend.rule(|body| match said(body) {
        "garbage" => (200, "<html>".to_owned()),
        _ => (200, OK.to_owned()),
    });
    let commands = "commands = [\"Group.CallbackBeforeSendMsg\", \"Group.CallbackAfterSendMsg\"]";
    let server =
        Server::start(folder.path(), &format!("{QUICK}\n[app.webhook]\nurl = \"{}\"\n{commands}\n", backend.url()));
    open_lobby(&server);
    // A verdict, and a failure to give one, so that both are counted.
    server.must("group_open_http_svc/send_group_msg", &group_msg(1, "fine"));
    server.must("group_open_http_svc/send_group_msg", &group_msg(2, "garbage"));
    until("delivery", || (backend.heard("Group.CallbackAfterSendMsg").len() == 2).then_some(()));
    let (_, metrics) = get(server.admin_listen, "/metrics");
    let shown: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for file in ["alerts.yml", "grafana-dashboard.json"] {
        let text = page(file);
        let named = names(&text);
        assert!(named.len() > 10, "{file} names {named:?}");
        let missing: Vec<_> = named.difference(&shown).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}, which are not among {shown:?}");
    }
    let unnamed: Vec<_> = shown.iter().filter(|name| !name.starts_with("roomhook_") && **name != "#").collect();
    assert!(unnamed.is_empty(), "metrics without the program's name in front: {unnamed:?}");
    server.stop();
}

#[test]
fn the_dashboard_is_json_with_a_query_in_each_panel() {
    let dashboard: Value = serde_json::from_str(&page("grafana-dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let charts: Vec<&Value> = panels.iter().filter(|panel| panel["type"] != json!("row")).collect();
    assert!(charts.len() > 20);
    for chart in charts {
        let targets = chart["targets"].as_array().expect("targets");
        assert!(!targets.is_empty() && targets.iter().all(|target| target["expr"].is_string()), "{}", chart["title"]);
    }
}

#[test]
fn each_alert_has_a_story_in_which_it_fires() {
    let alerts = page("alerts.yml");
    let names: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 10, "{names:?}");
    let stories = page("alerts_test.yml");
    for name in names {
        // Those that must not fire are written in one line; promtool runs both.
        assert!(stories.contains(&format!("- alertname: {name}\n")), "{name}");
    }
}
