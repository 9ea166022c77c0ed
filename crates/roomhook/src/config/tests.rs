//! Stories of operators who write configuration files.

use std::time::Duration;

use super::*;

fn with(text: &str, vars: &[(&str, &str)]) -> Result<Config, String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("write it");
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(Some(file.path()), vars).map_err(|problems| problems.to_string())
}

fn advice(text: &str) -> String {
    with(text, &[]).expect_err("this configuration must be refused")
}

const APP: &str = "[[app]]\nsdkappid = 1400000001\nkey = \"k\"\n";

#[test]
fn the_defaults_alone_are_a_whole_configuration() {
    let config = load(None, []).expect("defaults are valid");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.storage.durability, Durability::Fsync);
    assert_eq!(config.storage.retention_max_age, Limit::At(Span(Duration::from_secs(7 * 86400))));
    assert_eq!(config.webhooks.timeout.0, Duration::from_secs(2));
    assert_eq!(config.limits.body_max, Size(65536));
    assert!(config.app.is_empty());
}

#[test]
fn the_commented_out_blocks_of_the_defaults_are_valid_when_commented_in() {
    let commented: String = DEFAULTS
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let config = with(&commented, &[]).expect("the examples work");
    let webhook = config.app[0].webhook.as_ref().expect("an app with a webhook");
    assert_eq!(webhook.url, "https://backend.example.com/hook");
    assert_eq!(webhook.event_time, EventTime::Number);
}

