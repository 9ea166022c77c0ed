//! What others may ask of running webhooks.

use roomhook_room::UnixMillis;

use crate::{
    engine::Summary,
    shared::World,
    supervisor::{EndpointName, Roster},
    trail::Attempt,
};

/// Asks and steers running webhooks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    roster: Roster,
    world: World,
}

/// How one endpoint is doing.
#[derive(Clone, Debug)]
pub struct Status {
    pub name: EndpointName,
    pub summary: Summary,
    /// Age of the oldest pending event that is known; zero when nothing is pending.
    pub lag_ms: u64,
    /// The newest failure, if any is remembered.
    pub last_failure: Option<Attempt>,
}

impl Handle {
    pub(crate) fn new(roster: Roster, world: World) -> Self {
        Self { roster, world }
    }

    /// Every running endpoint, in order of app and id.
    pub fn status(&self) -> Vec<Status> {
        let now = (self.world.clock)();
        self.roster.read().iter().map(|(name, shared)| status(name, shared, now)).collect()
    }
}

fn status(name: &EndpointName, shared: &crate::shared::Shared, now: UnixMillis) -> Status {
    let core = shared.core();
    let summary = core.engine.summary();
    Status {
        name: name.clone(),
        lag_ms: summary.oldest_pending_at.map_or(0, |at| now.0.saturating_sub(at)),
        summary,
        last_failure: core.trail.failures().next().cloned(),
    }
}
