//! Runs of missing numbers: ranges, not single numbers, so that a jump of a million costs as much as a jump of one.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Disjoint runs of missing numbers, each with the time it was noticed.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// First missing number → (last missing number, noticed at, Unix milliseconds).
    by_first: BTreeMap<u64, (u64, u64)>,
}

impl Gaps {
    pub(crate) fn open(&mut self, seqs: RangeInclusive<u64>, since_millis: u64) {
        debug_assert!(!seqs.is_empty(), "an empty run is no gap");
        self.by_first.insert(*seqs.start(), (*seqs.end(), since_millis));
    }

    pub(crate) fn contains(&self, seq: u64) -> bool {
        self.around(seq).is_some()
    }

    /// Takes `seq` out of the missing ones; says whether it was one of them.
    pub(crate) fn fill(&mut self, seq: u64) -> bool {
        let Some((first, last, since_millis)) = self.around(seq) else { return false };
        self.by_first.remove(&first);
        if first < seq {
            self.by_first.insert(first, (seq - 1, since_millis));
        }
        if seq < last {
            self.by_first.insert(seq + 1, (last, since_millis));
        }
        true
    }

    pub(crate) fn pop_lowest(&mut self) -> Option<RangeInclusive<u64>> {
        self.by_first.pop_first().map(|(first, (last, _))| first..=last)
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.by_first.len()
    }

    /// How many numbers are missing.
    pub(crate) fn missing(&self) -> u64 {
        self.by_first
            .iter()
            .fold(0, |sum: u64, (first, (last, _))| sum.saturating_add((last - first).saturating_add(1)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RangeInclusive<u64>, u64)> + '_ {
        self.by_first.iter().map(|(&first, &(last, since_millis))| (first..=last, since_millis))
    }

    pub(crate) fn into_ranges(self) -> impl Iterator<Item = RangeInclusive<u64>> {
        self.by_first.into_iter().map(|(first, (last, _))| first..=last)
    }

    fn around(&self, seq: u64) -> Option<(u64, u64, u64)> {
        let (&first, &(last, since_millis)) = self.by_first.range(..=seq).next_back()?;
        (seq <= last).then_some((first, last, since_millis))
    }
}
