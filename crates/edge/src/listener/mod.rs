//! The only place that knows sockets: accepts, limits, encrypts, and hands requests to a [`Door`].

mod connection;
mod head;
mod peer;
mod proxy;
mod tls;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use crate::telemetry::ListenerMetrics;

pub use peer::{Cidr, CidrError, Peer};
pub use tls::{Refresh, Tls, TlsError, TlsFiles};

/// What a door answers with: bytes that are there already, or whatever an axum handler streams.
pub type Body = Either<Full<Bytes>, axum::body::Body>;

/// What stands behind a listener.
pub trait Door: Send + Sync + 'static {
    /// Answers one request. The future may be dropped at any time: the client went away.
    fn call(&self, peer: Peer, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// An axum router as a door; handlers find the [`Peer`] among the request's extensions.
impl Door for axum::Router {
    async fn call(&self, peer: Peer, mut request: Request<Incoming>) -> Response<Body> {
        request.extensions_mut().insert(peer);
        match tower::ServiceExt::oneshot(self.clone(), request).await {
            Ok(response) => response.map(Either::Right),
            Err(never) => match never {},
        }
    }
}

/// Limits of a listener. Times are wall clock.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sockets open at a time, upgraded ones included. More wait in the kernel's queue until one closes.
    pub connections_max: usize,
    /// From the accepted connection to the end of its first request's head.
    pub first_request_timeout: Duration,
    /// A connection without a request in work for this long (at most twice this long) is closed. Also bounds the time
    /// for the head of each later request.
    pub idle_timeout: Duration,
    pub tls_handshake_timeout: Duration,
    /// HTTP/1: bytes of a request's head (line and headers); more is answered 431 by the HTTP layer.
    pub head_bytes_max: usize,
    /// HTTP/1: headers of a request.
    pub headers_max: usize,
    /// HTTP/2: requests in work at a time on one connection.
    pub streams_max: u32,
    /// After the stop signal, requests in work get this long to finish.
    pub drain_deadline: Duration,
    pub tls: Option<Arc<Tls>>,
    /// How often certificate files are looked at.
    pub tls_refresh_every: Duration,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[Cidr]>,
    /// Connections from `trusted_proxies` must begin with a PROXY header (version 1 or 2), before TLS; they are closed
    /// when it is missing, malformed or not there within `first_request_timeout`.
    pub proxy_protocol: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            first_request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            tls_handshake_timeout: Duration::from_secs(10),
            head_bytes_max: 16 * 1024,
            headers_max: 64,
            streams_max: 256,
            drain_deadline: Duration::from_secs(10),
            tls: None,
            tls_refresh_every: Duration::from_secs(5),
            trusted_proxies: Arc::new([]),
            proxy_protocol: false,
        }
    }
}

/// How the end of a listener went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy at the drain deadline and were cut.
    pub cut: usize,
}

/// A bound socket that accepts nothing yet. Bind early, so that a taken port stops the start; serve late.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    config: Config,
    metrics: ListenerMetrics,
}

impl Listener {
    /// # Errors
    /// As the operating system says, e.g. that the port is taken.
    pub fn bind(addr: SocketAddr, config: Config, metrics: ListenerMetrics) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        // A reconnect storm fits into the queue; the kernel caps this by net.core.somaxconn.
        let socket = socket.listen(4096)?;
        Ok(Self { socket, config, metrics })
    }

    /// The address bound, with the port the system chose when it was asked for port 0.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` resolves; then accepts no more, lets requests in work finish until the drain deadline, and
    /// returns. Sockets taken over by an HTTP upgrade are their owner's to end.
    ///
    /// Not cancel safe: dropping the future cuts all connections.
    pub async fn serve(self, door: impl Door, stop: impl Future<Output = ()> + Send) -> Drained {
        let Self { socket, config, metrics } = self;
        let door = Arc::new(door);
        let places = Arc::new(Semaphore::new(config.connections_max));
        let (stopping, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        // Aborted with the set when this function returns.
        let mut keepers = JoinSet::new();
        if let Some(tls) = &config.tls {
            keepers.spawn(Arc::clone(tls).keep_fresh(config.tls_refresh_every));
        }
        let config = Arc::new(config);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => report(ended),
                // Cancel safe: a permit taken for a connection that was not accepted yet is given back.
                (place, accepted) = accept(&socket, &places) => match accepted {
                    Ok((stream, addr)) => {
                        metrics.accepted.inc();
                        let slot = peer::Slot::new(place, metrics.open.clone());
                        let peer = Peer::new(addr, Arc::clone(&config.trusted_proxies), slot);
                        let connection = connection::Connection {
                            door: Arc::clone(&door),
                            config: Arc::clone(&config),
                            metrics: metrics.clone(),
                            peer,
                            stopped: stopped.clone(),
                        };
                        tasks.spawn(connection.run(stream));
                    }
                    Err(error) => refused(&error).await,
                },
            }
        }
        drop(socket);
        stopping.send_replace(true);
        drain(tasks, config.drain_deadline).await
    }
}

/// Waits for a place first: a connection over the limit stays in the kernel's queue instead of being accepted and
/// dropped.
async fn accept(
    socket: &TcpListener,
    places: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, io::Result<(TcpStream, SocketAddr)>) {
    let Ok(place) = Arc::clone(places).acquire_owned().await else {
        unreachable!("the listener never closes its semaphore")
    };
    (place, socket.accept().await)
}

/// A failed accept is either the client's doing (gone again: go on) or a lack of descriptors or memory, which only time
/// can heal.
async fn refused(error: &io::Error) {
    let by_client = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    );
    if by_client {
        tracing::debug!(%error, "connection ended before it was accepted");
    } else {
        tracing::error!(%error, "cannot accept connections, trying again in 100 ms");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked; only that connection is lost");
    }
}

async fn drain(mut tasks: JoinSet<()>, deadline: Duration) -> Drained {
    let all_ended = async {
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    };
    let in_time = tokio::time::timeout(deadline, all_ended).await.is_ok();
    let cut = if in_time { 0 } else { tasks.len() };
    tasks.shutdown().await;
    if cut > 0 {
        tracing::warn!(cut, "connections were still busy at the drain deadline");
    }
    Drained { cut }
}
