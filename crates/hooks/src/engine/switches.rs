//! What was switched on for which records of a shard. The directory says from which record on a change holds; here it is
//! kept as long as records of before may have to be read again.

use std::{collections::VecDeque, sync::Arc};

use roomhook_log::Lsn;
use roomhook_room::Positions;

use crate::{
    plan::{History, Switches},
    rows::SwitchesRow,
};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    from: Lsn,
    switches: Arc<Switches>,
}

#[derive(Debug, Default)]
pub(crate) struct SwitchLog {
    /// In order, never two from the same record.
    changes: VecDeque<Change>,
}

impl SwitchLog {
    pub(crate) fn from_rows(rows: &[SwitchesRow]) -> Self {
        // Older releases also kept changes that waited for their time; the directory tells them anew.
        let known = rows.iter().filter(|row| row.since == 0);
        let changes = known.map(|row| Change { from: Lsn(row.from), switches: Arc::new(Switches::from_row(row)) });
        Self { changes: changes.collect() }
    }

    pub(crate) fn to_rows(&self) -> Vec<SwitchesRow> {
        self.changes.iter().map(|change| change.switches.to_row(change.from)).collect()
    }

    /// Takes over an endpoint's timeline for the records from `counted` on. Those before are judged already, and must be
    /// judged the same way if they are read again: some may lie behind a change that was not heard of in time, but none
    /// that was sent after the change was answered. True when something is new.
    pub(crate) fn follow(&mut self, timeline: &[(Positions, Arc<Switches>)], shard: u16, counted: Lsn) -> bool {
        let before = self.changes.clone();
        self.changes.retain(|change| change.from < counted);
        let begins = |(from, _): &(Positions, Arc<Switches>)| from.of(shard).map_or(counted, Lsn).max(counted);
        for (at, period) in timeline.iter().enumerate() {
            let from = begins(period);
            let held = timeline.get(at + 1).is_none_or(|next| begins(next) > from);
            let is_known = self.changes.back().is_some_and(|change| change.switches == period.1);
            if held && !is_known {
                self.changes.push_back(Change { from, switches: period.1.clone() });
            }
        }
        self.changes != before
    }

    /// What holds for the records that may still be read.
    pub(crate) fn history(&self) -> History {
        History(self.changes.iter().map(|change| (change.from, change.switches.clone())).collect())
    }

    /// Forgets what only concerns records before the cursor.
    pub(crate) fn pass(&mut self, cursor: Lsn) {
        while self.changes.get(1).is_some_and(|change| change.from <= cursor) {
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

    /// The directory's words for: this from there on.
    fn told(periods: &[(u64, &str)]) -> Vec<(Positions, Arc<Switches>)> {
        periods.iter().map(|(from, word)| (Positions(vec![*from]), on(word))).collect()
    }

    fn judged(log: &SwitchLog, records: std::ops::Range<u64>) -> String {
        let history = log.history();
        records.map(|lsn| history.at(Lsn(lsn)).expect("never empty").commands[0].clone()).collect()
    }

    #[test]
    fn a_record_is_judged_by_its_place_however_late_the_change_is_heard_of() {
        let mut log = SwitchLog::default();
        log.follow(&told(&[(0, "a")]), 0, Lsn(1));
        assert_eq!(judged(&log, 1..2), "a");
        // Two changes are heard of at once, after messages from before, between and after them were appended.
        let timeline = told(&[(0, "a"), (3, "b"), (5, "c")]);
        assert!(log.follow(&timeline, 0, Lsn(2)));
        let mut restarted = SwitchLog::from_rows(&log.to_rows());
        for log in [&mut log, &mut restarted] {
            assert!(!log.follow(&timeline, 0, Lsn(3)), "nothing new");
            assert_eq!(judged(log, 2..7), "abbcc");
            log.pass(Lsn(5));
            assert_eq!(judged(log, 5..7), "cc");
            assert_eq!(log.changes.len(), 1);
        }
        assert!(!log.follow(&timeline, 0, Lsn(9)), "nothing new");
    }

    #[test]
    fn rows_from_before_a_crash_and_the_directory_together_tell_what_was_switched_on() {
        // The rows were written at record 4; the change came at 7, and the process died before it was written.
        let mut log = SwitchLog::default();
        log.follow(&told(&[(0, "a")]), 0, Lsn(1));
        let mut restarted = SwitchLog::from_rows(&log.to_rows());
        restarted.follow(&told(&[(0, "a"), (7, "b")]), 0, Lsn(4));
        assert_eq!(judged(&restarted, 1..9), "aaaaaabb");
    }

    #[test]
    fn what_was_judged_before_the_change_was_heard_of_stays_so_when_it_is_read_again() {
        let mut log = SwitchLog::default();
        log.follow(&told(&[(0, "a")]), 0, Lsn(1));
        // Records 5 and 6 were on their way while the change was, and came first.
        let timeline = told(&[(0, "a"), (5, "b")]);
        log.follow(&timeline, 0, Lsn(7));
        let mut restarted = SwitchLog::from_rows(&log.to_rows());
        restarted.follow(&timeline, 0, Lsn(7));
        assert_eq!((judged(&log, 3..9), judged(&restarted, 3..9)), ("aaaabb".to_owned(), "aaaabb".to_owned()));
    }

    #[test]
    fn a_row_with_a_change_that_waited_for_its_time_goes_on_with_what_the_directory_says() {
        let row = |from, since, word| SwitchesRow { since, ..on(word).to_row(Lsn(from)) };
        let mut log = SwitchLog::from_rows(&[row(1, 0, "a"), row(5, 1_700_000_000_000, "b")]);
        // Records 5 to 7 were judged while it waited. The directory of that release told a time, which is not read any more.
        log.follow(&[(Positions::default(), on("b"))], 0, Lsn(8));
        assert_eq!(judged(&log, 1..10), "aaaaaaabb");
    }

    #[test]
    fn a_change_without_a_place_holds_for_what_was_not_judged_and_idle_shards_keep_few() {
        let mut log = SwitchLog::default();
        log.follow(&[(Positions::default(), on("a"))], 0, Lsn(1));
        log.follow(&[(Positions::default(), on("b"))], 0, Lsn(7));
        assert_eq!(judged(&log, 6..8), "ab");
        for turn in 0..1_000 {
            log.follow(&told(&[(0, "b"), (8, if turn % 2 == 0 { "x" } else { "y" })]), 0, Lsn(8));
        }
        assert_eq!(log.changes.len(), 3);
        assert_eq!(judged(&log, 8..9), "y");
    }
}
