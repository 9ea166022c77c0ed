//! Whether an operation happens: the power can fail before one, and one can fail by itself. Counts what changes something, or makes it
//! stay. Pure.

/// What an operation does, as far as failing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Write,
    Sync,
    /// Names, lengths.
    Else,
}

/// What the system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// EIO.
    Broken,
    /// ENOSPC.
    Full,
}

/// Which operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from now on; the first one is 0.
    pub at: u64,
    pub failure: Failure,
    /// All later ones fail as well.
    pub stays: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Happens,
    Fails(Failure),
    /// There is no power.
    Off,
}

/// The power, and what is wrong with the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Power {
    /// Operations so far.
    pub(super) count: u64,
    pub(super) cut_at: Option<u64>,
    pub(super) fault: Option<Fault>,
    /// What failed for the fault's sake.
    pub(super) failed: u64,
    pub(super) is_off: bool,
}

impl Power {
    pub(super) fn judge(&mut self, doing: Doing) -> Verdict {
        if self.is_off || self.cut_at == Some(self.count) {
            self.is_off = true;
            return Verdict::Off;
        }
        let count = self.count;
        self.count += 1;
        let Some(fault) = self.fault else { return Verdict::Happens };
        // A full disk takes what it has promised a place to; it is writes and new names that fail.
        let is_hit = (count == fault.at || (fault.stays && count > fault.at))
            && (fault.failure == Failure::Broken || doing != Doing::Sync || !fault.stays);
        if is_hit {
            self.failed += 1;
            return Verdict::Fails(fault.failure);
        }
        Verdict::Happens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_fails_once_and_stays_away() {
        let mut power = Power { cut_at: Some(2), ..Power::default() };
        let verdicts = [Doing::Write, Doing::Sync, Doing::Write, Doing::Else].map(|doing| power.judge(doing));
        assert_eq!(verdicts, [Verdict::Happens, Verdict::Happens, Verdict::Off, Verdict::Off]);
    }

    #[test]
    fn an_operation_fails_alone_or_with_all_that_follow() {
        let broken = Verdict::Fails(Failure::Broken);
        for (stays, third) in [(false, Verdict::Happens), (true, broken)] {
            let fault = Some(Fault { at: 1, failure: Failure::Broken, stays });
            let mut power = Power { fault, ..Power::default() };
            let verdicts = [Doing::Write, Doing::Sync, Doing::Sync].map(|doing| power.judge(doing));
            assert_eq!(verdicts, [Verdict::Happens, broken, third]);
        }
    }
}
