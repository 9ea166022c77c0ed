//! Settings of realtime.

use std::time::Duration;

use roomhook_centrifuge::Limits;

use super::ws;

/// Limits and times. The defaults are the reference server's where it has one (protocol: realtime §7, §11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Origins that browsers may come from; empty = any.
    pub origins: Vec<String>,
    /// Lanes: tasks that write to sockets. 0 = one per core.
    pub lanes: usize,
    /// How long a lane waits for more before it writes; 0 = not at all. More messages per write cost that much latency.
    pub write_delay: Duration,
    /// Agree to permessage-deflate where a client offers it.
    pub deflate: bool,
    /// Messages below this go out as they are.
    pub deflate_bytes_min: usize,

    /// Client connections of this process; more are answered 503.
    pub connections_max: usize,
    /// Connections of one user; more are closed with 3504.
    pub connections_per_user_max: usize,
    /// Connections accepted per second, in bursts of as many; more are answered 503. 0 = no limit.
    pub connects_per_s: u32,
    /// Rooms of one connection; more are refused with 106.
    pub rooms_per_connection_max: usize,
    /// Commands of one connection per second; more are refused with 111. 0 = no limit.
    pub commands_per_s: u32,
    /// Commands of one connection at once.
    pub commands_burst: u32,
    /// Of one WebSocket message of a client.
    pub frame_limits: Limits,

    /// Bytes that may wait for one socket before it is closed with 3008.
    pub outbox_bytes_max: usize,
    /// What may be on its way from the logs to sockets' outboxes over all rooms of this process, in bytes; what several lanes
    /// share counts once. When it is full, reading of the logs waits; a room that is being loaded asks its members to come
    /// again.
    pub queued_bytes_max: usize,
    /// Messages kept per room for members that come back.
    pub ring_messages_max: usize,
    /// Bytes kept per room for members that come back.
    pub ring_bytes_max: usize,
    /// Bytes kept for members that come back over all rooms of this process; each shard has an equal part of it. Beyond it rooms
    /// where nobody speaks are served from the log.
    pub rings_bytes_max: usize,
    /// Messages given to one that comes back, and by one history call.
    pub reply_messages_max: usize,
    /// Bytes given to one that comes back, and by one history call.
    pub reply_bytes_max: usize,
    /// Reads of the log at a time.
    pub log_reads_max: usize,
    /// How long a room without members stays in memory.
    pub room_linger: Duration,
    /// Rooms with more members answer `presence` with 108.
    pub presence_members_max: usize,
    /// Rooms with more members do not tell who comes and goes.
    pub join_leave_members_max: usize,

    pub ping_every: Duration,
    /// How long a client may take to answer a ping; less than `ping_every`.
    pub pong_within: Duration,
    /// How long a client may take from the upgrade to its connect command.
    pub connect_within: Duration,
    /// How long a connection outlives its token, for a refresh to arrive.
    pub expiry_grace: Duration,
    /// How long a room may take to answer; less than the 5 s after which SDKs drop the connection.
    pub answer_within: Duration,
    /// How long a client may take to take our close frame.
    pub close_timeout: Duration,
    /// Over how long a shutdown spreads the goodbyes, so that clients do not all come back at once.
    pub shutdown_spread: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            lanes: 0,
            write_delay: Duration::ZERO,
            deflate: false,
            deflate_bytes_min: 256,
            connections_max: 100_000,
            connections_per_user_max: 16,
            connects_per_s: 0,
            rooms_per_connection_max: 128,
            commands_per_s: 100,
            commands_burst: 300,
            frame_limits: Limits::default(),
            outbox_bytes_max: 1 << 20,
            queued_bytes_max: 128 << 20,
            ring_messages_max: 300,
            ring_bytes_max: 1 << 20,
            rings_bytes_max: 256 << 20,
            reply_messages_max: 300,
            reply_bytes_max: 512 << 10,
            log_reads_max: 16,
            room_linger: Duration::from_secs(60),
            presence_members_max: 1_000,
            join_leave_members_max: 100,
            ping_every: Duration::from_secs(25),
            pong_within: Duration::from_secs(10),
            connect_within: Duration::from_secs(10),
            expiry_grace: Duration::from_secs(25),
            answer_within: Duration::from_secs(4),
            close_timeout: Duration::from_secs(5),
            shutdown_spread: Duration::from_secs(1),
        }
    }
}

/// A combination that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("ping_every must be at least 1 s: SDKs count it in whole seconds")]
    Ping,
    #[error("pong_within must be less than ping_every, or a second ping would go out before the first is given up")]
    Pong,
    #[error(
        "outbox_bytes_max must be at least twice reply_bytes_max, or a member that comes back would be cut for being slow"
    )]
    Outbox,
    #[error("answer_within must be less than 5 s: SDKs drop the connection then")]
    Answer,
    #[error("connections_max, connections_per_user_max and rooms_per_connection_max must be above 0")]
    Nobody,
}

impl Config {
    /// # Errors
    /// The first combination that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.ping_every < Duration::from_secs(1) {
            return Err(ConfigError::Ping);
        }
        if self.pong_within >= self.ping_every {
            return Err(ConfigError::Pong);
        }
        if self.outbox_bytes_max < self.reply_bytes_max.saturating_mul(2) {
            return Err(ConfigError::Outbox);
        }
        if self.answer_within >= Duration::from_secs(5) {
            return Err(ConfigError::Answer);
        }
        if self.connections_max == 0 || self.connections_per_user_max == 0 || self.rooms_per_connection_max == 0 {
            return Err(ConfigError::Nobody);
        }
        Ok(())
    }

    pub(crate) fn ws_limits(&self, inflate: bool) -> ws::Limits {
        ws::Limits { message_bytes_max: self.frame_limits.frame_bytes_max, fragments_max: 1024, inflate }
    }
}
