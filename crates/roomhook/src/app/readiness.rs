//! Whether requests can be served, in the words of the parts that know.

use std::sync::Arc;

use roomhook_edge::admin::{self, Reason};
use roomhook_log_disk::{DiskLog, Health};
use roomhook_shard::Router;

use super::stop::Stop;

pub(super) struct Readiness {
    pub(super) router: Router,
    pub(super) disk: Arc<DiskLog>,
    pub(super) stop: Stop,
}

impl admin::Readiness for Readiness {
    fn reasons(&self) -> Vec<Reason> {
        let reason = |part: &str, message: String| Reason { part: part.to_owned(), message };
        let mut reasons = Vec::new();
        if self.stop.is_stopping() {
            reasons.push(reason("server", "is stopping".to_owned()));
        }
        match self.disk.health() {
            Health::Ok => {}
            Health::Full => {
                reasons.push(reason("disk", "is full: make room; writes go on by themselves then".to_owned()))
            }
            Health::Poisoned(why) => {
                reasons.push(reason("disk", format!("a write failed ({why}): look at the disk, then restart")));
            }
        }
        reasons.extend(self.router.troubles().into_iter().map(|trouble| reason("shards", trouble)));
        if reasons.is_empty() && !self.router.is_ready() {
            reasons.push(reason("shards", "are starting".to_owned()));
        }
        reasons
    }
}
