//! Getting to an endpoint: its name, its addresses, the guard, TCP, TLS, and what to speak.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::Instant};

use super::{
    Phase, SendError, Target,
    channel::{HttpChannel, Way},
    connection::Connection,
    multiplex::{H2, Link},
    reasons::{broken, tls},
    stream::Stream,
};

impl HttpChannel {
    /// Connects, and speaks what TLS agreed to.
    pub(super) async fn connect(&mut self, target: &Arc<Target>) -> Result<Way, SendError> {
        let addresses = self.addresses(target).await?;
        self.phase = Phase::Connecting;
        let started = Instant::now();
        let stream = connect_any(&addresses).await.map_err(|error| SendError::Connect(error.to_string()))?;
        self.phases.connect = started.elapsed();
        // Requests are written in one go; waiting for more to fill a packet would only delay them.
        stream.set_nodelay(true).map_err(|error| SendError::Connect(error.to_string()))?;
        let stream = self.encrypt(target, stream).await?;
        if stream.alpn() == Some(H2) {
            let link = Link::open(stream).await.map_err(|error| broken(&error))?;
            target.multiplex.set_single(false);
            self.phase = Phase::Waiting;
            let takes_streams = link.takes_streams().await;
            let lease = link.lease().filter(|_| takes_streams);
            let lease = lease.ok_or_else(|| SendError::Broken("the connection ended at once".into()))?;
            target.multiplex.add(&link);
            return Ok(self.share(target, lease));
        }
        target.multiplex.set_single(true);
        let connection = Connection::open(target, stream).await.map_err(|error| broken(&error))?;
        Ok(Way::Own(connection))
    }

    /// The addresses that may be connected to. If the name has none that may, the first forbidden one is the reason.
    async fn addresses(&mut self, target: &Target) -> Result<Vec<SocketAddr>, SendError> {
        self.phase = Phase::Resolving;
        let started = Instant::now();
        let host = target.host.trim_start_matches('[').trim_end_matches(']');
        let found = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, target.port)],
            Err(_) => self
                .transport
                .resolver
                .resolve(host, target.port)
                .await
                .map_err(|error| SendError::Resolve { host: host.to_owned(), reason: error.to_string() })?,
        };
        self.phases.dns = started.elapsed();
        let mut refused = None;
        let mut allowed = Vec::with_capacity(found.len());
        for address in found {
            match self.transport.guard.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(range) => refused = refused.or(Some(SendError::NotAllowed { ip: address.ip(), range })),
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(refused)) => Err(refused),
            (true, None) => Err(SendError::Resolve { host: host.to_owned(), reason: "the name has no address".into() }),
        }
    }

    async fn encrypt(&mut self, target: &Target, stream: TcpStream) -> Result<Stream, SendError> {
        let Some(config) = &target.tls else { return Ok(Stream::Plain(stream)) };
        self.phase = Phase::Tls;
        let started = Instant::now();
        let host = target.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| SendError::Tls(error.to_string()))?;
        let connected = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await;
        let stream = connected.map_err(|error| tls(&error))?;
        self.phases.tls = started.elapsed();
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// Tries one address after the other. The request's own deadline bounds the whole.
async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
