//! What every door is given: handles to the engine, the apps, time and randomness.

use std::{fmt, sync::Arc};

use roomhook_room::UnixMillis;
use roomhook_shard::{Clock, Directory, Router};

use crate::{apps::Apps, auth::Authenticator, publish::Publisher};

/// Handles that doors share. Made once by the binary.
#[derive(Clone)]
pub struct Services {
    pub router: Router,
    pub directory: Directory,
    pub apps: Arc<Apps>,
    pub authenticator: Arc<Authenticator>,
    pub publisher: Publisher,
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Services {
    /// The time of a request.
    pub fn now(&self) -> UnixMillis {
        (self.clock)()
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("apps", &self.apps).finish_non_exhaustive()
    }
}

/// Where doors get random numbers from: message randoms, request ids, incarnations. None of these is a secret.
#[derive(Clone)]
pub struct Entropy(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Entropy {
    /// From any source of well-mixed 64-bit numbers; tests pass a counter or a seeded generator.
    pub fn new(source: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// A fast generator per thread, seeded by the operating system.
    pub fn of_this_process() -> Self {
        Self::new(|| fastrand::u64(..))
    }

    pub(crate) fn draw(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
