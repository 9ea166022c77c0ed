//! Signatures that were verified before, so that inflating and HMAC are not paid per call.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::RwLock;
use roomhook_room::AppId;

use crate::telemetry::AuthMetrics;

/// A power of two, so that the shard is a mask away.
const SHARDS: usize = 16;

/// What an entry costs beside its two strings: map slot, queue slot, allocations.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// Limits of the cache. Full: the least recently useful entry goes (second chance).
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    pub entries_max: usize,
    pub bytes_max: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { entries_max: 65_536, bytes_max: 32 * 1024 * 1024 }
    }
}

/// Verified signatures by (whole string, app, identifier). Only good ones are kept: a flood of bad ones evicts nothing.
pub(super) struct SignatureCache {
    shards: [RwLock<Shard>; SHARDS],
    /// Seeded at start: an outsider cannot choose strings that collide.
    hasher: ahash::RandomState,
    limits: CacheLimits,
    metrics: AuthMetrics,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<u64, Entry, BuildHasherDefault<HashedAlready>>,
    /// Oldest first; each key of `entries` once.
    order: VecDeque<u64>,
    bytes: usize,
}

struct Entry {
    app: AppId,
    identifier: Box<str>,
    usersig: Box<str>,
    /// The key it was verified with. An app whose key changed finds no entry, without anybody having to clear one.
    key: Arc<str>,
    expires_at_secs: u64,
    used: AtomicBool,
}

impl Entry {
    fn size_bytes(&self) -> usize {
        ENTRY_OVERHEAD_BYTES + self.identifier.len() + self.usersig.len()
    }
}

impl SignatureCache {
    pub(super) fn new(limits: CacheLimits, metrics: AuthMetrics) -> Self {
        Self { shards: Default::default(), hasher: ahash::RandomState::new(), limits, metrics }
    }

    /// When the signature expires, if it was verified with this very key before and has not expired yet.
    pub(super) fn get(
        &self,
        key: &Arc<str>,
        app: AppId,
        identifier: &str,
        usersig: &str,
        now_secs: u64,
    ) -> Option<u64> {
        let hash = self.hasher.hash_one((app.0, identifier, usersig));
        let found = {
            let shard = self.shard(hash).read();
            shard.entries.get(&hash).and_then(|entry| {
                let same = entry.app == app
                    && *entry.identifier == *identifier
                    && *entry.usersig == *usersig
                    && (Arc::ptr_eq(&entry.key, key) || entry.key == *key)
                    && now_secs < entry.expires_at_secs;
                // Writing only on a change keeps the line shared among cores.
                if same && !entry.used.load(Ordering::Relaxed) {
                    entry.used.store(true, Ordering::Relaxed);
                }
                same.then_some(entry.expires_at_secs)
            })
        };
        if found.is_some() { &self.metrics.hits } else { &self.metrics.misses }.inc();
        found
    }

    /// Remembers a signature that was just verified.
    pub(super) fn put(&self, key: &Arc<str>, app: AppId, identifier: &str, usersig: &str, expires_at_secs: u64) {
        let hash = self.hasher.hash_one((app.0, identifier, usersig));
        let entry = Entry {
            app,
            identifier: identifier.into(),
            usersig: usersig.into(),
            key: Arc::clone(key),
            expires_at_secs,
            used: AtomicBool::new(false),
        };
        let mut shard = self.shard(hash).write();
        let (entries_before, bytes_before) = (shard.entries.len(), shard.bytes);
        shard.insert(hash, entry);
        shard.evict(self.limits.entries_max.div_ceil(SHARDS), self.limits.bytes_max.div_ceil(SHARDS));
        self.metrics.cache_entries.inc_by(difference(shard.entries.len(), entries_before));
        self.metrics.cache_bytes.inc_by(difference(shard.bytes, bytes_before));
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        // The low bits choose the slot within the map, so the high ones choose the shard. In bounds by the mask.
        &self.shards[(hash >> 60) as usize & (SHARDS - 1)]
    }
}

