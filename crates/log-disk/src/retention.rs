//! Which segments may go. Pure: facts in, a number out.

/// What is known of a segment that is no longer written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) newest_at_ms: u64,
    pub(crate) bytes: u64,
    /// Some owner, or a mirror that has to be made anew, would miss it.
    pub(crate) is_needed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) max_age_ms: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
}

/// Number of oldest segments to drop: those too old or too much, up to the first one that is still needed.
/// `sealed` are all segments but the one that is written to, oldest first.
pub(crate) fn droppable(policy: Policy, sealed: &[Candidate], active_bytes: u64, now_ms: u64) -> usize {
    let mut bytes = active_bytes + sealed.iter().map(|segment| segment.bytes).sum::<u64>();
    let mut count = 0;
    for segment in sealed {
        let too_old = policy.max_age_ms.is_some_and(|age| now_ms.saturating_sub(segment.newest_at_ms) > age);
        let too_much = policy.max_bytes.is_some_and(|max| bytes > max);
        if segment.is_needed || !(too_old || too_much) {
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

    /// Ten segments of 10 bytes; the newest record of segment n is from n * 1000 ms, and from number `needed` on they are needed.
    fn sealed(needed: u64) -> Vec<Candidate> {
        (1..=10).map(|n| Candidate { newest_at_ms: n * 1_000, bytes: 10, is_needed: n >= needed }).collect()
    }

    const NONE: Policy = Policy { max_age_ms: None, max_bytes: None };

    #[test]
    fn without_a_policy_everything_stays() {
        assert_eq!(droppable(NONE, &sealed(99), 5, u64::MAX), 0);
    }

    #[test]
    fn by_age_only_what_is_wholly_older() {
        let policy = Policy { max_age_ms: Some(2_000), ..NONE };
        assert_eq!(droppable(policy, &sealed(99), 5, 5_000), 2);
        assert_eq!(droppable(policy, &sealed(99), 5, 0), 0, "a clock that went back drops nothing");
    }

    #[test]
    fn by_size_until_the_rest_fits() {
        let policy = Policy { max_bytes: Some(60), ..NONE };
        assert_eq!(droppable(policy, &sealed(99), 5, 0), 5);
        assert_eq!(droppable(policy, &sealed(99), 1_000, 0), 10, "the active segment never goes");
    }

    #[test]
    fn never_what_is_still_needed() {
        let policy = Policy { max_age_ms: Some(0), max_bytes: Some(0) };
        assert_eq!(droppable(policy, &sealed(4), 5, u64::MAX), 3);
        assert_eq!(droppable(policy, &sealed(1), 5, u64::MAX), 0);
    }
}
