//! A client's connection as others see it.

use std::sync::OnceLock;

use parking_lot::Mutex;
use roomhook_centrifuge::Format;
use roomhook_room::{AppId, ClientId, UserId};

use super::{encode::Form, outbox::Outbox, session::JoinNo, telemetry::RealtimeMetrics};

/// Tells connections of this process apart; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u64);

/// Shared by the connection's task, its lane and the feeds of its rooms.
#[derive(Debug)]
pub(crate) struct Conn {
    id: ConnId,
    /// What the client and other clients call it.
    client_id: ClientId,
    form: Form,
    lane: usize,
    outbox: Outbox,
    /// Set once, when the client has proved who it is.
    who: OnceLock<(AppId, UserId)>,
    /// Memberships that ended and that its task has not heard of yet: at most as many as rooms it joined.
    removals: Mutex<Vec<JoinNo>>,
    metrics: RealtimeMetrics,
}

impl Conn {
    pub(crate) fn new(
        id: ConnId,
        client_id: ClientId,
        form: Form,
        lane: usize,
        outbox: Outbox,
        metrics: RealtimeMetrics,
    ) -> Self {
        metrics.connections.inc();
        Self { id, client_id, form, lane, outbox, who: OnceLock::new(), removals: Mutex::default(), metrics }
    }

    pub(crate) fn id(&self) -> ConnId {
        self.id
    }

    pub(crate) fn client_id(&self) -> ClientId {
        self.client_id
    }

    pub(crate) fn format(&self) -> Format {
        self.form.format
    }

    /// How it gets what is sent to many.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    pub(crate) fn lane(&self) -> usize {
        self.lane
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Notes who the client is; the first one counts.
    pub(crate) fn identify(&self, app: AppId, user: UserId) {
        let _ = self.who.set((app, user));
    }

    pub(crate) fn app(&self) -> Option<AppId> {
        self.who.get().map(|(app, _)| *app)
    }

    pub(crate) fn user(&self) -> Option<&UserId> {
        self.who.get().map(|(_, user)| user)
    }

    /// A room ended this membership.
    pub(crate) fn remove(&self, membership: JoinNo) {
        self.removals.lock().push(membership);
        self.outbox.wake();
    }

    pub(crate) fn take_removals(&self) -> Vec<JoinNo> {
        std::mem::take(&mut self.removals.lock())
    }

    /// The outbox closed the connection because it was over its limit.
    pub(crate) fn note_slow(&self) {
        self.metrics.closed(roomhook_centrifuge::codes::disconnect::SLOW.code);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}
