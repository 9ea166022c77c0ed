//! Another process that claims all logs while this one still runs, as a machine does that others believe dead.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use roomhook_log::Log;
use roomhook_room::RoomKey;
use roomhook_shard::{Config, NodeId, Router, Shards};

use crate::{oracle, store::Store, world::World};

/// Owners that claim what others own.
#[derive(Clone, Default)]
pub(crate) struct Rival(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    called: bool,
    shards: Option<Shards>,
}

impl Rival {
    /// Whether there is one, or will be in a moment.
    pub(crate) fn is_called(&self) -> bool {
        self.0.lock().called
    }

    /// The way to the rival's shards, once it has claimed them.
    pub(crate) fn router(&self) -> Option<Router> {
        self.0.lock().shards.as_ref().map(|shards| shards.router.clone())
    }

    /// Starts it, if there is none yet. It never stops before the world does.
    pub(crate) async fn call(self, world: Arc<World>, store: Store, rooms: Vec<RoomKey>) {
        if std::mem::replace(&mut self.0.lock().called, true) {
            return;
        }
        let store: Arc<dyn Log> = Arc::new(store);
        let clock = world.clock();
        let config = Config { node: NodeId(2), ..world.scenario.shard.clone() };
        let started =
            roomhook_shard::start(store, world.scenario.shards, config, clock, &mut Registry::default()).await;
        match started {
            Ok(shards) => {
                world.count("rival: claims all logs");
                world.note(|| "a rival has claimed all logs".to_owned());
                oracle::same_fold(&world, &shards.router, &rooms).await;
                self.0.lock().shards = Some(shards);
            }
            Err(error) => world.note(|| format!("a rival cannot start: {error:?}")),
        }
    }
}
