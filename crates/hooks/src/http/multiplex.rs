//! HTTP/2: connections that the senders of one target share, a bounded number of streams on each.
//!
//! Whether an endpoint speaks it is known after the first TLS handshake (ALPN). Until then, and while no connection has a
//! stream left, one sender connects and the others wait for it, so that a burst does not open a connection each.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle};

use super::{
    answer::{BODY_BYTES_MAX, HEAD_BYTES_MAX},
    stream::Stream,
};

/// ALPN names.
pub(crate) const H2: &[u8] = b"h2";
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";
/// Streams on one connection, if the endpoint allows that many: a lost connection takes no more attempts with it.
const STREAMS_MAX: usize = 32;
/// What an endpoint may send on one connection before it is read: all its streams together.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// The shared connections to one target. They live as long as a sender keeps one.
#[derive(Debug, Default)]
pub struct Multiplex {
    links: Mutex<Vec<Weak<Link>>>,
    /// Held while connecting.
    pub(crate) connecting: tokio::sync::Mutex<()>,
    /// The newest handshake chose HTTP/1.1, where everybody has a connection of their own.
    single: AtomicBool,
}

/// One connection.
pub(crate) struct Link {
    sender: SendRequest<Full<Bytes>>,
    streams: AtomicUsize,
    streams_max: Arc<AtomicUsize>,
    /// No new streams: it was silent, or broke.
    retired: AtomicBool,
    ended: watch::Receiver<()>,
    driver: AbortHandle,
}

/// A stream's place on a connection.
#[derive(Debug)]
pub(crate) struct Lease(pub(crate) Arc<Link>);

impl Multiplex {
    /// Whether everybody connects on their own.
    pub(crate) fn is_single(&self) -> bool {
        self.single.load(Ordering::Acquire)
    }

    pub(crate) fn set_single(&self, single: bool) {
        self.single.store(single, Ordering::Release);
    }

    /// A place on a connection that has one.
    pub(crate) fn lease(&self) -> Option<Lease> {
        let mut links = self.links.lock();
        links.retain(|link| link.upgrade().is_some_and(|link| link.is_usable()));
        links.iter().filter_map(Weak::upgrade).find_map(|link| link.lease())
    }

    pub(crate) fn add(&self, link: &Arc<Link>) {
        self.links.lock().push(Arc::downgrade(link));
    }
}

impl Link {
    /// Speaks HTTP/2 on a connection that agreed to it.
    pub(crate) async fn open(stream: Stream) -> hyper::Result<Arc<Self>> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            // Until the endpoint has said how many it allows; more wait meanwhile instead of being refused.
            .initial_max_send_streams(1)
            .initial_stream_window_size(BODY_BYTES_MAX as u32)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .header_table_size(4_096)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await?;
        let streams_max = Arc::new(AtomicUsize::new(STREAMS_MAX));
        let (end, ended) = watch::channel(());
        let allowed = streams_max.clone();
        // Aborted when the last user lets go of the link. How it ended is told to those whose streams it had.
        let task = tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            std::future::poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                // One is what it allows before it has said anything; should it mean that, streams wait for each other.
                let said = connection.current_max_send_streams();
                allowed.store(if said > 1 { said.min(STREAMS_MAX) } else { STREAMS_MAX }, Ordering::Release);
                match polled {
                    Poll::Ready(_) => Poll::Ready(()),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
            drop(end);
        });
        let (streams, retired, driver) = (AtomicUsize::new(0), AtomicBool::new(false), task.abort_handle());
        Ok(Arc::new(Self { sender, streams, streams_max, retired, ended, driver }))
    }

    pub(crate) fn sender(&self) -> SendRequest<Full<Bytes>> {
        self.sender.clone()
    }

    pub(crate) fn is_usable(&self) -> bool {
        !self.retired.load(Ordering::Acquire) && !self.sender.is_closed()
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// A place for one more stream, if there is one.
    pub(crate) fn lease(self: &Arc<Self>) -> Option<Lease> {
        // An endpoint that allows no streams at all is asked one at a time; it refuses or the attempt's time runs out.
        let max = self.streams_max.load(Ordering::Acquire).max(1);
        let more = |streams: usize| (streams < max).then_some(streams + 1);
        let taken = self.is_usable() && self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        taken.then(|| Lease(self.clone()))
    }

    /// Ends with the connection. Cancel safe.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("streams", &self.streams).field("retired", &self.retired).finish_non_exhaustive()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether the endpoint did nothing with the request: it said so, by refusing the stream or by closing the connection in
/// good order before it.
pub(crate) fn is_untouched(error: &hyper::Error) -> bool {
    // hyper says so of a request whose stream still waited to be opened when the connection ended.
    if error.is_user() {
        return true;
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<h2::Error>() {
            let refused = cause.reason() == Some(h2::Reason::REFUSED_STREAM);
            let left = cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR);
            return cause.is_remote() && (refused || left);
        }
        source = cause.source();
    }
    false
}
