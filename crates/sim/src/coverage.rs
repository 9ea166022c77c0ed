//! What happened in a run, counted by name: a simulation in which something never happens proves nothing about it.

use std::{collections::BTreeMap, fmt};

/// Counts of what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

/// What must happen at least once in some thousand seeds. `scripts/test` and the tests hold it against what did.
pub const MUST_HAPPEN: &[&str] = &[
    // How lives end, and where in its work the server dies.
    "end: crash",
    "end: power loss",
    "end: shutdown",
    "end: healed without a restart",
    "end: restarted because it was not ready",
    "end: could not start",
    "crash: while starting",
    "crash: before a claim",
    "crash: after a claim",
    "crash: before an append",
    "crash: within an append",
    "crash: after an append",
    "crash: before a trim",
    "crash: before rows are put",
    "crash: after rows were put",
    "crash: reading records",
    "crash: before a request",
    "crash: request on its way",
    "crash: before an answer is told",
    "crash: change of an endpoint under way",
    "crash: change of an endpoint just made",
    "crash: while endpoints are paused",
    "crash: while deliveries are set aside",
    "crash: while the before-send gate asks",
    // The store.
    "claim: fails",
    "claim: fails and holds",
    "append: is slow",
    "append: Full",
    "append: Refused",
    "append: Fenced",
    "append: Poisoned",
    "append: Ambiguous, nothing written",
    "append: Ambiguous, a part written",
    "append: Ambiguous, all written",
    "rows: put fails",
    "rows: put fails and holds",
    "rows: put is slow",
    "rows: lost with the power",
    "rows: come back older",
    "rows: put is fenced",
    "read: fails",
    "retention: may drop records",
    "retention: drops records",
    "retention: drops what is owed and not delivered",
    "rival: claims all logs",
    "rival: sends a message",
    "rival: the old owner is fenced",
    "owner: is told to take its log again",
    "owner: loses its log, or takes it again",
    "clock: steps back",
    "clock: steps forth",
    // Senders.
    "answer: sent",
    "answer: repeats",
    "answer: dropped by rate",
    "answer: rejected",
    "answer: busy",
    "answer: unavailable",
    "answer: unknown",
    "sender: says something else under the same Random",
    "sender: says many things at once",
    "apart: a quiet room beside a hot one",
    // The before-send gate.
    "gate: asks",
    "gate: asks in shadow",
    "gate: allows",
    "gate: replaces",
    "gate: refuses",
    "gate: discards",
    "gate: gets no verdict",
    "gate: passes what is undecided",
    "gate: drops what is undecided",
    "gate: refuses a flood",
    "gate: a repeat is not asked about",
    "gate: reports a message that was not sent",
    // Endpoints as operators change them.
    "endpoint: is made",
    "endpoint: is made anew",
    "endpoint: is deleted",
    "endpoint: moves",
    "endpoint: commands change",
    "endpoint: filter changes",
    "endpoint: order changes",
    "endpoint: retries change",
    "endpoint: concurrency changes",
    "endpoint: loses its URL",
    "endpoint: gets a URL again",
    "endpoint: paused by hand",
    "endpoint: goes on by hand",
    // Deliveries.
    "request: arrives",
    "request: arrives again",
    "request: is about one set aside",
    "receiver: Slow",
    "receiver: Dead",
    "receiver: Hanging",
    "receiver: Late",
    "receiver: Failing",
    "receiver: Busy",
    "receiver: Wrong",
    "receiver: Missing",
    "receiver: Resetting",
    "receiver: stumbles over poison",
    "hooks: an endpoint is paused",
    "hooks: an endpoint catches up",
    "hooks: a window is full",
    "hooks: a room is detached",
    "hooks: a delivery is set aside",
    "hooks: a delivery is parked",
    "hooks: a delivery is skipped by policy",
    "hooks: a delivery expires by retention",
    "by hand: a parked one is retried",
    "by hand: one is skipped",
    "by hand: a paused endpoint is resumed",
    // Replays.
    "replay: begins",
    "replay: an event arrives",
    "replay: outlives a restart",
    "replay: ends",
    // Readers.
    "tail: a reader goes on where it was",
    "tail: a reader is told that records are gone",
    "room: a client comes back and catches up",
    "room: a client is told that it missed some",
    "room: a client sees the room made anew",
];

impl Coverage {
    pub(crate) fn count(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }

    /// How often this happened.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, times)| self.count(what, *times));
    }

    /// What of [`MUST_HAPPEN`] never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        MUST_HAPPEN.iter().copied().filter(|what| self.of(what) == 0).collect()
    }
}

/// A line for each, what never happened included.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let never = self.missing().into_iter().map(|what| (what, 0));
        let all: BTreeMap<_, _> = self.0.iter().map(|(what, times)| (*what, *times)).chain(never).collect();
        all.iter().try_for_each(|(what, times)| writeln!(f, "{times:>12}  {what}"))
    }
}
