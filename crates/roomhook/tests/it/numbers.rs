//! The numbers of an endpoint: whoever asks, however they ask, is told the same.

use serde_json::{Value, json};

use crate::{
    admin::{Backend, OK, Operator, QUICK, of, open_lobby, said, say},
    support::{SDKAPPID, Server, get, until},
};

/// A number's name in the admin API, in the metrics, and its column in `roomhook webhooks list`, if it has one.
const NUMBERS: [(&str, &str, Option<&str>); 9] = [
    ("acknowledged", "acknowledged_total", Some("ACKNOWLEDGED")),
    ("delivered", "delivered_total", Some("DELIVERED")),
    ("pending", "pending", Some("PENDING")),
    ("parked", "parked", Some("PARKED")),
    ("expired", "expired_total", Some("EXPIRED")),
    ("skipped", "skipped_total", None),
    ("lost_records", "lost_records_total", None),
    ("set_aside", "set_aside", None),
    ("in_flight", "in_flight", None),
];

fn metric(server: &Server, name: &str) -> f64 {
    let (_, text) = get(server.admin_listen, "/metrics");
    let line = format!("roomhook_webhook_{name}{{app=\"{SDKAPPID}\",endpoint=\"default\"}} ");
    let value = text.lines().find_map(|shown| shown.strip_prefix(&line));
    value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().expect("a number")
}

/// A cell of the table that `list` prints, by its column.
fn cell(table: &str, column: &str) -> String {
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = lines.next().expect("a head");
    let at = head.iter().position(|name| *name == column).unwrap_or_else(|| panic!("{column} is not in {table}"));
    lines.next().expect("a row")[at].to_owned()
}

/// Asks everybody; what the admin API said.
fn compare(operator: &Operator<'_>) -> Value {
    let state = operator.state("default");
    let list: Value = serde_json::from_str(&operator.cli(&["list", "--json"])).expect("JSON");
    let (table, shown) = (operator.cli(&["list"]), operator.cli(&["show", "default"]));
    for (name, metric_name, column) in NUMBERS {
        let number = state[name].as_u64().unwrap_or_else(|| panic!("{name}: {state}"));
        assert_eq!(metric(operator.server, metric_name), number as f64, "{name}");
        assert_eq!(list["endpoints"][0]["state"][name], number, "{name}");
        let line = shown.lines().find_map(|line| line.strip_prefix(&format!("state.{name} "))).expect("a line");
        assert_eq!(line.trim(), number.to_string(), "{name}");
        if let Some(column) = column {
            assert_eq!(cell(&table, column), number.to_string(), "{name}");
        }
    }
    let number = |name: &str| state[name].as_u64().expect("a number");
    let sum = ["delivered", "pending", "parked", "expired"].map(number).iter().sum::<u64>();
    assert_eq!(number("acknowledged"), sum, "{state}");
    // Time goes on while they are asked, one after the other.
    let lag = state["lag_seconds"].as_f64().expect("a lag");
    let later = [
        metric(operator.server, "lag_seconds"),
        cell(&operator.cli(&["list"]), "LAG").trim_end_matches('s').parse().expect("a lag"),
    ];
    assert!(later.iter().all(|later| (lag - 0.1..lag + 60.0).contains(later)), "{lag} {later:?}");
    state
}

#[test]
fn metrics_admin_api_and_command_line_say_the_same_before_and_after_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start();
    backend.rule(|body| if said(body).starts_with("poison") { (500, String::new()) } else { (200, OK.to_owned()) });
    let config = format!("{QUICK}\n[app.webhook]\nurl = \"{}\"\n", backend.url());
    let server = Server::start(folder.path(), &config);
    open_lobby(&server);
    let operator = Operator { server: &server, token: "" };
    for what in ["one", "poison 1", "two", "poison 2", "three"] {
        assert_eq!(say(&server, what)["ErrorCode"], 0);
    }
    let parked = until("two parked ones", || {
        let parked = operator.must("GET", &of("default", "/parked"), None);
        let parked = parked["deliveries"].as_array().expect("deliveries").clone();
        (parked.len() == 2).then_some(parked)
    });
    let delivery = parked[0]["delivery"].as_str().expect("a delivery");
    assert!(operator.cli(&["skip", delivery]).contains("given up, counted as expired (skipped)"));
    assert!(operator.cli(&["list"]).contains("of the expired, 1 were skipped"));
    operator.must("POST", &of("default", "/pause"), Some(&json!({})));
    for number in 0..30 {
        say(&server, &format!("later {number}"));
    }
    let is_counted = |operator: &Operator<'_>| {
        until("thirty pending ones", || (operator.state("default")["pending"] == 30).then_some(()));
    };
    is_counted(&operator);
    let before = compare(&operator);
    let told = |state: &Value| NUMBERS.map(|(name, ..)| state[name].as_u64().expect("a number"));
    assert_eq!(told(&before), [35, 3, 30, 1, 1, 1, 0, 0, 0], "{before}");
    // What was settled has been written by then.
    until("a quarter of a second", || (operator.state("default")["lag_seconds"].as_f64()? > 0.5).then_some(()));
    let mut server = server;
    server.signal("KILL");
    server.ended();
    let server = Server::start(folder.path(), &config);
    let operator = Operator { server: &server, token: "" };
    is_counted(&operator);
    let after = compare(&operator);
    assert_eq!(told(&after), told(&before));
    let lag = |state: &Value| state["lag_seconds"].as_f64().expect("a lag");
    assert!(lag(&after) > lag(&before), "{after}");
    server.stop();
}
