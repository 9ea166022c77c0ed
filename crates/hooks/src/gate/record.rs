//! What was asked of late, for people. A bounded ring in memory.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use roomhook_room::RoomKey;

use super::{Decision, Failure, Judged};

/// Questions kept per app.
const RECENT_MAX: usize = 256;

/// One question and what came of it. Holds no content of the message.
#[derive(Clone, Debug)]
pub struct Asked {
    pub room: RoomKey,
    /// `MsgId` of the message.
    pub msg_id: String,
    /// Unix milliseconds.
    pub at: u64,
    pub took: Duration,
    /// One word: `allow`, `replace`, `discard`, `refuse`, `undocumented`, or `failed`.
    pub verdict: &'static str,
    /// The code that the sender got, or would have got.
    pub code: i32,
    /// Why there was no verdict.
    pub problem: Option<Arc<str>>,
    /// Asked in shadow mode: the message went on as it was.
    pub shadow: bool,
}

impl Asked {
    /// `code` of a failure is that of `then`, the decision by policy.
    pub(super) fn new(
        room: &RoomKey,
        msg_id: String,
        at: u64,
        took: Duration,
        result: &Result<Judged, Failure>,
        then: &Decision,
        shadow: bool,
    ) -> Self {
        let (verdict, problem) = match result {
            Ok(judged) => (judged.kind(), None),
            Err(failure) => ("failed", Some(Arc::from(failure.to_string()))),
        };
        let code = if let Decision::Refuse { code, .. } = then { *code } else { 0 };
        Self { room: room.clone(), msg_id, at, took, verdict, code, problem, shadow }
    }
}

#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<Asked>);

impl Ring {
    pub(super) fn push(&mut self, asked: Asked) {
        if self.0.len() >= RECENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(asked);
    }

    /// Newest first.
    pub(super) fn recent(&self) -> Vec<Asked> {
        self.0.iter().rev().cloned().collect()
    }
}
