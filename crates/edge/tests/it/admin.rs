//! The private door.

use std::sync::Arc;

use http_body_util::BodyExt;
use parking_lot::Mutex;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use roomhook_edge::{
    admin::{self, Readiness, Reason},
    listener::{self, Listener},
    telemetry::ListenerMetrics,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

#[derive(Default)]
struct Parts(Mutex<Vec<Reason>>);

impl Readiness for Parts {
    fn reasons(&self) -> Vec<Reason> {
        self.0.lock().clone()
    }
}

async fn get(router: &axum::Router, path: &str) -> (u16, String) {
    let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn it_tells_health_readiness_and_metrics() {
    let mut registry = Registry::default();
    let seen = Counter::<u64>::default();
    registry.register("seen", "Things seen", seen.clone());
    seen.inc();
    let parts = Arc::new(Parts::default());
    let readiness: Arc<dyn Readiness> = Arc::clone(&parts) as _;
    let router = admin::router(admin::State { registry: Arc::new(registry), readiness });

    assert_eq!(get(&router, "/healthz").await, (200, "ok\n".to_owned()));
    let (status, metrics) = get(&router, "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("seen_total 1\n") && metrics.ends_with("# EOF\n"), "{metrics}");

    let (status, body) = get(&router, "/readyz").await;
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, json!({"ready": true, "reasons": []})));
    parts.0.lock().push(Reason { part: "disk".to_owned(), message: "full, make room".to_owned() });
    let (status, body) = get(&router, "/readyz").await;
    let reasons = json!([{"part": "disk", "message": "full, make room"}]);
    assert_eq!(
        (status, serde_json::from_str::<Value>(&body).unwrap()),
        (503, json!({"ready": false, "reasons": reasons}))
    );
    assert_eq!(get(&router, "/nothing").await.0, 404);
}

async fn fetch(addr: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// Opening a store can take minutes: whoever watches must not take that for a server that hangs.
#[tokio::test]
async fn while_the_server_starts_it_lives_and_says_what_it_waits_for() {
    let mut registry = Registry::default();
    let metrics = ListenerMetrics::register(&mut registry, "admin");
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), listener::Config::default(), metrics).unwrap();
    let addr = listener.local_addr().unwrap();
    let reason = |message: &str| Reason { part: "store".to_owned(), message: message.to_owned() };
    let door = admin::Opening::new(reason("is being opened"));
    let _serving = tokio::spawn(listener.serve(door.clone(), std::future::pending()));

    assert_eq!(fetch(addr, "/healthz").await, (200, "ok\n".to_owned()));
    let (status, body) = fetch(addr, "/readyz").await;
    assert_eq!((status, body.contains("is being opened")), (503, true), "{body}");
    door.waits_for(reason("makes its mirror anew: 3 of 4 MiB"));
    assert!(fetch(addr, "/readyz").await.1.contains("3 of 4 MiB"));
    let told = (503, "starting: store makes its mirror anew: 3 of 4 MiB\n".to_owned());
    assert_eq!(fetch(addr, "/admin/api/endpoints").await, told);

    let readiness: Arc<dyn Readiness> = Arc::new(Parts::default());
    door.open(admin::router(admin::State { registry: Arc::new(registry), readiness }));
    assert_eq!(fetch(addr, "/readyz").await.0, 200);
    assert!(fetch(addr, "/metrics").await.1.ends_with("# EOF\n"));
}
