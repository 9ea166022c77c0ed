//! Combinations that type-check but would surprise at night.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use roomhook_protocol::webhook::{CommandWord, check_url};
use roomhook_shard::CONTENT_BYTES_MAX;

use super::{App, Config, Limit, Retry, Size, Webhook, problem::Problem};

/// Everything wrong with a configuration that was read. Empty = usable.
pub(crate) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    server(config, &mut found);
    storage(config, &mut found);
    apps(config, &mut found);
    webhooks(config, &mut found);
    gate(config, &mut found);
    realtime(config, &mut found);
    limits(config, &mut found);
    if !config.log.level.split(',').all(is_level) {
        found.push(Problem::new(
            "log.level",
            "is no level; write one such as \"info\", or \"info,roomhook_hooks=debug\"",
        ));
    }
    found
}

/// A level word, or `part=level`.
fn is_level(directive: &str) -> bool {
    let (_, level) = directive.split_once('=').unwrap_or(("", directive));
    ["off", "error", "warn", "info", "debug", "trace"].contains(&level.trim())
}

fn server(config: &Config, found: &mut Vec<Problem>) {
    let server = &config.server;
    if server.listen == server.admin_listen && server.listen.port() != 0 {
        found.push(Problem::new(
            "server.admin_listen",
            "must differ from server.listen; choose another port, and keep it private",
        ));
    }
    if server.shutdown_deadline.0 < config.webhooks.timeout.0 {
        found.push(Problem::new(
            "server.shutdown_deadline",
            format!(
                "is below webhooks.timeout ({}), so every stop would cut webhooks off; raise it",
                config.webhooks.timeout
            ),
        ));
    }
    if server.proxy_protocol && server.trusted_proxies.is_empty() {
        found.push(Problem::new(
            "server.proxy_protocol",
            "is true but no proxy is trusted; list them in server.trusted_proxies",
        ));
    }
    if let Some(tls) = &server.tls {
        for (key, path) in [("server.tls.cert", &tls.cert), ("server.tls.key", &tls.key)] {
            if let Err(error) = std::fs::File::open(path) {
                found.push(Problem::new(key, format!("cannot read {}: {error}", path.display())));
            }
        }
    }
}

fn storage(config: &Config, found: &mut Vec<Problem>) {
    let storage = &config.storage;
    if storage.path.as_os_str().is_empty() {
        found.push(Problem::new("storage.path", "is empty; name a folder"));
    }
    if !(1..=256).contains(&storage.shards) {
        found.push(Problem::new("storage.shards", format!("is {}; choose 1 to 256 (4 suits most)", storage.shards)));
    }
    if let Limit::At(age) = storage.retention_max_age
        && age.0 < Duration::from_secs(60)
    {
        found.push(Problem::new("storage.retention_max_age", "is below one minute; raise it, or write \"off\""));
    }
    if let Limit::At(size) = storage.retention_max_bytes
        && size.0 < RETENTION_BYTES_MIN
    {
        found.push(Problem::new(
            "storage.retention_max_bytes",
            "is below \"256MiB\", less than the segments being written; raise it, or write \"off\"",
        ));
    }
}

/// Whole segments are dropped, and each shard writes to one; below this nothing could be kept.
const RETENTION_BYTES_MIN: u64 = 256 << 20;

fn apps(config: &Config, found: &mut Vec<Problem>) {
    let mut seen = HashSet::new();
    for (index, app) in config.app.iter().enumerate() {
        let key = |name: &str| format!("app.{index}.{name}");
        if app.sdkappid == 0 {
            found.push(Problem::new(key("sdkappid"), "must not be 0; take the SDKAppID your clients use"));
        }
        if !seen.insert(app.sdkappid) {
            found.push(Problem::new(
                key("sdkappid"),
                format!("{} is used by another [[app]] as well; give each its own", app.sdkappid),
            ));
        }
        if app.key.is_empty() {
            found.push(Problem::new(key("key"), "is empty, so anybody could sign; set the app's secret key"));
        }
        admins(app, key("admins"), found);
        if let Some(webhook) = &app.webhook {
            first_webhook(webhook, &key("webhook"), config, found);
        }
    }
}

fn admins(app: &App, key: String, found: &mut Vec<Problem>) {
    if app.admins.is_empty() {
        found.push(Problem::new(key, "is empty, so no REST call could succeed; write [\"administrator\"]"));
    } else if let Some(bad) = app.admins.iter().find(|admin| roomhook_room::UserId::new(admin).is_err()) {
        found.push(Problem::new(key, format!("\"{bad}\" is no user id: 1 to 32 bytes, no control characters")));
    }
}

