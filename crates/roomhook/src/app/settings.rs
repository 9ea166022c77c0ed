//! The operator's configuration in the words of each part. What is not in the configuration file is the part's default.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use anyhow::Context as _;
use roomhook_edge::{apps::App, auth::CacheLimits, listener, rest};
use roomhook_protocol::message;
use roomhook_room::{AppId, Facts, Order, UnixMillis, UserId};

use crate::config::{Config, Durability, Order as ConfiguredOrder, Retry};

/// The time of day, as everything in this process sees it.
pub(super) fn clock() -> roomhook_shard::Clock {
    Arc::new(|| {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    })
}

pub(super) fn public_listener(config: &Config) -> anyhow::Result<listener::Config> {
    let proxies = config.server.trusted_proxies.iter().map(|range| range.to_string().parse());
    Ok(listener::Config {
        connections_max: config.limits.connections_max as usize,
        // Half of the time to stop is for requests, the other half for what comes after them.
        drain_deadline: config.server.shutdown_deadline.0 / 2,
        tls: config.server.tls.as_ref().map(super::tls).transpose().context("server.tls")?.map(Arc::new),
        trusted_proxies: proxies.collect::<Result<Vec<_>, _>>().context("server.trusted_proxies")?.into(),
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

pub(super) fn disk(config: &Config) -> roomhook_log_disk::DiskConfig {
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
        rooms_cached_max: config.limits.rooms_cached_max as usize,
        facts: Facts { room_messages_per_s: config.limits.room_messages_per_s },
        ..roomhook_shard::Config::default()
    }
}

pub(super) fn hooks(config: &Config) -> anyhow::Result<roomhook_hooks::Config> {
    let hooks = &config.webhooks;
    let roots = match hooks.extra_roots.as_os_str().is_empty() {
        true => String::new(),
        false => std::fs::read_to_string(&hooks.extra_roots).context("webhooks.extra_roots")?,
    };
    let allow = hooks.allow.iter().map(|range| range.to_string().parse());
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
        allow: allow.collect::<Result<_, _>>().context("webhooks.allow")?,
        extra_roots_pem: roots,
        ..roomhook_hooks::Config::default()
    })
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

fn bytes(size: crate::config::Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}
