//! Reading and writing one socket without holding a buffer while nothing happens.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf},
    net::TcpStream,
};

use super::{outbox::Outbox, ws::Decoder};

/// Bytes read at once, into the stack.
const READ_BYTES: usize = 16 * 1024;

/// A socket that is not a plain one: TLS, or anything in tests.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The reading side of a connection.
pub(crate) enum Reader {
    /// The plain socket in the outbox.
    Plain,
    Other(ReadHalf<Box<dyn Stream>>),
}

/// The writing side of a connection.
pub(crate) enum Writer {
    Plain,
    Other(WriteHalf<Box<dyn Stream>>),
}

/// A socket taken over from HTTP.
pub(crate) enum Socket {
    Plain(TcpStream),
    Other(Box<dyn Stream>),
}

impl Socket {
    /// The plain socket for the outbox, and both sides.
    pub(crate) fn split(self) -> (Option<TcpStream>, Reader, Writer) {
        match self {
            Self::Plain(socket) => (Some(socket), Reader::Plain, Writer::Plain),
            Self::Other(stream) => {
                let (read, write) = tokio::io::split(stream);
                (None, Reader::Other(read), Writer::Other(write))
            }
        }
    }
}

impl Reader {
    /// Waits for bytes and hands them to the decoder. `Ok(0)`: the client is gone. Cancel safe.
    pub(crate) async fn read(&mut self, outbox: &Outbox, decoder: &mut Decoder) -> io::Result<usize> {
        match self {
            Self::Plain => {
                let Some(socket) = outbox.socket() else { return Ok(0) };
                loop {
                    socket.readable().await?;
                    match read_now(socket, decoder) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        outcome => return outcome,
                    }
                }
            }
            Self::Other(stream) => {
                std::future::poll_fn(|context| {
                    let mut bytes = [0; READ_BYTES];
                    let mut buffer = ReadBuf::new(&mut bytes);
                    let poll = std::pin::Pin::new(&mut *stream).poll_read(context, &mut buffer);
                    poll.map_ok(|()| {
                        decoder.push(buffer.filled());
                        buffer.filled().len()
                    })
                })
                .await
            }
        }
    }
}

/// Not async, so that the buffer is on the stack of whoever has the thread, not in the connection.
fn read_now(socket: &TcpStream, decoder: &mut Decoder) -> io::Result<usize> {
    let mut bytes = [0; READ_BYTES];
    let read = socket.try_read(&mut bytes)?;
    decoder.push(bytes.get(..read).unwrap_or_default());
    Ok(read)
}

impl Writer {
    /// Writes some of what waits. Cancel safe. Resolves at once when nothing waits.
    pub(crate) async fn write_some(&mut self, outbox: &Outbox) -> io::Result<()> {
        match self {
            Self::Plain => {
                if let Some(socket) = outbox.socket() {
                    socket.writable().await?;
                }
                outbox.flush().map(|_done| ())
            }
            Self::Other(stream) => {
                let frames = outbox.front();
                let slices: Vec<_> = frames.iter().map(|frame| io::IoSlice::new(frame)).collect();
                if slices.is_empty() {
                    return Ok(());
                }
                let written = stream.write_vectored(&slices).await?;
                outbox.consume(written);
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                // TLS keeps a record's rest until it is flushed.
                if outbox.is_empty() { stream.flush().await } else { Ok(()) }
            }
        }
    }

    /// Says that nothing more will come.
    pub(crate) async fn shutdown(&mut self, outbox: &Outbox) {
        // A failure means that the client is gone already.
        match self {
            Self::Plain => {
                if let Some(socket) = outbox.socket() {
                    let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Write);
                }
            }
            Self::Other(stream) => drop(stream.shutdown().await),
        }
    }
}

/// Ends a plain socket for good, whoever still holds it.
pub(crate) fn cut(outbox: &Arc<super::conn::Conn>) {
    if let Some(socket) = outbox.outbox().socket() {
        let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Both);
    }
}