impl fmt::Debug for SignatureCache {
    /// Signatures are secrets: none is printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureCache").field("limits", &self.limits).finish_non_exhaustive()
    }
}

fn difference(after: usize, before: usize) -> i64 {
    i64::try_from(after).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX)
}

impl Shard {
    fn insert(&mut self, hash: u64, entry: Entry) {
        self.bytes += entry.size_bytes();
        match self.entries.insert(hash, entry) {
            // The same signature verified again (key changed, expired, raced) or a colliding one: the newest stays.
            Some(old) => self.bytes -= old.size_bytes(),
            None => self.order.push_back(hash),
        }
    }

    /// Second chance: the oldest entry goes unless it was used since it was last looked at.
    fn evict(&mut self, entries_max: usize, bytes_max: usize) {
        // Each pass over the queue clears all marks, so this ends after two passes at the latest.
        while (self.entries.len() > entries_max || self.bytes > bytes_max)
            && let Some(hash) = self.order.pop_front()
        {
            let spared = self.entries.get(&hash).is_some_and(|entry| entry.used.swap(false, Ordering::Relaxed));
            if spared {
                self.order.push_back(hash);
            } else if let Some(entry) = self.entries.remove(&hash) {
                self.bytes -= entry.size_bytes();
            }
        }
    }
}

/// Keys are hashes already: hashing them again buys nothing.
#[derive(Default)]
struct HashedAlready(u64);

impl Hasher for HashedAlready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId(1);

    fn cache(entries_max: usize, bytes_max: usize) -> SignatureCache {
        SignatureCache::new(CacheLimits { entries_max, bytes_max }, AuthMetrics::default())
    }

    fn key(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn a_hit_needs_everything_to_be_the_same() {
        let cache = cache(100, 100_000);
        cache.put(&key("k"), APP, "ann", "sig", 1000);
        assert_eq!(cache.get(&key("k"), APP, "ann", "sig", 999), Some(1000), "an equal key will do");
        assert_eq!(cache.get(&key("k"), APP, "ann", "sig", 1000), None, "expired");
        assert_eq!(cache.get(&key("k2"), APP, "ann", "sig", 999), None, "the app's key changed");
        assert_eq!(cache.get(&key("k"), AppId(2), "ann", "sig", 999), None);
        assert_eq!(cache.get(&key("k"), APP, "bob", "sig", 999), None);
        assert_eq!(cache.get(&key("k"), APP, "ann", "sih", 999), None);
        assert_eq!(cache.metrics.hits.get(), 1);
        assert_eq!(cache.metrics.misses.get(), 5);
    }

    #[test]
    fn it_stays_within_its_limits_and_keeps_what_is_used() {
        let cache = cache(SHARDS * 8, usize::MAX);
        let key = key("k");
        cache.put(&key, APP, "admin", "busy", 1000);
        for round in 0..10_000 {
            assert_eq!(cache.get(&key, APP, "admin", "busy", 1), Some(1000), "round {round}");
            cache.put(&key, APP, "guest", &format!("once {round}"), 1000);
        }
        let (entries, queued): (usize, usize) = cache
            .shards
            .iter()
            .map(|shard| (shard.read().entries.len(), shard.read().order.len()))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert!(entries <= SHARDS * 8);
        assert_eq!(entries, queued);
        assert_eq!(cache.metrics.cache_entries.get(), i64::try_from(entries).unwrap());
    }

    #[test]
    fn it_counts_bytes_too() {
        let cache = cache(usize::MAX, SHARDS * 1000);
        let key = key("k");
        for round in 0..1000 {
            cache.put(&key, APP, "guest", &format!("{round} {}", "x".repeat(500)), 1000);
            cache.put(&key, APP, "guest", "again", round);
        }
        assert!(cache.metrics.cache_bytes.get() <= i64::try_from(SHARDS * 1000).unwrap());
        let counted: usize = cache.shards.iter().map(|shard| shard.read().bytes).sum();
        let real: usize =
            cache.shards.iter().map(|shard| shard.read().entries.values().map(Entry::size_bytes).sum::<usize>()).sum();
        assert_eq!(counted, real);
    }
}
