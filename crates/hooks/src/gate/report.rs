//! `Group.CallbackSendMsgException` (protocol: webhooks §3): what is told of a message that was not sent.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use roomhook_protocol::webhook::{CommandWord, SendMsgException};
use roomhook_room::{Draft, RoomKey};
use tokio::sync::mpsc;

use super::moderator::Core;
use crate::{http::KEPT_BYTES, plan, settings::Letter};

/// A place among the reports that wait to be sent. Dropping it gives it back.
pub struct Report {
    pub(super) core: Arc<Core>,
    pub(super) slot: mpsc::OwnedPermit<Letter>,
    pub(super) room: RoomKey,
}

/// Tells reports apart that are about the same sender and `Random` in the same millisecond: receivers drop repeats.
static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Report {
    /// Says what was attempted and why it failed, and returns at once. Sent once: a whisper.
    pub fn tell(self, room_type: &str, attempted: &Draft, code: i32, info: &str) {
        let Self { core, slot, room } = self;
        let (live, at) = (core.live(), core.now());
        let mut body = Vec::new();
        SendMsgException {
            group_id: room.room.as_str(),
            group_type: room_type,
            from_account: attempted.from.as_str(),
            operator_account: attempted.operator.as_str(),
            random: attempted.random,
            msg_body: &attempted.body,
            cloud_custom_data: &attempted.custom_data,
            error_code: code,
            error_info: info,
            event_time_ms: at,
        }
        .write_json(plan::style(&live.settings.endpoint), &mut body);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        slot.send(Letter {
            webhook_id: format!("unsent_{}_{}_{at}_{number}", core.app, attempted.random),
            command: CommandWord::GroupSendMsgException.as_str(),
            origin: Some(attempted.origin),
            attempt: 1,
            body: Bytes::from(body),
            timeout: live.timeout,
            kept_bytes: KEPT_BYTES,
        });
        core.metrics.errands.inc();
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("room", &self.room).finish_non_exhaustive()
    }
}
