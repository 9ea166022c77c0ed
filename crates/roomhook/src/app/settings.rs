//! The operator's configuration in the words of each part. What is not in the configuration file is the part's default.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use anyhow::Context as _;
use roomhook_edge::{apps::App, auth::CacheLimits, listener, realtime, rest};
use roomhook_protocol::message;
use roomhook_room::{AppId, Facts, Order, UnixMillis, UserId};

use crate::config::{Config, Durability, GateFailure, Order as ConfiguredOrder, Retry};

/// The time of day, as everything in this process sees it.
pub(super) fn clock() -> roomhook_shard::Clock {
    Arc::new(|| {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    })
}

pub(super) fn public_listener(config: &Config) -> anyhow::Result<listener::Config> {
    let proxies = config.server.trusted_proxies.iter().map(|range| range.0.to_string().parse());
    Ok(listener::Config {
        connections_max: config.limits.connections_max as usize,
        // Half of the time to stop is for requests, the other half for what comes after them.
        drain_deadline: config.server.shutdown_deadline.0 / 2,
        tls: config.server.tls.as_ref().map(super::tls).transpose().context("server.tls")?.map(Arc::new),
        trusted_proxies: proxies.collect::<Result<Vec<_>, _>>().context("server.trusted_proxies")?.into(),
        proxy_protocol: config.server.proxy_protocol,
        ..listener::Config::default()
    })
}

pub(super) fn admin_listener(_config: &Config) -> listener::Config {
    listener::Config { connections_max: 64, drain_deadline: Duration::from_millis(200), ..listener::Config::default() }
}

/// The part of the time to stop that webhooks in flight get.
pub(super) fn share_of_webhooks(shutdown_deadline: Duration) -> Duration {
    shutdown_deadline * 3 / 10
}

pub(crate) fn disk(config: &Config) -> roomhook_log_disk::DiskConfig {
    let storage = &config.storage;
    roomhook_log_disk::DiskConfig {
        path: storage.path.clone(),
        shards: storage.shards,
        durability: match storage.durability {
            Durability::Fsync => roomhook_log_disk::Durability::Fsync,
            Durability::Os => roomhook_log_disk::Durability::Os,
        },
        retention_max_age: storage.retention_max_age.at().map(|age| age.0),
        retention_max_bytes: storage.retention_max_bytes.at().map(|size| size.0),
        free_bytes_min: storage.free_bytes_min.0,
        ..roomhook_log_disk::DiskConfig::default()
    }
}

pub(super) fn shards(config: &Config) -> roomhook_shard::Config {
    roomhook_shard::Config {
        node: roomhook_shard::NodeId(fastrand::u64(..)),
        inbox_max: config.limits.shard_inbox_max as usize,
        inbox_bytes_max: inbox_bytes(config),
        rooms_cached_max: config.limits.rooms_cached_max as usize,
        facts: Facts { room_messages_per_s: config.limits.room_messages_per_s },
        ..roomhook_shard::Config::default()
    }
}

/// What may wait for one shard, or for the directory, in bytes: an equal part of one half of all that may wait.
pub(crate) fn inbox_bytes(config: &Config) -> usize {
    bytes(config.limits.queued_max) / 2 / (usize::from(config.storage.shards) + 1)
}

