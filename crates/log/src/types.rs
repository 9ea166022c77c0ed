//! Positions and records.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;

/// Which log: one per shard, and [`LogId::DIRECTORY`] for app-wide facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u16);

impl LogId {
    /// The log of app-wide facts (accounts, endpoints, app settings).
    pub const DIRECTORY: Self = Self(u16::MAX);
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::DIRECTORY { f.write_str("directory") } else { self.0.fmt(f) }
    }
}

/// Position of a record in its log: dense, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The position of the first record a log ever holds.
    pub const FIRST: Self = Self(1);

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a writer's reign over a log; every claim raises it.
///
/// The upper half counts how often the log lost its end: because its machine stopped before what was acknowledged was on the disk, or
/// because it is a backup's. Positions are used again then, so whoever hands out a name for a position must make it another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// How often the log lost its end before this reign.
    #[must_use]
    pub const fn losses(self) -> u32 {
        // The upper half of 64 bits has 32.
        (self.0 >> 32) as u32
    }

    /// The reign after one more loss, before anybody claimed the log.
    #[must_use]
    pub const fn after_loss(self) -> Self {
        Self(((self.0 >> 32) + 1) << 32)
    }

    /// What a claim makes of it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Claims since the last loss.
    #[must_use]
    pub const fn claims(self) -> u32 {
        // The lower half.
        (self.0 & 0xffff_ffff) as u32
    }
}

/// Claims; where there were losses, their number comes first: `2.7`.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.losses() {
            0 => self.claims().fmt(f),
            losses => write!(f, "{losses}.{}", self.claims()),
        }
    }
}

/// Which process claims a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub u64);

/// How a process owns a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    /// The epoch under which it may write.
    pub epoch: Epoch,
    /// The epoch of its first claim. Nobody else wrote since, so whatever was read of the log's rows since is still true.
    pub since: Epoch,
}

/// Which logs a process owns. Whoever writes beside their owners (webhooks) watches it.
pub type Reigns = BTreeMap<LogId, Reign>;

/// What whoever claims a log takes for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: the log is taken, whoever has it.
    Anyone,
    /// Nobody has claimed the log since this epoch. So an owner that is in doubt comes back, and never robs its successor.
    Epoch(Epoch),
}

/// What a record is about (a room, for shards). At most [`Key::BYTES_MAX`] bytes. The empty key marks the log's own
/// records (claims), which are read like any other and ignored by folds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub Bytes);

impl Key {
    pub const BYTES_MAX: usize = 256;

    /// The key of the log's own records.
    pub const CLAIMS: Self = Self(Bytes::new());
}

/// One command's outcome, about to be appended.
#[derive(Clone, Debug)]
pub struct NewRecord {
    pub key: Key,
    /// Unix milliseconds of the decision: what retention by age and cursors by time go by.
    pub at_ms: u64,
    pub payload: Bytes,
}

/// One command's outcome, durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub lsn: Lsn,
    pub epoch: Epoch,
    pub key: Key,
    pub at_ms: u64,
    pub payload: Bytes,
}

impl NewRecord {
    /// The record that begins an epoch of `who`.
    #[must_use]
    pub fn claim(who: NodeId, at_ms: u64) -> Self {
        Self { key: Key::CLAIMS, at_ms, payload: Bytes::copy_from_slice(&who.0.to_be_bytes()) }
    }
}

impl Record {
    /// Who claimed the log with this record; `None` for any other one.
    #[must_use]
    pub fn claimant(&self) -> Option<NodeId> {
        let who = <[u8; 8]>::try_from(&self.payload[..]).ok()?;
        self.key.0.is_empty().then_some(NodeId(u64::from_be_bytes(who)))
    }
}

/// A small durable value beside a log. `value: None` deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// What can be read: `first..next`. `first == next` when nothing can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub first: Lsn,
    pub next: Lsn,
    /// Of the newest claim, or of the loss after it.
    pub epoch: Epoch,
}
