//! A small client of the realtime side: a WebSocket by hand, [`roomhook_centrifuge`]'s codec above it.
//!
//! For `demo` (whose clients are few and read everything) and for the benches (whose sockets are many, and which take
//! the bare stream over once a socket has joined its room).

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use roomhook_centrifuge::{
    Command, ConnectRequest, ConnectResult, Error, Format, Publication, Push, PushBody, Replies, Reply, ReplyBody,
    Request, RpcRequest, SubscribeRequest, SubscribeResult,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::bench::load::Target;

/// A server that says nothing for so long counts as gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer frames than this are not ours.
pub(crate) const FRAME_BYTES_MAX: usize = 1 << 20;

/// Why a client got no further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error("the server refused the upgrade: {0}")]
    Upgrade(String),
    #[error("the server closed with {code}: {reason}")]
    Closed { code: u16, reason: String },
    #[error("the server answered with error {}: {}", .0.code, .0.message)]
    Refused(Error),
    #[error("the server sent what is not the protocol: {0}")]
    Protocol(String),
    #[error("the server said nothing for {PATIENCE:?}")]
    Silent,
}

/// One connection, its answers and pushes in order.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    format: Format,
    last_id: u32,
    bytes: BytesMut,
    /// Read and not asked for yet.
    waiting: VecDeque<Reply>,
}

impl Client {
    /// Opens a socket and asks for the upgrade. `number` spreads sockets over source addresses, so that one machine can
    /// open more than the ports of one address.
    pub(crate) async fn open(target: &Target, format: Format, number: usize) -> Result<Self, ClientError> {
        let stream = connect_from(target.addr, number).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, format, last_id: 0, bytes: BytesMut::new(), waiting: VecDeque::new() };
        // The key is for intermediaries that do not know WebSockets; here is none, so it need not be random.
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {}\r\n\r\n",
            target.host,
            format.subprotocol(),
        );
        client.stream.write_all(request.as_bytes()).await?;
        let head_bytes = loop {
            if let Some(at) = client.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            client.read_more().await?;
        };
        let head = client.bytes.split_to(head_bytes);
        if head.starts_with(b"HTTP/1.1 101") {
            return Ok(client);
        }
        let status = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
        Err(ClientError::Upgrade(status))
    }

    /// Says who it is. `data` is JSON, or empty.
    pub(crate) async fn connect(&mut self, token: &str, data: &str) -> Result<ConnectResult, ClientError> {
        let data = Bytes::copy_from_slice(data.as_bytes());
        let request = ConnectRequest { token: token.to_owned(), data, ..ConnectRequest::default() };
        match self.call(Request::Connect(request)).await? {
            ReplyBody::Connect(result) => Ok(result),
            other => Err(ClientError::Protocol(format!("{other:?} answers connect"))),
        }
    }

    /// Joins a room.
    pub(crate) async fn join(&mut self, room: &str) -> Result<SubscribeResult, ClientError> {
        let request = SubscribeRequest { channel: channel(room), ..SubscribeRequest::default() };
        match self.call(Request::Subscribe(request)).await? {
            ReplyBody::Subscribe(result) => Ok(result),
            other => Err(ClientError::Protocol(format!("{other:?} answers subscribe"))),
        }
    }

    /// Calls a method with a JSON object.
    pub(crate) async fn rpc(&mut self, method: &str, data: &str) -> Result<Bytes, ClientError> {
        let data = Bytes::copy_from_slice(data.as_bytes());
        match self.call(Request::Rpc(RpcRequest { data, method: method.to_owned() })).await? {
            ReplyBody::Rpc(result) => Ok(result.data),
            other => Err(ClientError::Protocol(format!("{other:?} answers rpc"))),
        }
    }

    async fn call(&mut self, request: Request) -> Result<ReplyBody, ClientError> {
        self.last_id += 1;
        let id = self.last_id;
        let mut out = Vec::new();
        self.format.write_command(&mut out, &Command::new(id, request));
        self.stream.write_all(&client_frame(self.format, &out)).await?;
        let mut others = VecDeque::new();
        loop {
            let reply = self.next().await?;
            if reply.id == id {
                others.append(&mut self.waiting);
                self.waiting = others;
                return match reply.body {
                    Some(ReplyBody::Error(error)) => Err(ClientError::Refused(error)),
                    Some(body) => Ok(body),
                    None => Err(ClientError::Protocol("an answer without a result".to_owned())),
                };
            }
            others.push_back(reply);
        }
    }

    /// The next message of a room; other pushes are passed over.
    pub(crate) async fn message(&mut self) -> Result<(String, Publication), ClientError> {
        loop {
            if let Some(ReplyBody::Push(Push { channel, body: Some(PushBody::Pub(publication)), .. })) =
                self.next().await?.body
            {
                return Ok((channel, publication));
            }
        }
    }

    /// The next answer or push; pings are answered on the way.
    async fn next(&mut self) -> Result<Reply, ClientError> {
        loop {
            if let Some(reply) = self.waiting.pop_front() {
                return Ok(reply);
            }
            let Some(frame) = Frame::parse(&self.bytes)? else {
                self.read_more().await?;
                continue;
            };
            self.bytes.advance(frame.header_bytes);
            let payload = self.bytes.split_to(frame.payload_bytes).freeze();
            match frame.opcode {
                Frame::TEXT | Frame::BINARY => self.take(payload).await?,
                Frame::CLOSE => return Err(closed(&payload)),
                _ => {}
            }
        }
    }

    async fn take(&mut self, payload: Bytes) -> Result<(), ClientError> {
        let wrong = |error| ClientError::Protocol(format!("{error}"));
        for reply in Replies::new(self.format, payload, FRAME_BYTES_MAX).map_err(wrong)? {
            let reply = reply.map_err(wrong)?;
            if reply.is_ping() {
                self.stream.write_all(&client_frame(self.format, self.format.ping())).await?;
            } else {
                self.waiting.push_back(reply);
            }
        }
        Ok(())
    }

    async fn read_more(&mut self) -> Result<(), ClientError> {
        if self.bytes.len() > FRAME_BYTES_MAX {
            return Err(ClientError::Protocol("a frame without end".to_owned()));
        }
        match tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.bytes)).await {
            Err(_elapsed) => Err(ClientError::Silent),
            Ok(Ok(0)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => Ok(read.map(drop)?),
        }
    }

    /// The stream, and what was read from it already: whole frames and the beginning of one.
    pub(crate) fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.stream, self.bytes)
    }
}

