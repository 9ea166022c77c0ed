//! All metrics of realtime. Labels are bounded: never a room, a user or an address.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Of everything realtime.
#[derive(Clone, Debug, Default)]
pub struct RealtimeMetrics {
    pub(crate) connections: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) subscriptions: Gauge,
    pub(crate) commands: Family<CommandLabels, Counter>,
    pub(crate) errors: Family<ErrorLabels, Counter>,
    pub(crate) closes: Family<CloseLabels, Counter>,
    pub(crate) rooms: Gauge,
    pub(crate) ring_bytes: Gauge,
    pub(crate) rings_emptied: Counter,
    pub(crate) encoded: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) delivered_bytes: Counter<u64, AtomicU64>,
    pub(crate) whispers_dropped: Counter,
    pub(crate) recovered: Family<RecoveryLabels, Counter>,
    pub(crate) history_reads: Counter,
    pub(crate) queued_bytes: Gauge,
    pub(crate) lane_backlog: Gauge,
    pub(crate) feed_backlog: Gauge,
    pub(crate) outbox: OutboxMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CommandLabels {
    pub(crate) command: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ErrorLabels {
    pub(crate) code: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CloseLabels {
    pub(crate) code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RecoveryLabels {
    pub(crate) outcome: &'static str,
}

/// Of what waits for sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutboxMetrics {
    pub(crate) waiting_bytes: Gauge,
}

impl OutboxMetrics {
    pub(crate) fn queued(&self, bytes: usize) {
        self.waiting_bytes.inc_by(signed(bytes));
    }

    pub(crate) fn unqueued(&self, bytes: usize) {
        self.waiting_bytes.dec_by(signed(bytes));
    }
}

/// One task's part of a gauge that several tasks share: the gauge is the sum of all parts. What a task that ended had is
/// gone with it.
#[derive(Debug)]
pub(crate) struct Part {
    sum: Gauge,
    own: i64,
}

impl Part {
    pub(crate) fn of(sum: &Gauge) -> Self {
        Self { sum: sum.clone(), own: 0 }
    }

    pub(crate) fn set(&mut self, size: usize) {
        let size = signed(size);
        self.sum.inc_by(size - std::mem::replace(&mut self.own, size));
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A size as gauges count it.
pub(crate) fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

impl RealtimeMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = &metrics;
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(format!("roomhook_realtime_{name}"), help.to_owned(), gauge.clone());
        };
        gauge("connections_open", "Client connections open now", &m.connections);
        gauge("subscriptions", "Memberships of rooms held by client connections now", &m.subscriptions);
        gauge("rooms", "Rooms whose messages are kept encoded now", &m.rooms);
        gauge("ring_bytes", "Encoded messages kept for members that come back, in bytes", &m.ring_bytes);
        gauge(
            "queued_bytes",
            "What is on its way to lanes or waits for a room to be loaded, in bytes; what lanes share counts once",
            &m.queued_bytes,
        );
        gauge(
            "lane_backlog",
            "Batches of encoded messages, joins and leaves that wait for lanes, all lanes together",
            &m.lane_backlog,
        );
        gauge("feed_backlog", "Joins, leaves and questions that wait for feeds, all shards together", &m.feed_backlog);
        gauge("outbox_bytes", "Bytes that wait for sockets to take them", &m.outbox.waiting_bytes);
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("roomhook_realtime_{name}"), help.to_owned(), counter.clone());
        };
        counter("connections_accepted", "Upgrade requests that became client connections", &m.accepted);
        counter("connections_refused", "Upgrade requests refused for their form, origin or rate", &m.refused);
        counter("messages_encoded", "Messages encoded for delivery, once for all receivers", &m.encoded);
        counter("deliveries", "Messages handed to sockets", &m.deliveries);
        counter("whispers_dropped", "Whispers not sent because a socket was behind", &m.whispers_dropped);
        counter("history_reads", "Reads of the log for members that missed more than is kept", &m.history_reads);
        counter(
            "rings_emptied",
            "Rooms whose kept messages were given up because all rooms held too much",
            &m.rings_emptied,
        );
        registry.register(
            "roomhook_realtime_delivered_bytes",
            "Bytes of delivered messages handed to sockets",
            m.delivered_bytes.clone(),
        );
        registry.register("roomhook_realtime_commands", "Commands of clients, by name", m.commands.clone());
        registry.register("roomhook_realtime_errors", "Error replies, by code", m.errors.clone());
        registry.register("roomhook_realtime_closes", "Connections closed by this server, by code", m.closes.clone());
        registry.register(
            "roomhook_realtime_recoveries",
            "Members that came back with a position, by outcome (memory, log, lost)",
            m.recovered.clone(),
        );
        metrics
    }

    pub(crate) fn command(&self, command: &'static str) {
        self.commands.get_or_create(&CommandLabels { command }).inc();
    }

    pub(crate) fn error(&self, code: u32) {
        self.errors.get_or_create(&ErrorLabels { code }).inc();
    }

    pub(crate) fn closed(&self, code: u16) {
        self.closes.get_or_create(&CloseLabels { code }).inc();
    }

    pub(crate) fn recovery(&self, outcome: &'static str) {
        self.recovered.get_or_create(&RecoveryLabels { outcome }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_gauge_shows_what_all_have_together() {
        let gauge = Gauge::default();
        let (mut one, mut other) = (Part::of(&gauge), Part::of(&gauge));
        one.set(5);
        other.set(3);
        assert_eq!(gauge.get(), 8);
        other.set(0);
        assert_eq!(gauge.get(), 5);
        one.set(7);
        assert_eq!(gauge.get(), 7);
        drop(one);
        assert_eq!(gauge.get(), 0);
    }
}
