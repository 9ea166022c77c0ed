//! What an endpoint sends beside answers, and how much of that we put up with.
//!
//! Headers, bodies and frames have limits each. Interim answers, empty frames, settings and pings have none: an endpoint
//! that sends those without end would keep us busy, and fill what lies between the task that reads them and the task that
//! waits for an answer.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;

/// Read at a stretch, before other tasks get their turn: those that use up what was read.
const STRETCH_BYTES: usize = 64 * 1024;

/// Counts what came since the last answer.
#[derive(Debug)]
pub(crate) struct Meter {
    unasked: AtomicUsize,
    max: usize,
}

impl Meter {
    /// `max`: more than all answers that can be on their way have together.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { unasked: AtomicUsize::new(0), max })
    }

    /// An answer is complete, or awaited from now on.
    pub(crate) fn answered(&self) {
        self.unasked.store(0, Ordering::Relaxed);
    }

    /// Whether nothing came since then.
    pub(crate) fn is_silent(&self) -> bool {
        self.unasked.load(Ordering::Relaxed) == 0
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
pub(crate) struct Metered {
    stream: Stream,
    meter: Arc<Meter>,
    stretch: usize,
}

impl Metered {
    pub(crate) fn new(stream: Stream, meter: Arc<Meter>) -> Self {
        Self { stream, meter, stretch: 0 }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.stretch >= STRETCH_BYTES {
            this.stretch = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) else {
            this.stretch = 0;
            return Poll::Pending;
        };
        read?;
        let bytes = buf.filled().len() - before;
        this.stretch += bytes;
        Poll::Ready(this.meter.count(bytes))
    }
}

impl AsyncWrite for Metered {
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