pub(super) fn hooks(config: &Config) -> anyhow::Result<roomhook_hooks::Config> {
    let hooks = &config.webhooks;
    let roots = match hooks.extra_roots.as_os_str().is_empty() {
        true => String::new(),
        false => std::fs::read_to_string(&hooks.extra_roots).context("webhooks.extra_roots")?,
    };
    Ok(roomhook_hooks::Config {
        timeout: hooks.timeout.0,
        concurrency: NonZeroUsize::new(hooks.concurrency.into()).unwrap_or(NonZeroUsize::MIN),
        order: match hooks.order {
            ConfiguredOrder::Room => Order::Room,
            ConfiguredOrder::None => Order::None,
        },
        retry: roomhook_hooks::retry::RetryPolicy {
            first: hooks.retry_first.0,
            max: hooks.retry_max.0,
            for_at_most: hooks.retry_for.0,
            ..roomhook_hooks::retry::RetryPolicy::default()
        }
        .with_profile(Some(match hooks.retry {
            Retry::Durable => roomhook_room::RetryProfile::Durable,
            Retry::DurableSkip => roomhook_room::RetryProfile::DurableSkip,
            Retry::Tencent => roomhook_room::RetryProfile::Tencent,
        })),
        hold: hooks.hold.0,
        catch_up_per_s: hooks.catch_up_per_s,
        checkpoint_every: hooks.checkpoint_every.0,
        jitter_seed: getrandom::u64().map_err(|error| anyhow::anyhow!("drawing a random number: {error}"))?,
        allow: hooks.allow.iter().map(|range| range.0).collect(),
        http2: hooks.http2,
        extra_roots_pem: roots,
        ..roomhook_hooks::Config::default()
    })
}

pub(super) fn gate(config: &Config) -> roomhook_hooks::gate::Config {
    let gate = &config.gate;
    roomhook_hooks::gate::Config {
        timeout: gate.timeout.0,
        wait_max: gate.wait_max.0,
        concurrency: NonZeroUsize::new(gate.concurrency.into()).unwrap_or(NonZeroUsize::MIN),
        waiting_max: gate.waiting_max as usize,
        sender_waiting_max: gate.sender_waiting_max as usize,
        failure: match gate.failure {
            GateFailure::Pass => roomhook_room::GateFailure::Pass,
            GateFailure::Drop => roomhook_room::GateFailure::Drop,
        },
        shadow: gate.shadow,
        limits: messages(config),
        ..roomhook_hooks::gate::Config::default()
    }
}

pub(super) fn apps(config: &Config) -> anyhow::Result<Vec<App>> {
    let app = |app: &crate::config::App| -> anyhow::Result<App> {
        Ok(App {
            id: AppId(app.sdkappid),
            key: app.key.expose().into(),
            admins: app
                .admins
                .iter()
                .map(|admin| UserId::new(admin))
                .collect::<Result<_, _>>()
                .context("app.admins")?,
            disabled: app.disabled,
        })
    };
    config.app.iter().map(app).collect()
}

pub(super) fn usersig_cache(config: &Config) -> CacheLimits {
    CacheLimits { entries_max: config.limits.usersig_cache_entries as usize, ..CacheLimits::default() }
}

pub(super) fn messages(config: &Config) -> message::Limits {
    message::Limits { size_bytes_max: bytes(config.limits.message_max), ..message::Limits::default() }
}

pub(super) fn rest(config: &Config) -> rest::Config {
    let default = rest::Config::default();
    rest::Config { body: rest::BodyLimits { bytes_max: bytes(config.limits.body_max), ..default.body }, ..default }
}

pub(crate) fn realtime(config: &Config) -> realtime::Config {
    let (own, default) = (&config.realtime, realtime::Config::default());
    realtime::Config {
        origins: own.origins.clone(),
        write_delay: own.write_delay.0,
        deflate: own.deflate,
        deflate_bytes_min: bytes(own.deflate_min_bytes),
        connections_max: config.limits.connections_max as usize,
        connections_per_user_max: own.connections_per_user_max as usize,
        connects_per_s: own.connects_per_s,
        rooms_per_connection_max: own.rooms_per_connection_max as usize,
        commands_per_s: own.commands_per_s,
        commands_burst: own.commands_per_s.saturating_mul(3),
        frame_limits: roomhook_centrifuge::Limits { frame_bytes_max: bytes(own.frame_max), ..default.frame_limits },
        outbox_bytes_max: bytes(own.outbox_max),
        // The other half is for shards.
        queued_bytes_max: bytes(config.limits.queued_max) / 2,
        // A reply that filled the outbox would get its reader closed for being slow.
        reply_bytes_max: default.reply_bytes_max.min(bytes(own.outbox_max) / 2),
        ring_messages_max: own.ring_messages_max as usize,
        rings_bytes_max: bytes(own.rings_max),
        reply_messages_max: own.recovery_messages_max as usize,
        ping_every: own.ping_every.0,
        pong_within: own.pong_within.0,
        presence_members_max: own.presence_members_max as usize,
        join_leave_members_max: own.join_leave_members_max as usize,
        // Clients say goodbye within the time to stop.
        close_timeout: default.close_timeout.min(config.server.shutdown_deadline.0 / 5),
        shutdown_spread: default.shutdown_spread.min(config.server.shutdown_deadline.0 / 10),
        ..default
    }
}

