//! HTTP/2: connections that the senders of one target share, a bounded number of streams on each.
//!
//! Whether an endpoint speaks it is known after the first TLS handshake (ALPN). Until then, and while no connection has a
//! stream left, as many senders connect as those who wait need, so that a burst does not open a connection each. A request
//! is put on a connection only when the endpoint has said that it takes one more there: one that waits behind others would
//! use up its time although the endpoint is well.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    io,
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, futures::Notified, watch},
    task::AbortHandle,
};

use super::{
    answer::{BODY_BYTES_MAX, HEAD_BYTES_MAX},
    meter::{Meter, Metered},
    stream::Stream,
};

/// ALPN names.
pub(crate) const H2: &[u8] = b"h2";
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";
/// Streams on one connection, if the endpoint allows that many: a lost connection takes no more attempts with it.
const STREAMS_MAX: usize = 32;
/// Stands for what the endpoint allows as long as it has not said it. Not a number that it could say.
const UNSAID: usize = usize::MAX - 1;
/// What an endpoint may send on one connection before it is read: all its streams together.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What it may send between two answers: more than all streams' answers at their largest.
const UNASKED_BYTES_MAX: usize = 4 << 20;

/// The shared connections to one target. They live as long as a sender keeps one.
#[derive(Debug, Default)]
pub struct Multiplex {
    links: Mutex<Vec<Weak<Link>>>,
    queue: Mutex<Queue>,
    /// Somebody has connected, or could not.
    connected: Notify,
    /// The newest handshake chose HTTP/1.1, where everybody has a connection of their own.
    single: AtomicBool,
}

/// Senders without a place.
#[derive(Debug)]
struct Queue {
    /// All of them, those that are connecting included.
    waiting: usize,
    connecting: usize,
    /// Streams that the newest connection took.
    places: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { waiting: 0, connecting: 0, places: STREAMS_MAX }
    }
}

/// One who waits for a place.
pub(crate) struct Waiting<'a>(&'a Multiplex);

/// The right to connect.
pub(crate) struct Turn<'a>(&'a Multiplex);

/// One connection.
pub(crate) struct Link {
    sender: SendRequest<Full<Bytes>>,
    streams: AtomicUsize,
    /// Streams that it takes at once, as the endpoint said; `None` until it has. Closed with the connection.
    allowed: watch::Receiver<Option<usize>>,
    /// No new streams: it was silent, or broke.
    retired: AtomicBool,
    /// A whole answer came over it: it was good once.
    has_answered: AtomicBool,
    driver: AbortHandle,
    meter: Arc<Meter>,
}

/// hyper reads a connection in a task of its own. Until the endpoint has said how many streams it takes, whoever waits for
/// that is told whenever something was read.
#[derive(Debug, Default)]
struct News {
    read: Notify,
    is_settled: AtomicBool,
}

/// Starts hyper's tasks.
#[derive(Clone, Debug)]
struct Spawn(Arc<News>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, task: F) {
        let news = self.0.clone();
        // It ends with the connection, or when nobody has a sender any more.
        tokio::spawn(async move {
            let mut task = pin!(task);
            poll_fn(|cx| {
                let polled = task.as_mut().poll(cx);
                if !news.is_settled.load(Ordering::Acquire) {
                    news.read.notify_one();
                }
                polled
            })
            .await;
        });
    }
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

    /// A place in the queue of those who wait for a connection.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.queue.lock().waiting += 1;
        Waiting(self)
    }

    /// Ends when somebody has connected, or could not, after this was called. Cancel safe.
    pub(crate) fn connected(&self) -> Notified<'_> {
        self.connected.notified()
    }

    pub(crate) fn add(&self, link: &Arc<Link>) {
        self.queue.lock().places = link.allowed().max(1);
        self.links.lock().push(Arc::downgrade(link));
    }
}

impl<'a> Waiting<'a> {
    /// The right to connect, if those who are connecting will not have enough places for all.
    pub(crate) fn turn(&self) -> Option<Turn<'a>> {
        let mut queue = self.0.queue.lock();
        let due = queue.connecting.saturating_mul(queue.places) < queue.waiting;
        queue.connecting += usize::from(due);
        due.then(|| Turn(self.0))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().waiting -= 1;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().connecting -= 1;
        self.0.connected.notify_waiters();
    }
}

impl Link {
    /// Speaks HTTP/2 on a connection that agreed to it.
    pub(crate) async fn open(stream: Stream) -> hyper::Result<Arc<Self>> {
        let news = Arc::new(News::default());
        let meter = Meter::new(UNASKED_BYTES_MAX);
        let (sender, connection) = http2::Builder::new(Spawn(news.clone()))
            .initial_max_send_streams(UNSAID)
            .initial_stream_window_size(BODY_BYTES_MAX as u32)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .header_table_size(4_096)
            .handshake::<_, Full<Bytes>>(TokioIo::new(Metered::new(stream, meter.clone())))
            .await?;
        let (says, allowed) = watch::channel(None);
        // Aborted when the last user lets go of the link. How it ended is told to those whose streams it had.
        let task = tokio::spawn(async move {
            let mut connection = pin!(connection);
            let mut read = pin!(news.read.notified());
            poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                while read.as_mut().poll(cx).is_ready() {
                    read.set(news.read.notified());
                }
                // What it says later is noticed with the next request.
                let said = Some(connection.current_max_send_streams()).filter(|said| *said != UNSAID);
                news.is_settled.store(said.is_some(), Ordering::Release);
                says.send_if_modified(|allowed| std::mem::replace(allowed, said) != said);
                match polled {
                    Poll::Ready(_) => Poll::Ready(()),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
        });
        let (streams, driver) = (AtomicUsize::new(0), task.abort_handle());
        let (retired, has_answered) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Arc::new(Self { sender, streams, allowed, retired, has_answered, driver, meter }))
    }

    /// One of its streams has its answer.
    pub(crate) fn answered(&self) {
        self.has_answered.store(true, Ordering::Release);
        self.meter.answered();
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Acquire)
    }

    /// Waits until the endpoint takes streams on this connection: it says so first of all. False when the connection
    /// ended before. Cancel safe.
    pub(crate) async fn takes_streams(&self) -> bool {
        self.allowed.clone().wait_for(|allowed| allowed.is_some_and(|streams| streams > 0)).await.is_ok()
    }

    fn allowed(&self) -> usize {
        self.allowed.borrow().unwrap_or(0).min(STREAMS_MAX)
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
        let max = self.allowed();
        let more = |streams: usize| (streams < max).then_some(streams + 1);
        let taken = self.is_usable() && self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        taken.then(|| Lease(self.clone()))
    }

    /// Ends with the connection. Cancel safe.
    pub(crate) async fn ended(&self) {
        let mut allowed = self.allowed.clone();
        while allowed.changed().await.is_ok() {}
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
    cause_of(error, |cause: &h2::Error| {
        let refused = cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        let left = cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR);
        cause.is_remote() && (refused || left)
    })
}

/// Whether the other side ended the connection itself, without a word about this stream.
pub(crate) fn is_cut(error: &hyper::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    cause_of(error, |cause: &io::Error| {
        matches!(cause.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
    })
}

/// What the first cause of this type says.
fn cause_of<E: Error + 'static>(error: &hyper::Error, says: impl FnOnce(&E) -> bool) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref() {
            return says(cause);
        }
        source = cause.source();
    }
    false
}
