//! The private door.

use std::sync::Arc;

use http_body_util::BodyExt;
use parking_lot::Mutex;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use roomhook_edge::admin::{self, Readiness, Reason};
use serde_json::{Value, json};
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
