//! What an operator can set: typed, with units, checked before anything starts.
//!
//! Three layers, the later ones win: [`DEFAULTS`] (which is the documentation too), the operator's file, the
//! environment (`ROOMHOOK__SECTION__KEY`). Unknown keys and combinations that would surprise at night stop the start.

mod check;
mod layers;
mod problem;
mod units;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf};

use roomhook_hooks::http::Guard;
use serde::{Deserialize, Serialize};

pub(crate) use layers::load;
pub(crate) use problem::Problems;
pub(crate) use units::{IpRange, Limit, Secret, Size, Span};

/// The commented default file: the lowest layer, and what `docs/ops/configuration.md` points to.
pub(crate) const DEFAULTS: &str = include_str!("../config.default.toml");

/// Everything, checked. Made by [`load`] only.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) storage: Storage,
    #[serde(default)]
    pub(crate) app: Vec<App>,
    pub(crate) webhooks: Webhooks,
    pub(crate) gate: Gate,
    pub(crate) admin: Admin,
    pub(crate) realtime: Realtime,
    pub(crate) limits: Limits,
    pub(crate) log: Log,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) tls: Option<Tls>,
    pub(crate) trusted_proxies: Vec<IpRange>,
    pub(crate) proxy_protocol: bool,
    pub(crate) shutdown_deadline: Span,
    pub(crate) worker_threads: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storage {
    pub(crate) path: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) free_bytes_min: Size,
    pub(crate) shards: u16,
    pub(crate) retention_max_age: Limit<Span>,
    pub(crate) retention_max_bytes: Limit<Size>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Durability {
    Fsync,
    Os,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct App {
    pub(crate) sdkappid: u32,
    pub(crate) key: Secret,
    #[serde(default = "App::default_admins")]
    pub(crate) admins: Vec<String>,
    #[serde(default)]
    pub(crate) disabled: bool,
    pub(crate) webhook: Option<Webhook>,
}

impl App {
    fn default_admins() -> Vec<String> {
        vec!["administrator".to_owned()]
    }
}

/// The first value of an app's default endpoint. Serializable, because a digest of the value that was applied last is
/// remembered in the directory (see [`crate::app::first_value`]).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    #[serde(default = "Webhook::default_commands")]
    pub(crate) commands: Vec<String>,
    #[serde(default)]
    pub(crate) token: Secret,
    #[serde(default)]
    pub(crate) signing_secret: Secret,
    #[serde(default)]
    pub(crate) event_time: EventTime,
}

impl Webhook {
    fn default_commands() -> Vec<String> {
        vec!["Group.CallbackAfterSendMsg".to_owned()]
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EventTime {
    #[default]
    Number,
    String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhooks {
    pub(crate) timeout: Span,
    pub(crate) concurrency: u16,
    pub(crate) order: Order,
    pub(crate) retry: Retry,
    pub(crate) retry_first: Span,
    pub(crate) retry_max: Span,
    pub(crate) retry_for: Span,
    pub(crate) hold: Span,
    pub(crate) catch_up_per_s: u32,
    pub(crate) checkpoint_every: Span,
    pub(crate) http2: bool,
    pub(crate) allow: Vec<IpRange>,
    pub(crate) extra_roots: PathBuf,
}

impl Webhooks {
    /// Which addresses webhooks may go to.
    pub(crate) fn guard(&self) -> Guard {
        Guard::new(self.allow.iter().map(|range| range.0).collect())
    }
}

/// The before-send gate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gate {
    pub(crate) timeout: Span,
    pub(crate) wait_max: Span,
    pub(crate) concurrency: u16,
    pub(crate) waiting_max: u32,
    pub(crate) sender_waiting_max: u32,
    pub(crate) failure: GateFailure,
    pub(crate) shadow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GateFailure {
    Pass,
    Drop,
}

/// The API of operators.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub(crate) token: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    Room,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Retry {
    Durable,
    DurableSkip,
    Tencent,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Realtime {
    pub(crate) origins: Vec<String>,
    pub(crate) connections_per_user_max: u32,
    pub(crate) connects_per_s: u32,
    pub(crate) rooms_per_connection_max: u32,
    pub(crate) commands_per_s: u32,
    pub(crate) frame_max: Size,
    pub(crate) outbox_max: Size,
    pub(crate) ring_messages_max: u32,
    pub(crate) rings_max: Size,
    pub(crate) recovery_messages_max: u32,
    pub(crate) write_delay: Span,
    pub(crate) deflate: bool,
    pub(crate) deflate_min_bytes: Size,
    pub(crate) ping_every: Span,
    pub(crate) pong_within: Span,
    pub(crate) presence_members_max: u32,
    pub(crate) join_leave_members_max: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) body_max: Size,
    pub(crate) connections_max: u32,
    pub(crate) message_max: Size,
    pub(crate) usersig_cache_entries: u32,
    pub(crate) room_messages_per_s: u32,
    pub(crate) shard_inbox_max: u32,
    pub(crate) queued_max: Size,
    pub(crate) rooms_cached_max: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}
