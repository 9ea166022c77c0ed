//! Each bench once, briefly: it runs, all arrives, and the fields that scripts rely on are there. How fast it was depends
//! on the machine and is not looked at.

use serde_json::{Value, json};

use crate::support::{KEY, SDKAPPID, Server, run, text};

/// Runs `bench ... --json`; it must succeed without errors, and the named fields must be above zero.
fn report(arguments: &[&str], positive: &[&str]) -> Value {
    let output = run(&[&["bench"], arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let line = text(&output.stdout);
    assert_eq!(line.lines().count(), 1, "{line}");
    let report: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&report["bench"], &report["errors"]), (&json!(arguments[0]), &json!(0)), "{line}");
    for name in positive.iter().chain(&["p50_ms", "p99_ms", "p999_ms", "rss_mb_start", "rss_mb_peak"]) {
        assert!(report[name].as_f64().is_some_and(|value| value > 0.0), "{name}: {line}");
    }
    report
}

const FANOUT: &[&str] =
    &["deliveries_per_s", "cpu_s_per_million", "kb_per_idle_connection", "raw_deliveries_per_s", "ratio_to_raw"];

#[test]
fn bench_fanout_tells_its_rate_beside_the_raw_limit() {
    let report = report(&["fanout", "--connections", "40", "--rooms", "3", "--size", "100", "--seconds", "1"], FANOUT);
    assert_eq!((&report["connections"], &report["rooms"], &report["size"]), (&json!(40), &json!(3), &json!(100)));
    let ratio = report["deliveries_per_s"].as_f64().zip(report["raw_deliveries_per_s"].as_f64()).expect("numbers");
    assert!((ratio.0 / ratio.1 - report["ratio_to_raw"].as_f64().expect("a number")).abs() < 0.01, "{report}");
}

#[test]
fn bench_fanout_reads_protobuf_and_shared_writes_too() {
    let more = ["--format", "protobuf", "--in-flight", "16", "--write-delay", "5ms", "--seconds", "1"];
    let report = report(&[&["fanout", "--connections", "20"], &more[..]].concat(), FANOUT);
    assert_eq!((&report["format"], &report["in_flight"]), (&json!("protobuf"), &json!(16)));
}

#[test]
fn bench_fanout_loads_a_running_server_at_a_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), "[realtime]\nconnections_per_user_max = 100\n");
    let url = format!("http://{}", server.listen);
    let (app, pid) = (SDKAPPID.to_string(), server.child.id().to_string());
    let at = ["--url", &url, "--sdkappid", &app, "--server-pid", &pid, "--key", KEY];
    let load = ["fanout", "--connections", "10", "--rate", "20", "--seconds", "1", "--no-raw"];
    let report = report(&[&load[..], &at[..]].concat(), &["deliveries_per_s"]);
    let per_s = report["deliveries_per_s"].as_f64().expect("a number");
    // A busy machine may keep it below, but little more than what was sent may arrive within the second.
    assert!(per_s < 400.0, "an open loop sends at its rate: {per_s}");
    assert!(report["raw_deliveries_per_s"].is_null());
    server.stop();
}

#[test]
fn bench_fanout_tells_what_bad_neighbours_cost_the_others() {
    let load = ["fanout", "--connections", "20", "--rate", "50", "--seconds", "1", "--no-raw", "--bad-neighbours", "9"];
    let report = report(&load, &["deliveries_per_s", "p50_ms_beside_bad", "p99_ms_beside_bad"]);
    assert_eq!((&report["bad_neighbours"], &report["errors_beside_bad"]), (&json!(9), &json!(0)));
}

#[test]
fn bench_connect_counts_clients_that_joined() {
    let report =
        report(&["connect", "--connections", "50", "--rooms", "4", "--in-flight", "8"], &["per_s", "cpu_s_per_10k"]);
    assert_eq!((&report["connections"], &report["rooms"]), (&json!(50), &json!(4)));
    assert_eq!((&report["joined"], &report["size"], &report["seconds"]), (&json!(50), &json!(300), &json!(60)));
}

#[test]
fn bench_connect_lets_in_no_more_when_its_time_is_over() {
    let load = ["connect", "--connections", "5000", "--rate", "20", "--seconds", "1", "--size", "50"];
    let report = report(&load, &["per_s", "joined"]);
    assert!(report["joined"].as_u64().is_some_and(|joined| joined <= 30), "{report}");
}

#[test]
fn bench_connect_says_why_clients_are_not_let_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), "");
    let url = format!("http://{}", server.listen);
    let app = SDKAPPID.to_string();
    // Sixteen connections of one user are allowed by default, and this is one more for one of the 64 users.
    let at = ["--url", &url, "--sdkappid", &app, "--key", KEY];
    let output = run(&[&["bench", "connect", "--json", "--connections", "1025"], &at[..]].concat());
    assert!(!output.status.success());
    let report: Value = serde_json::from_str(&text(&output.stdout)).expect("JSON");
    assert_eq!(report["errors"], 1, "{report}");
    assert!(text(&output.stderr).contains("closed with 3504"), "{}", text(&output.stderr));
    server.stop();
}