fn first_webhook(webhook: &Webhook, key: &str, config: &Config, found: &mut Vec<Problem>) {
    if let Err(error) = check_url(&webhook.url) {
        let advice = format!("{error}; write http://host/path or https://host/path");
        found.push(Problem::new(format!("{key}.url"), advice));
    }
    let uri = webhook.url.parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default().trim_matches(['[', ']']);
    let refused = host.parse::<IpAddr>().ok().and_then(|ip| config.webhooks.guard().check(ip).err());
    if let Some(range) = refused {
        found.push(Problem::new(
            format!("{key}.url"),
            format!(
                "{host} is {range}, and deliveries there are refused; add webhooks.allow = [\"{host}\"] if you mean it"
            ),
        ));
    }
    if webhook.commands.is_empty() {
        found.push(Problem::new(
            format!("{key}.commands"),
            "is empty, so nothing would be sent; write [\"Group.CallbackAfterSendMsg\"]",
        ));
    }
    if let Some(unknown) = webhook.commands.iter().find(|command| CommandWord::parse(command).is_none()) {
        found.push(Problem::new(
            format!("{key}.commands"),
            format!(
                "\"{unknown}\" is no command word, so it would never be sent; write \"Group.CallbackAfterSendMsg\""
            ),
        ));
    }
    if webhook.token.expose().chars().count() > 128 {
        found.push(Problem::new(format!("{key}.token"), "is longer than 128 characters"));
    }
    if !webhook.signing_secret.is_empty()
        && roomhook_protocol::standard_webhooks::Secret::parse(webhook.signing_secret.expose()).is_err()
    {
        found.push(Problem::new(
            format!("{key}.signing_secret"),
            "is no Standard Webhooks secret; write whsec_ and base64 of 24 to 64 bytes",
        ));
    }
}

fn webhooks(config: &Config, found: &mut Vec<Problem>) {
    let hooks = &config.webhooks;
    for (key, span) in
        [("timeout", hooks.timeout), ("retry_first", hooks.retry_first), ("checkpoint_every", hooks.checkpoint_every)]
    {
        if span.0 < Duration::from_millis(1) {
            found.push(Problem::new(format!("webhooks.{key}"), "is 0; write a duration such as \"1s\""));
        }
    }
    if hooks.concurrency == 0 {
        found.push(Problem::new("webhooks.concurrency", "is 0, so nothing would be sent; write 1 or more"));
    }
    if hooks.retry != Retry::Tencent && hooks.retry_max < hooks.retry_first {
        found.push(Problem::new(
            "webhooks.retry_max",
            format!("is below webhooks.retry_first ({}); raise it", hooks.retry_first),
        ));
    }
    if hooks.retry != Retry::Tencent && hooks.retry_for < hooks.timeout {
        found.push(Problem::new(
            "webhooks.retry_for",
            format!(
                "is below webhooks.timeout ({}), so nothing would be repeated; raise it, or write retry = \"tencent\"",
                hooks.timeout
            ),
        ));
    }
    if !hooks.extra_roots.as_os_str().is_empty()
        && let Err(error) = std::fs::File::open(&hooks.extra_roots)
    {
        found.push(Problem::new(
            "webhooks.extra_roots",
            format!("cannot read {}: {error}", hooks.extra_roots.display()),
        ));
    }
}

fn gate(config: &Config, found: &mut Vec<Problem>) {
    let gate = &config.gate;
    for (key, span) in [("timeout", gate.timeout), ("wait_max", gate.wait_max)] {
        if span.0 < Duration::from_millis(1) {
            found.push(Problem::new(format!("gate.{key}"), "is 0; write a duration such as \"1s\""));
        }
    }
    let counts = [
        ("concurrency", u32::from(gate.concurrency)),
        ("waiting_max", gate.waiting_max),
        ("sender_waiting_max", gate.sender_waiting_max),
    ];
    for (key, value) in counts {
        if value == 0 {
            found.push(Problem::new(format!("gate.{key}"), "is 0, so nothing could be asked; write 1 or more"));
        }
    }
    let token = config.admin.token.expose();
    if !token.is_empty() && (token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        found.push(Problem::new(
            "admin.token",
            "is too easy to guess; write 16 or more characters of printable ASCII without spaces",
        ));
    }
}

fn realtime(config: &Config, found: &mut Vec<Problem>) {
    let own = &config.realtime;
    if let Err(error) = crate::app::realtime_settings(config).check() {
        found.push(Problem::new("realtime", error.to_string()));
    }
    // Room for the envelope around a message, so that one too long is told so instead of being cut off.
    if own.frame_max.0 < config.limits.message_max.0.saturating_mul(2) {
        found.push(Problem::new(
            "realtime.frame_max",
            format!(
                "is below twice limits.message_max ({}): clients would be cut instead of told; raise it",
                config.limits.message_max
            ),
        ));
    }
    if own.outbox_max.0 < 64 << 10 {
        found.push(Problem::new(
            "realtime.outbox_max",
            "is below \"64KiB\", so a busy room would cut everybody; raise it",
        ));
    }
}

fn limits(config: &Config, found: &mut Vec<Problem>) {
    let limits = &config.limits;
    let storable = Size(CONTENT_BYTES_MAX as u64);
    if limits.message_max > storable {
        found.push(Problem::new(
            "limits.message_max",
            format!("is more than the store takes at once; write \"{storable}\" or less"),
        ));
    }
    if limits.body_max < limits.message_max {
        found.push(Problem::new(
            "limits.body_max",
            format!(
                "is below limits.message_max ({}), so such a message could never come in; raise it",
                limits.message_max
            ),
        ));
    }
    let inbox = crate::app::inbox_bytes(config) as u64;
    if inbox < limits.body_max.0 {
        found.push(Problem::new(
            "limits.queued_max",
            format!(
                "leaves {inbox} bytes for each of {} shards, which is below limits.body_max ({}): calls would wait one by one; \
                 raise it",
                config.storage.shards, limits.body_max
            ),
        ));
    }
    for (key, value) in [
        ("connections_max", limits.connections_max),
        ("shard_inbox_max", limits.shard_inbox_max),
        ("rooms_cached_max", limits.rooms_cached_max),
    ] {
        if value == 0 {
            found.push(Problem::new(format!("limits.{key}"), "is 0, so nothing would work; write 1 or more"));
        }
    }
}
