//! From a host name to addresses. A trait, so that tests can change the answer under the guard's eyes.

use std::{fmt, io, net::SocketAddr};

use async_trait::async_trait;

/// Looks up host names.
#[async_trait]
pub trait Resolve: Send + Sync + fmt::Debug {
    /// All addresses of a host, best first.
    ///
    /// # Errors
    /// When the name has none, or nobody could be asked. Cancel safe.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Asks the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}
