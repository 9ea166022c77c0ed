//! Which segments may go. Pure: facts in, a number out.

use roomhook_log::Lsn;

/// What is known of a segment that is no longer written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Position after its last record.
    pub(crate) next: Lsn,
    pub(crate) newest_at_ms: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) max_age_ms: Option<u64>,
    /// For this log, its active segment included.
    pub(crate) max_bytes: Option<u64>,
}

/// Number of oldest segments to drop: those too old or too much, up to the first one that the owner still needs.
/// `sealed` are all segments but the active one, oldest first.
pub(crate) fn droppable(policy: Policy, sealed: &[Candidate], active_bytes: u64, floor: Lsn, now_ms: u64) -> usize {
    let mut bytes = active_bytes + sealed.iter().map(|segment| segment.bytes).sum::<u64>();
    let mut count = 0;
    for segment in sealed {
        let too_old = policy.max_age_ms.is_some_and(|age| now_ms.saturating_sub(segment.newest_at_ms) > age);
        let too_much = policy.max_bytes.is_some_and(|max| bytes > max);
        if segment.next > floor || !(too_old || too_much) {
            break;
        }
        bytes -= segment.bytes;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten segments of 100 records and 10 bytes; the newest record of segment n is from n * 1000 ms.
    fn sealed() -> Vec<Candidate> {
        (1..=10).map(|n| Candidate { next: Lsn(n * 100), newest_at_ms: n * 1_000, bytes: 10 }).collect()
    }

    const NONE: Policy = Policy { max_age_ms: None, max_bytes: None };

    #[test]
    fn without_a_policy_everything_stays() {
        assert_eq!(droppable(NONE, &sealed(), 5, Lsn(u64::MAX), u64::MAX), 0);
    }

    #[test]
    fn by_age_only_what_is_wholly_older() {
        let policy = Policy { max_age_ms: Some(2_000), ..NONE };
        assert_eq!(droppable(policy, &sealed(), 5, Lsn(u64::MAX), 5_000), 2);
        assert_eq!(droppable(policy, &sealed(), 5, Lsn(u64::MAX), 0), 0, "a clock that went back drops nothing");
    }

    #[test]
    fn by_size_until_the_rest_fits() {
        let policy = Policy { max_bytes: Some(60), ..NONE };
        assert_eq!(droppable(policy, &sealed(), 5, Lsn(u64::MAX), 0), 5);
        assert_eq!(droppable(policy, &sealed(), 1_000, Lsn(u64::MAX), 0), 10, "the active segment never goes");
    }

    #[test]
    fn never_what_the_owner_still_needs() {
        let policy = Policy { max_age_ms: Some(0), max_bytes: Some(0) };
        assert_eq!(droppable(policy, &sealed(), 5, Lsn(350), u64::MAX), 3);
        assert_eq!(droppable(policy, &sealed(), 5, Lsn(0), u64::MAX), 0);
    }
}