/// The channel of a room.
pub(crate) fn channel(room: &str) -> String {
    format!("room:{room}")
}

/// On loopback, one of 16 source addresses: the ports of one would not do for more than about 28,000 sockets.
pub(crate) async fn connect_from(addr: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if addr.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        let last = u8::try_from(2 + number % 16).unwrap_or(2);
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    }
    socket.connect(addr).await
}

fn closed(payload: &[u8]) -> ClientError {
    let (code, reason) =
        payload.split_first_chunk::<2>().map_or((1005, &[][..]), |(code, reason)| (u16::from_be_bytes(*code), reason));
    ClientError::Closed { code, reason: String::from_utf8_lossy(reason).into_owned() }
}

/// A frame as a client must send it: masked. The mask is zero, which servers must take: it is against caches that
/// mistake frames for HTTP, and here are none.
pub(crate) fn client_frame(format: Format, payload: &[u8]) -> Vec<u8> {
    let opcode = match format {
        Format::Json => Frame::TEXT,
        Format::Protobuf => Frame::BINARY,
    };
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// What the header of a server's frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) header_bytes: usize,
    pub(crate) payload_bytes: usize,
}

impl Frame {
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;

    /// `None` until the whole frame is there.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, ClientError> {
        let whole = |frame: &Self| bytes.len() >= frame.header_bytes + frame.payload_bytes;
        Ok(Self::header(bytes)?.filter(whole))
    }

    /// `None` until the whole header is there.
    pub(crate) fn header(bytes: &[u8]) -> Result<Option<Self>, ClientError> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        let (header_bytes, payload_bytes) = match second {
            126 => match bytes.get(2..4).and_then(|len| len.try_into().ok()) {
                Some(len) => (4, usize::from(u16::from_be_bytes(len))),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|len| len.try_into().ok()) {
                Some(len) => (10, usize::try_from(u64::from_be_bytes(len)).unwrap_or(usize::MAX)),
                None => return Ok(None),
            },
            len => (2, usize::from(len)),
        };
        if second > 127 || first & 0xf0 != 0x80 || payload_bytes > FRAME_BYTES_MAX {
            return Err(ClientError::Protocol("a frame that is masked, in pieces, compressed or too long".to_owned()));
        }
        Ok(Some(Self { opcode: first & 0x0f, header_bytes, payload_bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_when_it_is_whole() {
        let frame = [&[0x81, 126, 0, 200][..], &[b'x'; 200]].concat();
        assert_eq!(Frame::parse(&frame[..3]).expect("no error"), None);
        assert_eq!(Frame::parse(&frame[..203]).expect("no error"), None);
        let whole = Frame { opcode: Frame::TEXT, header_bytes: 4, payload_bytes: 200 };
        assert_eq!(Frame::parse(&frame).expect("no error"), Some(whole));
        assert!(Frame::parse(&[0x81, 0x85, 0]).is_err(), "servers do not mask");
        assert!(Frame::parse(&[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0]).is_err(), "nobody sends that much");
    }

    #[test]
    fn our_frames_are_masked_whatever_their_length() {
        for (len, header) in [(1, 6), (125, 6), (126, 8), (70_000, 14)] {
            let frame = client_frame(Format::Protobuf, &vec![7; len]);
            assert_eq!(frame.len(), header + len);
            assert!(frame[0] == 0x82 && frame[1] & 0x80 != 0);
        }
    }
}
