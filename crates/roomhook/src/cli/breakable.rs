//! Connections that an answer can break off with a TCP reset, as a peer does that crashes or whose machine goes away.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// A listener whose connections know how to end badly.
pub(crate) struct Breakable(pub(crate) TcpListener);

/// A connection. Whoever answers on it holds its [`Fate`].
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    fate: Fate,
}

/// How a connection ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<AtomicBool>);

impl Fate {
    /// What is written from here on still goes out; then the connection ends with a reset instead of a farewell.
    pub(crate) fn reset(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_sealed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Listener for Breakable {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        // The one for TCP knows which errors pass, and waits when there are no descriptors left.
        let (stream, addr) = Listener::accept(&mut self.0).await;
        (Line { stream, fate: Fate::default() }, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Breakable>> for Fate {
    fn connect_info(stream: IncomingStream<'_, Breakable>) -> Self {
        stream.io().fate.clone()
    }
}

impl Drop for Line {
    /// With a linger time of zero, closing the socket sends a reset.
    fn drop(&mut self) {
        if self.fate.is_sealed() {
            // A peer that is gone already needs none.
            let _gone = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fate.is_sealed() {
            // No farewell.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
