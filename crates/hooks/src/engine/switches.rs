//! What was switched on for which records of a shard. A change holds from a time on, and becomes a position in the log as
//! soon as the first record of that time is seen.

use std::{collections::VecDeque, sync::Arc};

use roomhook_log::Lsn;

use crate::{
    plan::{History, Switches},
    rows::SwitchesRow,
};

/// Changes kept that no record has reached yet. In a shard where nobody speaks the oldest are forgotten: nothing was
/// judged by them.
const AHEAD_MAX: usize = 32;

#[derive(Clone, Debug)]
struct Change {
    from: Lsn,
    /// Not 0: from the first record at or after `from` that was decided at or after this time.
    since: u64,
    switches: Arc<Switches>,
}

#[derive(Debug, Default)]
pub(crate) struct SwitchLog {
    /// Oldest first. Those that wait for their time are at the end.
    changes: VecDeque<Change>,
    /// The newest time of a change that is known.
    switched_at: u64,
}

impl SwitchLog {
    pub(crate) fn from_rows(rows: &[SwitchesRow], switched_at: u64) -> Self {
        let change = |row: &SwitchesRow| Change {
            from: Lsn(row.from),
            since: row.since,
            switches: Arc::new(Switches::from_row(row)),
        };
        Self { changes: rows.iter().map(change).collect(), switched_at }
    }

    pub(crate) fn to_rows(&self) -> Vec<SwitchesRow> {
        self.changes.iter().map(|change| change.switches.to_row(change.from, change.since)).collect()
    }

    pub(crate) fn switched_at(&self) -> u64 {
        self.switched_at
    }

    /// Takes over what is new in an endpoint's timeline. Records before `counted` are judged already.
    pub(crate) fn follow(&mut self, timeline: &[(u64, Arc<Switches>)], counted: Lsn) -> bool {
        let before = self.changes.len();
        for (since, switches) in timeline.iter().filter(|(since, _)| *since > self.switched_at) {
            self.changes.push_back(Change { from: counted, since: *since, switches: switches.clone() });
        }
        let changed = self.changes.len() > before;
        let Some((since, newest)) = timeline.last() else { return changed };
        self.switched_at = self.switched_at.max(*since);
        // Endpoints of older releases tell no times: their change holds for what was not judged yet.
        let is_known = self.changes.back().is_some_and(|change| change.switches == *newest);
        if !is_known {
            self.changes.push_back(Change { from: counted, since: 0, switches: newest.clone() });
        }
        while self.changes.iter().filter(|change| change.since > 0).count() > AHEAD_MAX {
            if let Some(at) = self.changes.iter().position(|change| change.since > 0) {
                self.changes.remove(at);
            }
        }
        changed || !is_known
    }

    /// These records come next, in order: changes whose time has come get their position.
    pub(crate) fn reach(&mut self, records: impl Iterator<Item = (Lsn, u64)> + Clone) {
        for change in self.changes.iter_mut().filter(|change| change.since > 0) {
            let first = records.clone().find(|(lsn, at)| *lsn >= change.from && *at >= change.since);
            let Some((lsn, _)) = first else { return };
            (change.from, change.since) = (lsn, 0);
        }
    }

    /// What holds for the records that were reached.
    pub(crate) fn history(&self) -> History {
        let reached = self.changes.iter().filter(|change| change.since == 0);
        History(reached.map(|change| (change.from, change.switches.clone())).collect())
    }

    /// Forgets what only concerns records before the cursor.
    pub(crate) fn pass(&mut self, cursor: Lsn) {
        while self.changes.get(1).is_some_and(|change| change.since == 0 && change.from <= cursor) {
            self.changes.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(word: &str) -> Arc<Switches> {
        Arc::new(Switches { has_url: true, commands: vec![word.into()], room_prefix: String::new() })
    }

    fn judged(log: &mut SwitchLog, records: &[(u64, u64)]) -> Vec<String> {
        log.reach(records.iter().map(|(lsn, at)| (Lsn(*lsn), *at)));
        let history = log.history();
        records.iter().map(|(lsn, _)| history.at(Lsn(*lsn)).expect("never empty").commands[0].clone()).collect()
    }

    #[test]
    fn a_record_is_judged_by_its_time_however_late_the_change_is_heard_of() {
        let mut log = SwitchLog::default();
        log.follow(&[(0, on("a"))], Lsn(1));
        assert_eq!(judged(&mut log, &[(1, 50)]), ["a"]);
        // Two changes are heard of at once, after messages from before, between and after them were appended.
        log.follow(&[(0, on("a")), (100, on("b")), (200, on("c"))], Lsn(2));
        let mut restarted = SwitchLog::from_rows(&log.to_rows(), log.switched_at());
        let records = [(2, 99), (3, 100), (4, 199), (5, 200), (6, 900)];
        for log in [&mut log, &mut restarted] {
            assert_eq!(judged(log, &records[..2]), ["a", "b"], "in two batches");
            assert_eq!(judged(log, &records), ["a", "b", "b", "c", "c"], "and read again");
            log.pass(Lsn(5));
            assert_eq!(judged(log, &records[3..]), ["c", "c"]);
            assert_eq!(log.changes.len(), 1);
        }
        assert!(!log.follow(&[(0, on("a")), (100, on("b")), (200, on("c"))], Lsn(9)), "nothing new");
    }

    #[test]
    fn a_change_without_a_time_holds_for_what_was_not_judged_and_idle_shards_keep_few() {
        let mut log = SwitchLog::default();
        log.follow(&[(0, on("a"))], Lsn(1));
        log.follow(&[(0, on("b"))], Lsn(7));
        assert_eq!(judged(&mut log, &[(6, 1), (7, 1)]), ["a", "b"]);
        for at in 1..1_000 {
            log.follow(&[(0, on("b")), (at, on(if at % 2 == 0 { "x" } else { "y" }))], Lsn(8));
        }
        assert!(log.changes.len() <= AHEAD_MAX + 2, "{}", log.changes.len());
        assert_eq!(judged(&mut log, &[(8, 2_000)]), ["y"]);
    }
}
