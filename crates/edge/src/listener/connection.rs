//! One connection from accept to close.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::Instant,
};

use super::{Config, Door, Peer, head, proxy};
use crate::telemetry::ListenerMetrics;

/// How long a connection may take to end politely (HTTP/2: GOAWAY) once it was found idle.
const GOODBYE: Duration = Duration::from_secs(1);

pub(super) struct Connection<D> {
    pub(super) door: Arc<D>,
    pub(super) config: Arc<Config>,
    pub(super) metrics: ListenerMetrics,
    pub(super) peer: Peer,
    pub(super) stopped: watch::Receiver<bool>,
}

impl<D: Door> Connection<D> {
    pub(super) async fn run(mut self, mut stream: TcpStream) {
        // Answers are small and complete: waiting to fill a packet only adds latency. Failing means the peer is gone.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        if self.config.proxy_protocol && self.peer.is_trusted() && !self.learn_client(&mut stream).await {
            return;
        }
        let Some(tls) = &self.config.tls else {
            return self.serve(stream).await;
        };
        let acceptor = tls.acceptor();
        let mut stopped = self.stopped.clone();
        tokio::select! {
            // Cancel safe in that a half-done handshake is worth nothing to anybody.
            handshake = tokio::time::timeout(self.config.tls_handshake_timeout, acceptor.accept(stream)) => {
                match handshake {
                    Ok(Ok(stream)) => self.serve(stream).await,
                    Ok(Err(error)) => {
                        self.metrics.tls_failed.inc();
                        tracing::debug!(%error, "TLS handshake failed");
                    }
                    Err(_late) => {
                        self.metrics.tls_failed.inc();
                    }
                }
            }
            _ = stopped.changed() => {}
        }
    }

    /// Reads the PROXY header. `false`: there was none to be had, or it is time to stop.
    async fn learn_client(&mut self, stream: &mut TcpStream) -> bool {
        let mut stopped = self.stopped.clone();
        let header = tokio::select! {
            // Cancel safe in that a half-read header is worth nothing to anybody.
            header = tokio::time::timeout(self.config.first_request_timeout, proxy::read(stream)) => header,
            _ = stopped.changed() => return false,
        };
        match header {
            Ok(Ok(client)) => {
                if let Some(client) = client {
                    self.peer.speaks_for(client);
                }
                return true;
            }
            Ok(Err(error)) => {
                tracing::debug!(proxy = %self.peer.addr(), %error, "a trusted proxy's connection was refused")
            }
            Err(_late) => tracing::debug!(proxy = %self.peer.addr(), "a trusted proxy sent no PROXY header in time"),
        }
        self.metrics.proxy_refused.inc();
        false
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Self { door, config, metrics, peer, mut stopped } = self;
        let activity = Arc::new(Activity::default());
        let seen = Arc::clone(&activity);
        let service = service_fn(move |request: Request<Incoming>| {
            let (door, peer, in_work) = (Arc::clone(&door), peer.clone(), InWork::start(&seen));
            async move {
                let response = match head::check(&request) {
                    Ok(()) => door.call(peer, request).await,
                    Err(refusal) => refusal.response(),
                };
                drop(in_work);
                Ok::<_, Infallible>(response)
            }
        });
        let http = http_of(&config);
        let mut connection = pin!(http.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut watchdog = pin!(tokio::time::sleep(config.first_request_timeout));
        let mut requests_seen = 0;
        let mut saying_goodbye = false;
        let mut stopping = *stopped.borrow();
        if stopping {
            connection.as_mut().graceful_shutdown();
        }
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended with an error");
                    }
                    return;
                }
                // Each arm below only looks at state; dropping them loses nothing.
                _ = stopped.changed(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = watchdog.as_mut() => {
                    // One timer per connection, looked at rarely, instead of one per request.
                    if saying_goodbye {
                        return;
                    }
                    let wait = match activity.idle_since(&mut requests_seen) {
                        false => config.idle_timeout,
                        true => {
                            metrics.idle_closed.inc();
                            saying_goodbye = true;
                            connection.as_mut().graceful_shutdown();
                            GOODBYE
                        }
                    };
                    watchdog.as_mut().reset(Instant::now() + wait);
                }
            }
        }
    }
}

fn http_of(config: &Config) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        // The watchdog bounds heads and idling: a timer per request would cost more than parsing its head.
        .header_read_timeout(None)
        // Answers are small: one copy into the buffer of the head is cheaper than a vectored write.
        .writev(false)
        .max_buf_size(config.head_bytes_max.max(8 * 1024))
        .max_headers(config.headers_max);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams_max)
        .max_header_list_size(u32::try_from(config.head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

/// What the watchdog needs to know of a connection.
#[derive(Default)]
struct Activity {
    /// Requests begun so far.
    begun: AtomicU64,
    /// Requests ended so far; equal to `begun` when none is in work.
    ended: AtomicU64,
}

impl Activity {
    /// Whether nothing is in work and nothing was begun since the last look.
    fn idle_since(&self, begun_then: &mut u64) -> bool {
        let ended = self.ended.load(Ordering::Relaxed);
        let begun = self.begun.load(Ordering::Relaxed);
        begun == ended && begun == std::mem::replace(begun_then, begun)
    }
}

struct InWork(Arc<Activity>);

impl InWork {
    fn start(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}
