//! What `bench webhook` is compared with: a bare HTTP client that does nothing but post to the same receiver.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use super::{
    pace::{Began, Pace},
    process::Probe,
};

/// What to post, where, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) addr: SocketAddr,
    /// One request in flight on each.
    pub(super) connections: u32,
    /// Bytes of text in each body.
    pub(super) size: u32,
    pub(super) seconds: u32,
}

/// Requests of hyper's HTTP/1.1 connections per second, and what they cost this process. The first half second is not counted.
///
/// # Errors
/// When the receiver is away or answers with anything but 200.
pub(super) async fn rate(load: Load) -> anyhow::Result<Pace> {
    let Load { addr, connections, size, seconds } = load;
    let body = format!(
        r#"{{"CallbackCommand":"Group.CallbackAfterSendMsg","GroupId":"bench-000000-00000","Type":"Live","From_Account":"bench-00","Operator_Account":"administrator","Random":1000000001,"MsgId":"144115188075855873-1767225600-1000000001","MsgSeq":1000,"MsgTime":1767225600,"CloudCustomData":"","MsgBody":[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{}"}}}}],"EventTime":1767225600123}}"#,
        "x".repeat(size as usize),
    );
    let uri = "/hook?SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json&ClientIP=127.0.0.1&OptPlatform=RESTAPI";
    let request = http::Request::post(uri)
        .header("host", addr.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let from = Instant::now() + Duration::from_millis(500);
    let end = from + Duration::from_secs(seconds.into());
    let mut tasks: JoinSet<anyhow::Result<u64>> = JoinSet::new();
    for _ in 0..connections {
        let request = request.clone();
        tasks.spawn(async move {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Detached: it ends with its sender.
            tokio::spawn(async move { drop(connection.await) });
            let mut done = 0;
            loop {
                sender.ready().await?;
                let answer = sender.send_request(request.clone()).await?;
                anyhow::ensure!(answer.status() == http::StatusCode::OK, "the receiver answered {}", answer.status());
                answer.into_body().collect().await?;
                let now = Instant::now();
                if now >= end {
                    return Ok(done);
                }
                done += u64::from(now >= from);
            }
        });
    }
    tokio::time::sleep_until(from.into()).await;
    let began = Began::now(Some(Probe { pid: std::process::id() }));
    let mut total = 0;
    while let Some(ended) = tasks.join_next().await {
        total += ended.context("a client failed")??;
    }
    Ok(began.done(total))
}
