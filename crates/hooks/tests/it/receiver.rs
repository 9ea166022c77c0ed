//! Receivers on loopback: one that keeps what it gets and answers as told.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

pub(crate) const OK: &str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;

/// A request as the receiver saw it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: serde_json::Value,
    pub(crate) raw: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"))
    }

    pub(crate) fn room(&self) -> &str {
        self.body.get("GroupId").or(self.body.get("RoomId")).and_then(|id| id.as_str()).unwrap_or("?")
    }

    pub(crate) fn seq(&self) -> u64 {
        self.body.get("MsgSeq").and_then(serde_json::Value::as_u64).unwrap_or(0)
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    pub(crate) after: Duration,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::status(200)
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: OK.into(), after: Duration::ZERO }
    }
}

type Rule = Arc<dyn Fn(&Got) -> Reply + Send + Sync>;

pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    count: watch::Receiver<usize>,
    rule: Arc<Mutex<Rule>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// One that says yes to everything.
    pub(crate) async fn start() -> Self {
        Self::start_on("127.0.0.1:0".parse().expect("address")).await
    }

    pub(crate) async fn start_on(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.expect("bind");
        let addr = listener.local_addr().expect("address");
        let got = Arc::new(Mutex::new(Vec::new()));
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Arc::new(|_: &Got| Reply::ok())));
        let (counted, count) = watch::channel(0);
        let task = tokio::spawn(serve(listener, got.clone(), rule.clone(), Arc::new(counted)));
        Self { addr, got, count, rule, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn rule(&self, rule: impl Fn(&Got) -> Reply + Send + Sync + 'static) {
        *self.rule.lock().expect("rule") = Arc::new(rule);
    }

    /// All requests so far, in order of arrival.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().expect("got").clone()
    }

    /// Waits until so many requests came.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Got> {
        self.wait_until(|got| got.len() >= count).await
    }

    pub(crate) async fn wait_until(&self, mut done: impl FnMut(&[Got]) -> bool) -> Vec<Got> {
        let mut counted = self.count.clone();
        let waiting = async {
            loop {
                counted.borrow_and_update();
                let got = self.got();
                if done(&got) {
                    return got;
                }
                counted.changed().await.expect("receiver lives");
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), waiting).await {
            Ok(got) => got,
            Err(_) => panic!("the receiver waited in vain; it got {} requests", self.got().len()),
        }
    }

    pub(crate) fn stop(self) -> SocketAddr {
        self.task.abort();
        self.addr
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    got: Arc<Mutex<Vec<Got>>>,
    rule: Arc<Mutex<Rule>>,
    counted: Arc<watch::Sender<usize>>,
) {
    // Connections end with the receiver: they live in its set.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (got, rule, counted) = (got.clone(), rule.clone(), counted.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: http::Request<Incoming>| {
                let (got, rule, counted) = (got.clone(), rule.clone(), counted.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let raw = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let seen = Got {
                        target: head.uri.to_string(),
                        headers: head.headers,
                        body: serde_json::from_slice(&raw).unwrap_or_default(),
                        raw,
                    };
                    let rule = rule.lock().expect("rule").clone();
                    let reply = rule(&seen);
                    got.lock().expect("got").push(seen);
                    counted.send_modify(|count| *count += 1);
                    tokio::time::sleep(reply.after).await;
                    let mut response = Response::builder().status(reply.status);
                    for (name, value) in &reply.headers {
                        response = response.header(*name, value);
                    }
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(reply.body))).expect("response"))
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
