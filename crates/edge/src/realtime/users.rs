//! Which connections a user has in this process.

use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;
use roomhook_room::{AppId, UserId};

use super::{conn::Conn, encode::Frames, outbox::Kind, session::Denied};

/// A power of two, so that the shard is a mask away.
const SHARDS: usize = 16;

type Shard = Mutex<AHashMap<(AppId, UserId), Vec<Arc<Conn>>>>;

#[derive(Debug, Default)]
pub(crate) struct Users {
    shards: [Shard; SHARDS],
    hasher: ahash::RandomState,
}

impl Users {
    /// Counts an identified connection in.
    ///
    /// # Errors
    /// [`Denied::TooManyConnections`] when its user has `max` already.
    pub(crate) fn add(&self, conn: &Arc<Conn>, max: usize) -> Result<(), Denied> {
        let (Some(app), Some(user)) = (conn.app(), conn.user()) else { return Err(Denied::Unavailable) };
        let mut shard = self.shard(app, user).lock();
        let connections = shard.entry((app, user.clone())).or_default();
        if connections.len() >= max {
            return Err(Denied::TooManyConnections);
        }
        connections.push(Arc::clone(conn));
        Ok(())
    }

    /// Forgets a connection, whether it was counted or not.
    pub(crate) fn remove(&self, conn: &Conn) {
        let (Some(app), Some(user)) = (conn.app(), conn.user()) else { return };
        let mut shard = self.shard(app, user).lock();
        let key = (app, user.clone());
        if let Some(connections) = shard.get_mut(&key) {
            connections.retain(|other| other.id() != conn.id());
            if connections.is_empty() {
                shard.remove(&key);
            }
        }
    }

    /// Sends a notice to all connections of a user. Returns how many there are.
    pub(crate) fn notify(&self, app: AppId, user: &UserId, frames: &Frames) -> usize {
        let shard = self.shard(app, user).lock();
        let connections = shard.get(&(app, user.clone())).map(Vec::as_slice).unwrap_or_default();
        for conn in connections {
            conn.outbox().send(frames.get(conn.form()), Kind::Owed);
        }
        connections.len()
    }

    /// Closes all connections of a user. Returns how many there were.
    pub(crate) fn disconnect(&self, app: AppId, user: &UserId, code: u16, reason: &str) -> usize {
        let shard = self.shard(app, user).lock();
        let connections = shard.get(&(app, user.clone())).map(Vec::as_slice).unwrap_or_default();
        connections.iter().for_each(|conn| conn.outbox().close(code, reason));
        connections.len()
    }

    fn shard(&self, app: AppId, user: &UserId) -> &Shard {
        // In bounds by the mask.
        &self.shards[self.hasher.hash_one((app, user)) as usize & (SHARDS - 1)]
    }
}
