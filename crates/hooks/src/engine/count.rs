//! Counters that are changed in many places and must add up.

/// Takes from a counter what it must hold.
///
/// If it does not hold that much, something was counted wrong before, and this endpoint's numbers and limits are off by it from
/// here on. That is for a person to see; but deliveries go on, for which the counters are no more than a bound. A counter
/// that went round would be none: nothing would ever fit again.
pub(super) fn take(counter: &mut usize, count: usize, of: &'static str) {
    match counter.checked_sub(count) {
        Some(left) => *counter = left,
        None => {
            debug_assert!(false, "{of}: {count} taken from {counter}");
            tracing::error!(of, count, held = *counter, "a counter of webhooks does not add up: please report this");
            *counter = 0;
        }
    }
}
