//! What comes from an endpoint: how much we put up with beside answers, and what is acknowledged at once.
//!
//! Headers, bodies and frames have limits each. Interim answers, empty frames, settings and pings have none: an endpoint
//! that sends those without end would keep us busy, and fill what lies between the task that reads them and the task that
//! waits for an answer.
//!
//! Many receivers write the head and the body of an answer apart and leave Nagle's algorithm on: then their kernel holds the
//! body back until ours has acknowledged the head, and ours waits 40 ms for something to send along with that. So whoever
//! waits for the rest of an answer has what came of it acknowledged. Answers that come in one piece cost nothing.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Wire;

/// Read at a stretch, before other tasks get their turn: those that use up what was read.
const STRETCH_BYTES: usize = 64 * 1024;

/// Counts what came since the last answer.
#[derive(Debug)]
pub(crate) struct Meter {
    unasked: AtomicUsize,
    max: usize,
    /// Whether the last read found nothing more.
    is_drained: AtomicBool,
    /// Of what came, so much is acknowledged, or will be with the next read.
    acknowledged: AtomicUsize,
    is_acknowledging: AtomicBool,
}

impl Meter {
    /// `max`: more than all answers that can be on their way have together.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let (unasked, acknowledged) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (is_drained, is_acknowledging) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { unasked, max, is_drained, acknowledged, is_acknowledging })
    }

    /// An answer is complete, or awaited from now on.
    pub(crate) fn answered(&self) {
        self.unasked.store(0, Ordering::Relaxed);
        self.acknowledged.store(0, Ordering::Relaxed);
    }

    /// Whether nothing came since then.
    pub(crate) fn is_silent(&self) -> bool {
        self.unasked.load(Ordering::Relaxed) == 0
    }

    /// For whoever waits for the rest of an answer: true when something came that is not acknowledged, and nothing more is
    /// there. It will be with the next read, so let the connection read once more.
    pub(crate) fn acknowledge(&self) -> bool {
        let came = self.unasked.load(Ordering::Relaxed);
        let is_due = self.is_drained.load(Ordering::Relaxed) && came > self.acknowledged.load(Ordering::Relaxed);
        if is_due {
            self.acknowledged.store(came, Ordering::Relaxed);
            self.is_acknowledging.store(true, Ordering::Relaxed);
        }
        is_due
    }

    fn count(&self, bytes: usize) -> io::Result<()> {
        if self.unasked.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.max {
            return Ok(());
        }
        Err(io::Error::other(format!("the endpoint sent more than {} bytes and no answer", self.max)))
    }
}

/// A connection whose other end is metered.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    stretch: usize,
}

impl<S> Metered<S> {
    pub(crate) fn new(stream: S, meter: Arc<Meter>) -> Self {
        Self { stream, meter, stretch: 0 }
    }
}

impl<S: Wire> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.stretch >= STRETCH_BYTES {
            this.stretch = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.meter.is_acknowledging.load(Ordering::Relaxed) {
            this.meter.is_acknowledging.store(false, Ordering::Relaxed);
            this.stream.acknowledge();
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.meter.is_drained.store(read.is_pending(), Ordering::Relaxed);
        let Poll::Ready(read) = read else {
            this.stretch = 0;
            return Poll::Pending;
        };
        read?;
        let bytes = buf.filled().len() - before;
        this.stretch += bytes;
        Poll::Ready(this.meter.count(bytes))
    }
}

impl<S: Wire> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
