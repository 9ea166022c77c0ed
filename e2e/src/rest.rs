//! A REST caller as an app backend has one: one kept-alive connection, UserSig in the query, JSON both ways.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use roomhook_protocol::usersig;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{ADMIN, KEY, SDKAPPID};

/// How long a call may take before the test calls it hung.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection to the server.
#[derive(Debug)]
pub struct Client {
    connection: SendRequest<Full<Bytes>>,
    host: &'static str,
    sdkappid: u32,
    identifier: String,
    usersig: String,
}

/// What a message was acknowledged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// `MsgSeq`.
    pub seq: u64,
    /// `MsgTime`, Unix seconds.
    pub time_secs: u64,
}

impl Client {
    /// Connects as the app's admin.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    /// Speaks over an open connection, such as one with TLS.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Result<Self> {
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; an error of it is seen by the call that was under way.
        tokio::spawn(driver);
        let (identifier, usersig) = (ADMIN.to_owned(), usersig_of(ADMIN));
        Ok(Self { connection, host: "roomhook.test", sdkappid: SDKAPPID, identifier, usersig })
    }

    /// Calls as `user` with this UserSig from now on.
    #[must_use]
    pub fn identified(mut self, user: &str, usersig: &str) -> Self {
        user.clone_into(&mut self.identifier);
        usersig.clone_into(&mut self.usersig);
        self
    }

    /// Names the server so from now on: the operators' API wants a name of this machine.
    #[must_use]
    pub fn naming(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    /// Calls as the admin of another app from now on, one with the same key.
    #[must_use]
    pub fn of_app(mut self, sdkappid: u32) -> Self {
        self.sdkappid = sdkappid;
        self.usersig = usersig_in(sdkappid, &self.identifier);
        self
    }

    /// Calls `v4/<command>` and gives the whole answer.
    ///
    /// # Errors
    /// If the connection breaks, the call hangs, or the answer is not 200 with JSON.
    pub async fn call(&mut self, command: &str, body: &Value) -> Result<Value> {
        let random: u32 = fastrand::u32(..);
        let path = format!(
            "/v4/{command}?sdkappid={}&identifier={}&usersig={}&random={random}&contenttype=json",
            self.sdkappid, self.identifier, self.usersig
        );
        let (status, answer) = self.send(Method::POST, &path, body.to_string().into()).await?;
        ensure!(status == StatusCode::OK, "{command} answered HTTP {status}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).with_context(|| format!("the answer of {command} is no JSON"))
    }

    /// Calls and insists on success.
    ///
    /// # Errors
    /// If the server refuses, besides the errors of [`Client::call`].
    pub async fn ok(&mut self, command: &str, body: &Value) -> Result<Value> {
        let answer = self.call(command, body).await?;
        ensure!(answer["ErrorCode"] == 0 && answer["ActionStatus"] == "OK", "{command} was refused: {answer}");
        Ok(answer)
    }

    /// Creates a room.
    ///
    /// # Errors
    /// As [`Client::ok`].
    pub async fn create_room(&mut self, room: &str) -> Result<()> {
        let body = json!({"RoomInfo": {"RoomId": room, "RoomType": "Live", "RoomName": room}});
        self.ok("live_engine_http_srv/create_room", &body).await.map(drop)
    }

    /// Sends a text message as `sender`.
    ///
    /// # Errors
    /// As [`Client::ok`].
    pub async fn text(&mut self, room: &str, sender: &str, text: &str) -> Result<Receipt> {
        let body = json!({"RoomId": room, "Sender_Account": sender, "TextContent": text});
        let answer = self.ok("live_engine_http_srv/send_text_msg", &body).await?;
        receipt(&answer["Response"])
    }

    /// Makes sender accounts known.
    ///
    /// # Errors
    /// As [`Client::ok`].
    pub async fn import(&mut self, user: &str) -> Result<()> {
        self.ok("im_open_login_svc/account_import", &json!({"UserID": user})).await.map(drop)
    }

    /// Any request, for bad ones.
    ///
    /// # Errors
    /// If the connection breaks or the call hangs.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let call = async {
            self.connection.ready().await?;
            let answer = self.connection.send_request(request).await?;
            let status = answer.status();
            anyhow::Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        timeout(CALL_TIMEOUT, call).await.with_context(|| format!("{path} hangs"))?
    }
}

/// The receipt in an answer's payload.
///
/// # Errors
/// If it lacks `MsgSeq` or `MsgTime`.
pub fn receipt(payload: &Value) -> Result<Receipt> {
    let number = |name: &str| payload[name].as_u64().with_context(|| format!("no {name} in {payload}"));
    Ok(Receipt { seq: number("MsgSeq")?, time_secs: number("MsgTime")? })
}

/// A UserSig made by our own code. Tests of the signature itself use the official packages instead.
#[must_use]
pub fn usersig_of(user: &str) -> String {
    usersig_in(SDKAPPID, user)
}

fn usersig_in(sdkappid: u32, user: &str) -> String {
    let now_secs = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    usersig::mint(&usersig::Mint { sdkappid, key: KEY, userid: user, expire_secs: 3600, now_secs, userbuf: None })
}
