//! What the operator sets for all endpoints.

use std::{num::NonZeroUsize, time::Duration};

use roomhook_room::Order;

use crate::{engine::Limits, http::IpNet, retry::RetryPolicy};

/// See each field; the defaults are those of design §6.
#[derive(Clone, Debug)]
pub struct Config {
    /// For the whole exchange of one attempt.
    pub timeout: Duration,
    /// Attempts in flight per endpoint, which is also the number of connections it may get.
    pub concurrency: NonZeroUsize,
    pub order: Order,
    pub retry: RetryPolicy,
    /// How long a delivery that fails alone holds its room at most.
    pub hold: Duration,
    /// Deliveries per second to an endpoint that was down; 0 = as fast as it answers.
    pub catch_up_per_s: u32,
    /// Longest time between a settled delivery and the cursor that knows of it.
    pub checkpoint_every: Duration,
    /// How long an idle connection is kept.
    pub idle: Duration,
    pub limits: Limits,
    /// What the jitter of retries is drawn from. Should differ between processes, so that those that failed together do
    /// not come back together.
    pub jitter_seed: u64,
    /// Address ranges that endpoints may use although they are not public.
    pub allow: Vec<IpNet>,
    /// HTTP/2 over TLS where an endpoint offers it. Without, HTTP/1.1 everywhere.
    pub http2: bool,
    /// Certificates (PEM) trusted for all endpoints, beside the system's.
    pub extra_roots_pem: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            concurrency: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN),
            order: Order::Room,
            retry: RetryPolicy::default(),
            hold: Duration::from_secs(30),
            catch_up_per_s: 20_000,
            checkpoint_every: Duration::from_millis(200),
            idle: Duration::from_secs(30),
            limits: Limits::default(),
            jitter_seed: 0,
            allow: Vec::new(),
            http2: true,
            extra_roots_pem: String::new(),
        }
    }
}