#[test]
fn bench_webhook_tells_its_rate_beside_a_bare_client_and_catches_up() {
    let load = ["webhook", "--connections", "16", "--rooms", "4", "--size", "100", "--seconds", "3"];
    let more = ["--backlog", "500", "--endpoint-latency", "1ms", "--concurrency", "8"];
    let positive = ["deliveries_per_s", "cpu_s_per_10k", "catch_up_per_s", "client_only_per_s", "ratio_to_client"];
    let report = report(&[&load[..], &more[..]].concat(), &positive);
    assert_eq!((&report["rooms"], &report["backlog"]), (&json!(4), &json!(500)));
    assert_eq!((&report["endpoint_latency_ms"], &report["concurrency"]), (&json!(1.0), &json!(8)));
}

/// Only that it measures: how fast that is, is for a quiet machine to say.
#[test]
fn bench_webhook_has_a_receiver_that_answers_in_two_writes() {
    let load = ["webhook", "--two-writes", "--connections", "8", "--rooms", "1", "--size", "100", "--seconds", "1"];
    let report = report(&[&load[..], &["--backlog", "0", "--no-client"]].concat(), &["deliveries_per_s"]);
    assert_eq!((&report["two_writes"], &report["rooms"]), (&json!(true), &json!(1)));
}

#[test]
fn bench_webhook_tells_the_memory_of_a_backlog_with_a_webhook_and_without() {
    let load =
        ["webhook", "--backlog-only", "--connections", "16", "--rooms", "4", "--size", "100", "--backlog", "600"];
    let memory = ["rss_mb_backlog_small", "rss_mb_backlog", "rss_mb_peak_backlog", "store_mb", "per_s"];
    let owed = report(&load, &[&memory[..], &["catch_up_per_s", "rss_mb_peak_catch_up"]].concat());
    assert_eq!((&owed["webhook"], &owed["backlog"], &owed["backlog_small"]), (&json!(true), &json!(600), &json!(600)));
    let unowed = report(&[&load[..], &["--no-webhook"]].concat(), &memory);
    assert_eq!((&unowed["webhook"], &unowed["catch_up_per_s"]), (&json!(false), &Value::Null));
}

/// Only that it measures and counts: what it finds is for a quiet machine to say.
#[test]
fn bench_webhook_tells_what_a_dead_neighbour_costs_and_counts_what_that_one_is_owed() {
    for manner in ["silent", "errors"] {
        let load = ["webhook", "--bad-neighbour", manner, "--rounds", "1", "--seconds", "1", "--rate", "40"];
        let more = ["--connections", "8", "--rooms", "4", "--size", "100", "--concurrency", "8"];
        let report = report(&[&load[..], &more[..]].concat(), &["neighbour_pending"]);
        assert_eq!((&report["bad_neighbour"], &report["rounds"]), (&json!(manner), &json!(1)));
        for name in
            ["deliveries_p99_ms_alone", "deliveries_p99_ratio", "receipts_p99_ms_beside_bad", "receipts_p99_ratio"]
        {
            assert!(report[name].is_number(), "{name}: {report}");
        }
    }
}

#[test]
fn bench_gate_tells_what_questions_cost_and_what_others_notice_of_a_slow_moderator() {
    let load = ["gate", "--connections", "16", "--rooms", "4", "--size", "100", "--seconds", "1", "--rate", "100"];
    let of_gate = ["per_s", "per_s_unmoderated", "cpu_s_per_10k", "cpu_s_per_10k_unmoderated", "p99_ms_unmoderated"];
    let beside = ["p99_ms_alone", "p99_ms_beside_slow", "ratio_p99", "slow_per_s", "p50_ms_slow"];
    let report = report(&[&load[..], &["--moderator-latency", "200ms"]].concat(), &[&of_gate[..], &beside].concat());
    assert_eq!((&report["moderator_latency_ms"], &report["concurrency"]), (&json!(200.0), &json!(64)));
    assert!(report["p50_ms_slow"].as_f64().is_some_and(|ms| ms >= 200.0), "it was asked, and waited for: {report}");
}

#[test]
fn bench_webhook_measures_a_running_server_and_leaves_its_app_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), "[webhooks]\nallow = [\"127.0.0.0/8\"]\n");
    let url = format!("http://{}", server.listen);
    let (app, pid) = (SDKAPPID.to_string(), server.child.id().to_string());
    let at = ["--url", &url, "--sdkappid", &app, "--server-pid", &pid, "--key", KEY];
    let load = ["webhook", "--connections", "8", "--rooms", "4", "--seconds", "3", "--backlog", "0", "--no-client"];
    let report = report(&[&load[..], &at[..]].concat(), &["deliveries_per_s", "cpu_s_per_10k"]);
    assert!(report["client_only_per_s"].is_null());
    let webhook = server.call("live_config/get_callback", &json!({}));
    assert_ne!(webhook["ErrorCode"], 0, "the webhook of the bench is gone: {webhook}");

    let own = json!({ "Url": "http://127.0.0.1:9/hook", "CallbackCommandList": ["Group.CallbackAfterSendMsg"] });
    server.must("live_config/set_callback", &own);
    let refused = run(&[&["bench"], &load[..], &at[..]].concat());
    assert!(!refused.status.success() && text(&refused.stderr).contains("must not have a webhook already"));
    assert_eq!(server.must("live_config/get_callback", &json!({}))["Response"]["Url"], own["Url"]);
    server.stop();
}
