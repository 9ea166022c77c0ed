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
    Other {
        stream: WriteHalf<Box<dyn Stream>>,
        /// The stream took bytes that it may still hold: TLS keeps the rest of a record when the socket is full.
        unflushed: bool,
    },
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
                (None, Reader::Other(read), Writer::Other { stream: write, unflushed: false })
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
    /// Whether [`Writer::write_some`] has something to do: what waits, or what the stream took and still holds.
    pub(crate) fn owes(&self, outbox: &Outbox) -> bool {
        !outbox.is_empty() || matches!(self, Self::Other { unflushed: true, .. })
    }

    /// Writes some of what it owes. Resolves at once when that is nothing. Cancel safe: what was not done is still owed.
    pub(crate) async fn write_some(&mut self, outbox: &Outbox) -> io::Result<()> {
        match self {
            Self::Plain => {
                if let Some(socket) = outbox.socket() {
                    socket.writable().await?;
                }
                outbox.flush().map(|_done| ())
            }
            Self::Other { stream, unflushed } => {
                let frames = outbox.front();
                if !frames.is_empty() {
                    let slices: Vec<_> = frames.iter().map(|frame| io::IoSlice::new(frame)).collect();
                    let written = stream.write_vectored(&slices).await?;
                    if written == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    *unflushed = true;
                    outbox.consume(written);
                }
                // Not between two writes: each carries on what the stream holds.
                if *unflushed && outbox.is_empty() {
                    stream.flush().await?;
                    *unflushed = false;
                }
                Ok(())
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
            Self::Other { stream, .. } => drop(stream.shutdown().await),
        }
    }
}

/// Ends a plain socket for good, whoever still holds it.
pub(crate) fn cut(outbox: &Arc<super::conn::Conn>) {
    if let Some(socket) = outbox.outbox().socket() {
        let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
    use tokio::io::AsyncReadExt;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::realtime::{
        outbox::{Kind, Limits},
        telemetry::OutboxMetrics,
        ws,
    };

    /// Both ends of a TLS connection over a socket that holds so many bytes in each direction.
    async fn tls_over(bytes: usize) -> (impl Stream, impl Stream) {
        let made = rcgen::generate_simple_self_signed(vec!["chat.test".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(bytes);
        let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));
        let name = ServerName::try_from("chat.test").unwrap();
        let (server, client) = tokio::join!(acceptor.accept(near), connector.connect(name, far));
        (server.unwrap(), client.unwrap())
    }

    /// One turn of a connection's loop: the same arms in the same order. `true`: it read.
    async fn turn(reader: &mut Reader, writer: &mut Writer, outbox: &Outbox, decoder: &mut Decoder) -> bool {
        let writing = writer.owes(outbox);
        tokio::select! {
            biased;
            written = writer.write_some(outbox), if writing => { written.unwrap(); false }
            read = reader.read(outbox, decoder) => read.unwrap() > 0,
        }
    }

    /// What is written to a client that does not read stays in TLS; when the client then says something, its words win over
    /// the flush. The rest must go out by itself as soon as the client reads.
    #[tokio::test]
    async fn the_end_of_a_record_follows_though_the_client_spoke_in_between() {
        let (server, mut client) = tls_over(4096).await;
        let (_, mut reader, mut writer) = Socket::Other(Box::new(server)).split();
        let outbox = Outbox::new(None, Limits { queue_bytes_max: 1 << 20 }, OutboxMetrics::default());
        let mut decoder = Decoder::new(ws::Limits { message_bytes_max: 1024, fragments_max: 1, inflate: false });
        let message = Bytes::from(vec![b'x'; 10_000]);
        outbox.send(&message, Kind::Owed);
        client.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
        client.flush().await.unwrap();
        while !turn(&mut reader, &mut writer, &outbox, &mut decoder).await {}
        assert!(outbox.is_empty(), "TLS took all of it, the socket did not");

        let mut heard = vec![0; message.len()];
        let hearing = async {
            client.read_exact(&mut heard).await.unwrap();
        };
        let serving = async {
            loop {
                turn(&mut reader, &mut writer, &outbox, &mut decoder).await;
            }
        };
        tokio::select! {
            () = hearing => {}
            () = serving => unreachable!("it never ends"),
            () = tokio::time::sleep(std::time::Duration::from_secs(10)) => panic!("the rest never came"),
        }
        assert_eq!(heard, message);
    }
}