/// A line of the examples that is TOML, not prose (and not `tls`, whose files do not exist here).
fn is_setting(line: &str) -> bool {
    let key = line.split_once(" = ").map_or("", |(key, _)| key);
    line.starts_with('[')
        || (!key.is_empty() && key != "tls" && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let text = format!("[server]\nlisten = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:2\"\n{APP}");
    let config = with(&text, &[("ROOMHOOK__SERVER__LISTEN", "0.0.0.0:443"), ("HOME", "/root")]).expect("valid");
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:443");
    assert_eq!(config.server.admin_listen.to_string(), "127.0.0.1:2");
    assert_eq!(config.server.shutdown_deadline.to_string(), "10s");
}

#[test]
fn the_environment_reaches_into_apps_and_keeps_text_as_it_is() {
    let config = with(
        APP,
        &[
            ("ROOMHOOK__APP__0__KEY", "0012"),
            ("ROOMHOOK__APP__0__WEBHOOK__URL", "https://example.com/h"),
            ("ROOMHOOK__APP__1__SDKAPPID", "7"),
            ("ROOMHOOK__APP__1__KEY", "77"),
            ("ROOMHOOK__WEBHOOKS__ALLOW", "[\"10.0.0.0/8\"]"),
        ],
    )
    .expect("valid");
    assert_eq!(config.app[0].key.expose(), "0012", "leading zeros are part of a key");
    assert_eq!(config.app[0].sdkappid, 1_400_000_001, "the rest of the block stays");
    assert_eq!(config.app[0].webhook.as_ref().expect("a webhook").url, "https://example.com/h");
    assert_eq!((config.app[1].sdkappid, config.app[1].key.expose()), (7, "77"));
    assert_eq!(config.app[1].admins, ["administrator"]);
    assert_eq!(config.webhooks.allow[0].0.to_string(), "10.0.0.0/8");
}

#[test]
fn an_app_can_come_from_the_environment_alone() {
    let vars = [("ROOMHOOK__APP__0__SDKAPPID", "5"), ("ROOMHOOK__APP__0__KEY", "k")];
    let config = with("", &vars).expect("valid");
    assert_eq!(config.app[0].sdkappid, 5);
    let gap = with("", &[("ROOMHOOK__APP__1__SDKAPPID", "5")]).expect_err("index 0 is missing");
    assert!(gap.contains("next index is 0"), "{gap}");
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    let text = advice("[server]\nlissen = \"127.0.0.1:1\"\n");
    assert!(text.contains("server.lissen: there is no such key; did you mean `listen`?"), "{text}");
    let text = advice("[[app]]\nsdkappid = 1\nkey = \"k\"\n[app.webhook]\nurll = \"http://x\"\n");
    assert!(text.contains("did you mean `url`?"), "{text}");
    let text = with("", &[("ROOMHOOK__LOG__LEVLE", "info")]).expect_err("misspelt variable");
    assert!(text.contains("log.levle") && text.contains("ROOMHOOK__LOG__LEVLE"), "{text}");
    let text = advice("[cluster]\nnodes = 3\n");
    assert!(text.contains("cluster: there is no such key here; possible are \"server\""), "{text}");
}

#[test]
fn values_without_a_unit_are_told_what_to_write() {
    let text = advice("[webhooks]\ntimeout = 2\n");
    assert!(text.contains("webhooks.timeout") && text.contains("\"2s\""), "{text}");
    let text = advice("[limits]\nbody_max = 65536\n");
    assert!(text.contains("limits.body_max") && text.contains("\"64KiB\""), "{text}");
    let text = advice("[storage]\nretention_max_age = \"never\"\n");
    assert!(text.contains("or \"off\""), "{text}");
    let text = advice("[webhooks]\nallow = [\"10.0.0.0/33\"]\n");
    assert!(text.contains("webhooks.allow") && text.contains("one like 10.0.0.0/8"), "{text}");
    let text = advice("[storage]\ndurability = \"maybe\"\n");
    assert!(text.contains("storage.durability: write one of \"fsync\", \"os\""), "{text}");
}

#[test]
fn combinations_that_would_surprise_at_night_stop_the_start() {
    for (text, key) in [
        ("[server]\nadmin_listen = \"127.0.0.1:8080\"\n", "server.admin_listen: must differ"),
        ("[server]\nshutdown_deadline = \"1s\"\n", "server.shutdown_deadline: is below webhooks.timeout"),
        (
            "[server]\ntls = { cert = \"/nowhere/c\", key = \"/nowhere/k\" }\n",
            "server.tls.cert: cannot read /nowhere/c",
        ),
        ("[server]\nproxy_protocol = true\n", "server.proxy_protocol: is true but no proxy is trusted"),
        ("[storage]\nshards = 0\n", "storage.shards"),
        ("[storage]\npath = \"\"\n", "storage.path"),
        ("[storage]\nretention_max_age = \"1s\"\n", "storage.retention_max_age"),
        ("[storage]\nretention_max_bytes = \"1MiB\"\n", "storage.retention_max_bytes"),
        ("[[app]]\nsdkappid = 0\nkey = \"k\"\n", "app.0.sdkappid"),
        ("[[app]]\nsdkappid = 1\nkey = \"\"\n", "app.0.key: is empty"),
        ("[[app]]\nsdkappid = 1\nkey = \"k\"\nadmins = []\n", "app.0.admins"),
        (
            "[[app]]\nsdkappid = 1\nkey = \"k\"\n[[app]]\nsdkappid = 1\nkey = \"l\"\n",
            "app.1.sdkappid: 1 is used by another",
        ),
        ("[webhooks]\nretry_first = \"1h\"\n", "webhooks.retry_max: is below"),
        ("[webhooks]\nretry_for = \"1s\"\n", "webhooks.retry_for: is below"),
        ("[webhooks]\ntimeout = \"0s\"\n", "webhooks.timeout: is 0"),
        ("[webhooks]\nconcurrency = 0\n", "webhooks.concurrency"),
        ("[webhooks]\nextra_roots = \"/nowhere.pem\"\n", "webhooks.extra_roots"),
        ("[limits]\nbody_max = \"1KiB\"\n", "limits.body_max: is below limits.message_max"),
        (
            "[limits]\nmessage_max = \"1MiB\"\nbody_max = \"4MiB\"\n[realtime]\nframe_max = \"4MiB\"\n",
            "limits.message_max: is more than the store takes at once; write \"1023KiB\" or less",
        ),
        ("[limits]\nconnections_max = 0\n", "limits.connections_max"),
        ("[limits]\nqueued_max = \"512KiB\"\n", "limits.queued_max: leaves 52428 bytes for each of 4 shards"),
        ("[log]\nlevel = \"loud\"\n", "log.level"),
    ] {
        let told = advice(text);
        assert!(told.contains(key), "{text}\n  told: {told}");
    }
}

#[test]
fn a_webhook_that_could_never_be_delivered_stops_the_start() {
    let hook = |line: &str| format!("{APP}[app.webhook]\n{line}\n");
    for (line, told) in [
        ("url = \"ftp://example.com\"", "app.0.webhook.url: must start with http:// or https://; write"),
        ("url = \"http://127.0.0.1:9/h\"", "webhooks.allow = [\"127.0.0.1\"]"),
        ("url = \"https://[::1]/h\"", "webhooks.allow = [\"::1\"]"),
        ("url = \"https://e.com\"\ncommands = []", "app.0.webhook.commands"),
        ("url = \"https://e.com\"\ncommands = [\"Group.CallbackAfterSendMessage\"]", "app.0.webhook.commands"),
        ("url = \"https://e.com\"\nsigning_secret = \"abc\"", "app.0.webhook.signing_secret"),
    ] {
        let text = advice(&hook(line));
        assert!(text.contains(told), "{line}\n  told: {text}");
    }
    let allowed = format!("{}[webhooks]\nallow = [\"127.0.0.0/8\"]\n", hook("url = \"http://127.0.0.1:9/h\""));
    with(&allowed, &[]).expect("allowed by range");
}

#[test]
fn all_problems_are_told_at_once_and_no_secret_is_quoted() {
    let text = advice("[server]\nshutdown_deadline = \"1s\"\n[[app]]\nsdkappid = 0\nkey = \"hush\"\n");
    assert!(text.contains("server.shutdown_deadline") && text.contains("app.0.sdkappid"), "{text}");
    let wrong_type = advice("[[app]]\nsdkappid = \"hush\"\nkey = [\"hush\"]\n");
    assert!(!wrong_type.contains("hush"), "{wrong_type}");
    let torn = advice("[[app]]\nkey = \"hush\n");
    assert!(torn.contains("line 2") && !torn.contains("hush"), "{torn}");
    let config = with(&format!("{APP}[app.webhook]\nurl = \"https://e.com\"\ntoken = \"hush\"\n"), &[]).expect("valid");
    assert!(!format!("{config:?}").contains("hush"), "Debug redacts");
}

#[test]
fn units_read_and_print_the_same() {
    for text in ["64KiB", "20GiB", "512B", "3MiB"] {
        assert_eq!(text.parse::<Size>().map(|size| size.to_string()), Ok(text.to_owned()));
    }
    assert_eq!("5MB".parse(), Ok(Size(5_000_000)));
    assert!("99999999999999TiB".parse::<Size>().is_err());
}