fn bytes(size: crate::config::Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, EventTime};

    /// Every key with a value that is not its default. A new key must be added here, and to the test below.
    const ALL: &str = r#"
        [server]
        listen = "127.0.0.1:1"
        admin_listen = "127.0.0.1:2"
        trusted_proxies = ["10.9.0.0/16"]
        proxy_protocol = true
        shutdown_deadline = "20s"
        worker_threads = 3
        [storage]
        path = "elsewhere"
        durability = "os"
        free_bytes_min = "1MiB"
        shards = 9
        retention_max_age = "1h"
        retention_max_bytes = "1GiB"
        [[app]]
        sdkappid = 7
        key = "k7"
        admins = ["root"]
        disabled = true
        [app.webhook]
        url = "https://example.com/h"
        commands = ["Live.CallbackAfterCreateRoom"]
        token = "tok"
        signing_secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
        event_time = "string"
        [webhooks]
        timeout = "3s"
        concurrency = 5
        order = "none"
        retry = "durable-skip"
        retry_first = "7s"
        retry_max = "8s"
        retry_for = "9s"
        hold = "4s"
        catch_up_per_s = 11
        checkpoint_every = "12ms"
        http2 = false
        allow = ["10.0.0.0/8"]
        extra_roots = ""
        [gate]
        timeout = "1s"
        wait_max = "2s"
        concurrency = 21
        waiting_max = 22
        sender_waiting_max = 23
        failure = "drop"
        shadow = true
        [admin]
        token = "sixteen-or-more-characters"
        [realtime]
        origins = ["https://app.example"]
        connections_per_user_max = 18
        connects_per_s = 19
        rooms_per_connection_max = 20
        commands_per_s = 21
        frame_max = "22KiB"
        outbox_max = "256KiB"
        ring_messages_max = 23
        rings_max = "30MiB"
        recovery_messages_max = 24
        write_delay = "25ms"
        deflate = true
        deflate_min_bytes = "29B"
        ping_every = "26s"
        pong_within = "9s"
        presence_members_max = 27
        join_leave_members_max = 28
        [limits]
        body_max = "100KiB"
        connections_max = 13
        message_max = "2KiB"
        usersig_cache_entries = 14
        room_messages_per_s = 15
        shard_inbox_max = 16
        queued_max = "40MiB"
        rooms_cached_max = 17
        [log]
        format = "json"
        level = "debug"
    "#;

    #[test]
    fn every_key_reaches_the_part_it_is_for() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), ALL).expect("write");
        let config = config::load(Some(file.path()), []).expect("valid");
        // Destructured without `..`: a new key does not compile until somebody says here what it does.
        let config::Server {
            listen,
            admin_listen,
            tls: _,
            trusted_proxies: _,
            proxy_protocol,
            shutdown_deadline,
            worker_threads,
        } = config.server.clone();
        assert_eq!((listen.port(), admin_listen.port(), worker_threads), (1, 2, 3));
        let public = public_listener(&config).expect("a listener");
        assert_eq!(public.drain_deadline, shutdown_deadline.0 / 2);
        assert_eq!(public.connections_max, 13);
        assert!(public.proxy_protocol && proxy_protocol);
        assert!(public.trusted_proxies.iter().any(|range| range.contains([10, 9, 1, 1].into())));

        let disk = disk(&config);
        assert_eq!((disk.path.to_str(), disk.shards), (Some("elsewhere"), 9));
        assert_eq!(disk.durability, roomhook_log_disk::Durability::Os);
        assert_eq!(disk.free_bytes_min, 1 << 20);
        assert_eq!(disk.retention_max_age, Some(Duration::from_secs(3600)));
        assert_eq!(disk.retention_max_bytes, Some(1 << 30));

        let app = apps(&config).expect("an app").remove(0);
        assert_eq!((app.id, &*app.key, app.disabled), (AppId(7), "k7", true));
        assert!(app.admins.contains("root"));
        let webhook = config.app[0].webhook.as_ref().expect("a webhook");
        let endpoint = super::super::first_value::endpoint(app.id, webhook, None);
        assert_eq!(endpoint.url, "https://example.com/h");
        assert_eq!(endpoint.commands, ["Live.CallbackAfterCreateRoom"]);
        assert_eq!(endpoint.token.map(|token| token.value).as_deref(), Some("tok"));
        assert_eq!(endpoint.signing_secrets.len(), 1);
        assert!(endpoint.event_time_as_string && webhook.event_time == EventTime::String);

        let hooks = hooks(&config).expect("webhooks");
        assert_eq!((hooks.timeout.as_secs(), hooks.concurrency.get(), hooks.order), (3, 5, Order::None));
        assert_eq!((hooks.retry.first.as_secs(), hooks.retry.max.as_secs()), (7, 8));
        assert_eq!((hooks.retry.for_at_most.as_secs(), hooks.retry.give_up), (9, roomhook_hooks::retry::GiveUp::Skip));
        assert_eq!((hooks.hold.as_secs(), hooks.catch_up_per_s, hooks.checkpoint_every.as_millis()), (4, 11, 12));
        assert!(hooks.allow.iter().any(|range| range.contains([10, 1, 1, 1].into())) && !hooks.http2);

        let gate = gate(&config);
        assert_eq!((gate.timeout.as_secs(), gate.wait_max.as_secs(), gate.concurrency.get()), (1, 2, 21));
        assert_eq!((gate.waiting_max, gate.sender_waiting_max, gate.limits.size_bytes_max), (22, 23, 2048));
        assert_eq!((gate.failure, gate.shadow), (roomhook_room::GateFailure::Drop, true));
        assert_eq!(config.admin.token.expose(), "sixteen-or-more-characters");

        let clients = realtime(&config);
        assert_eq!(clients.origins, ["https://app.example"]);
        assert_eq!((clients.connections_max, clients.connections_per_user_max, clients.connects_per_s), (13, 18, 19));
        assert_eq!((clients.rooms_per_connection_max, clients.commands_per_s), (20, 21));
        assert_eq!((clients.frame_limits.frame_bytes_max, clients.outbox_bytes_max), (22 << 10, 256 << 10));
        assert_eq!((clients.ring_messages_max, clients.reply_messages_max), (23, 24));
        assert_eq!(clients.rings_bytes_max, 30 << 20);
        assert_eq!(clients.queued_bytes_max, 20 << 20);
        assert_eq!((clients.write_delay.as_millis(), clients.ping_every.as_secs()), (25, 26));
        assert_eq!((clients.pong_within.as_secs(), clients.presence_members_max), (9, 27));
        assert_eq!(clients.join_leave_members_max, 28);
        assert_eq!((clients.deflate, clients.deflate_bytes_min), (true, 29));
        assert_eq!(clients.check(), Ok(()));

        let shards = shards(&config);
        assert_eq!(shards.inbox_bytes_max, 2 << 20, "nine shards and the directory share the other half");
        assert_eq!((shards.inbox_max, shards.rooms_cached_max, shards.facts.room_messages_per_s), (16, 17, 15));
        assert_eq!(usersig_cache(&config).entries_max, 14);
        assert_eq!(messages(&config).size_bytes_max, 2048);
        assert_eq!(rest(&config).body.bytes_max, 100 << 10);
        assert_eq!((config.log.format, config.log.level.as_str()), (config::LogFormat::Json, "debug"));
    }
}
