//! A Centrifuge client for tests: tungstenite's WebSocket, our codec's other half.

use std::{collections::VecDeque, time::Duration};

use futures_util::{SinkExt, StreamExt};
use roomhook_centrifuge::{
    Command, ConnectRequest, ConnectResult, Error, Format, HistoryRequest, Publication, PublishRequest, Push, PushBody,
    Replies, Reply, ReplyBody, Request, SubscribeRequest, SubscribeResult,
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

use crate::world::{KEY, World, usersig};

const PATIENCE: Duration = Duration::from_secs(10);

/// A TCP socket, or one under TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) struct Client {
    pub(super) socket: WebSocketStream<Box<dyn Stream>>,
    format: Format,
    last_id: u32,
    /// Read and not asked for yet.
    waiting: VecDeque<Reply>,
}

/// How the server ended a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Client {
    /// A socket without a connect command.
    pub(super) async fn open(world: &World, format: Format) -> Self {
        let stream = TcpStream::connect(world.addr).await.unwrap();
        Self::open_over(world, Box::new(stream), format).await
    }

    pub(super) async fn open_over(world: &World, stream: Box<dyn Stream>, format: Format) -> Self {
        Self::open_with(world, stream, format, None).await
    }

    /// With a header of its own in the upgrade request.
    pub(super) async fn open_with(
        world: &World,
        stream: Box<dyn Stream>,
        format: Format,
        extra: Option<(&'static str, &str)>,
    ) -> Self {
        let mut request = format!("ws://{}/connection/websocket", world.addr).into_client_request().unwrap();
        if format == Format::Protobuf {
            let name = HeaderValue::from_static("centrifuge-protobuf");
            request.headers_mut().insert("sec-websocket-protocol", name);
        }
        if let Some((name, value)) = extra {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (socket, _response) = client_async(request, stream).await.unwrap();
        Self { socket, format, last_id: 0, waiting: VecDeque::new() }
    }

    /// Connected as `user`, in JSON.
    pub(super) async fn connect(world: &World, user: &str) -> Self {
        Self::connect_in(world, user, Format::Json).await.0
    }

    pub(super) async fn connect_in(world: &World, user: &str, format: Format) -> (Self, ConnectResult) {
        let mut client = Self::open(world, format).await;
        let connect = ConnectRequest { token: usersig(user, KEY), ..ConnectRequest::default() };
        let Ok(ReplyBody::Connect(result)) = client.call(Request::Connect(connect)).await else { panic!("not let in") };
        (client, result)
    }

    /// Sends one frame.
    pub(super) async fn send_raw(&mut self, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        let message = match self.format {
            Format::Json => Message::text(String::from_utf8(payload).unwrap()),
            Format::Protobuf => Message::binary(payload),
        };
        self.socket.send(message).await.unwrap();
    }

    /// Sends a command and returns its id.
    pub(super) async fn send(&mut self, request: Request) -> u32 {
        self.last_id += 1;
        let mut out = Vec::new();
        self.format.write_command(&mut out, &Command::new(self.last_id, request));
        self.send_raw(out).await;
        self.last_id
    }

    /// Sends a command and waits for its answer; pushes that come first wait.
    pub(super) async fn call(&mut self, request: Request) -> Result<ReplyBody, Error> {
        let id = self.send(request).await;
        self.answer(id).await
    }

    pub(super) async fn answer(&mut self, id: u32) -> Result<ReplyBody, Error> {
        let mut others = VecDeque::new();
        loop {
            let reply = self.next().await;
            if reply.id != id {
                others.push_back(reply);
                continue;
            }
            others.append(&mut self.waiting);
            self.waiting = others;
            return match reply.body {
                Some(ReplyBody::Error(error)) => Err(error),
                Some(body) => Ok(body),
                None => panic!("a reply without result"),
            };
        }
    }

    /// The next reply or push; pings are answered on the way.
    pub(super) async fn next(&mut self) -> Reply {
        match self.next_or_close().await {
            Ok(reply) => reply,
            Err(closed) => panic!("the server closed: {closed:?}"),
        }
    }

    pub(super) async fn next_or_close(&mut self) -> Result<Reply, Closed> {
        loop {
            if let Some(reply) = self.waiting.pop_front() {
                return Ok(reply);
            }
            let message = timeout(PATIENCE, self.socket.next()).await.expect("the server says nothing");
            let frame = match message {
                Some(Ok(Message::Text(text))) if self.format == Format::Json => text.as_bytes().to_vec(),
                Some(Ok(Message::Binary(bytes))) if self.format == Format::Protobuf => bytes.to_vec(),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(Closed { code: frame.code.into(), reason: frame.reason.to_string() });
                }
                Some(Ok(Message::Close(None))) => return Err(Closed { code: 1005, reason: String::new() }),
                Some(Ok(other)) => panic!("a frame of the wrong kind: {other:?}"),
                Some(Err(_)) | None => return Err(Closed { code: 1006, reason: String::new() }),
            };
            for reply in Replies::new(self.format, frame, usize::MAX).unwrap() {
                let reply = reply.unwrap();
                if reply.is_ping() {
                    self.send_raw(self.format.ping()).await;
                } else {
                    self.waiting.push_back(reply);
                }
            }
        }
    }

    /// How the server ends the connection; what it says before is dropped.
    pub(super) async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.next_or_close().await {
                return closed;
            }
        }
    }

    // === in the words of rooms ===

    pub(super) async fn join(&mut self, room: &str) -> SubscribeResult {
        self.subscribe(SubscribeRequest { channel: format!("room:{room}"), ..SubscribeRequest::default() })
            .await
            .unwrap()
    }

    pub(super) async fn rejoin(&mut self, room: &str, epoch: &str, offset: u64) -> SubscribeResult {
        let channel = format!("room:{room}");
        let request =
            SubscribeRequest { channel, recover: true, epoch: epoch.into(), offset, ..SubscribeRequest::default() };
        self.subscribe(request).await.unwrap()
    }

    pub(super) async fn subscribe(&mut self, request: SubscribeRequest) -> Result<SubscribeResult, Error> {
        match self.call(Request::Subscribe(request)).await? {
            ReplyBody::Subscribe(result) => Ok(result),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn say(&mut self, room: &str, text: &str) {
        self.publish(room, &serde_json::json!({ "Text": text }).to_string()).await.unwrap();
    }

    pub(super) async fn publish(&mut self, room: &str, data: &str) -> Result<(), Error> {
        let channel = format!("room:{room}");
        let data = data.to_owned().into();
        match self.call(Request::Publish(PublishRequest { channel, data, ..PublishRequest::default() })).await? {
            ReplyBody::Publish(_) => Ok(()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn rpc(&mut self, method: &str, data: Value) -> Result<Value, Error> {
        let request = roomhook_centrifuge::RpcRequest { method: method.into(), data: data.to_string().into() };
        match self.call(Request::Rpc(request)).await? {
            ReplyBody::Rpc(result) => Ok(serde_json::from_slice(&result.data).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn history(
        &mut self,
        request: HistoryRequest,
    ) -> Result<roomhook_centrifuge::HistoryResult, Error> {
        match self.call(Request::History(request)).await? {
            ReplyBody::History(result) => Ok(result),
            other => panic!("{other:?}"),
        }
    }

    /// The next push.
    pub(super) async fn push(&mut self) -> Push {
        match self.next().await.body {
            Some(ReplyBody::Push(push)) => push,
            other => panic!("not a push: {other:?}"),
        }
    }

    /// The next message of a room.
    pub(super) async fn message(&mut self) -> Publication {
        match self.push().await.body {
            Some(PushBody::Pub(publication)) => publication,
            other => panic!("not a publication: {other:?}"),
        }
    }

    /// The next message, as text.
    pub(super) async fn hears(&mut self) -> String {
        text_of(&self.message().await)
    }
}

/// `1:hello`: number and text of a message.
pub(super) fn text_of(publication: &Publication) -> String {
    let data: Value = serde_json::from_slice(&publication.data).unwrap();
    let text = data["MsgBody"][0]["MsgContent"]["Text"].as_str().unwrap_or_else(|| panic!("{data}"));
    assert_eq!(data["MsgSeq"], publication.offset);
    format!("{}:{text}", publication.offset)
}
