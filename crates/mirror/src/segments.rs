//! The segments of a mirror: what retention drops as a whole.

use std::sync::Arc;

use fjall::Keyspace;
use parking_lot::RwLock;
use roomhook_log::{LogId, Lsn};

use crate::stand::SegmentStart;

/// What is known of one segment of the log's files. As long as a reader holds it, its keyspaces stay.
#[derive(Clone)]
pub(crate) struct SegmentIndex {
    pub(crate) start: Arc<SegmentStart>,
    pub(crate) events: Keyspace,
    pub(crate) index: Keyspace,
}

impl SegmentIndex {
    pub(crate) fn number(&self) -> u32 {
        self.start.number
    }
}

/// All segments, oldest first. The last one is written to.
#[derive(Default)]
pub(crate) struct Segments(RwLock<Arc<Vec<SegmentIndex>>>);

impl Segments {
    pub(crate) fn new(segments: Vec<SegmentIndex>) -> Self {
        Self(RwLock::new(Arc::new(segments)))
    }

    /// The segments of this moment. Keep it only for one read: it keeps dropped segments on disk.
    pub(crate) fn all(&self) -> Arc<Vec<SegmentIndex>> {
        Arc::clone(&self.0.read())
    }

    /// First readable position of a log.
    pub(crate) fn first(&self, log: LogId) -> Lsn {
        self.0.read().first().map_or(Lsn::FIRST, |segment| segment.start.first(log))
    }

    pub(crate) fn push(&self, segment: SegmentIndex) {
        Arc::make_mut(&mut self.0.write()).push(segment);
    }

    /// Takes out the oldest segment, unless it is the last one.
    pub(crate) fn take_oldest(&self) -> Option<SegmentIndex> {
        let mut segments = self.0.write();
        (segments.len() > 1).then(|| Arc::make_mut(&mut segments).remove(0))
    }
}

pub(crate) fn events_name(number: u32) -> String {
    format!("ev{number:08}")
}

pub(crate) fn index_name(number: u32) -> String {
    format!("ix{number:08}")
}
