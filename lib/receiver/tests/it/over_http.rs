//! The axum adapter, request by request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use roomhook_receiver::axum::{BODY_BYTES_MAX, Handler, Shared, router};
use roomhook_receiver::{Notice, Received};
use tower::ServiceExt as _;

use crate::{bytes, message, open, query_of, with_token};

/// An app that fails its first `failures` events, and keeps what it is told.
#[derive(Clone, Default)]
struct App {
    failures: Arc<AtomicUsize>,
    handled: Arc<Mutex<Vec<Received>>>,
    notices: Arc<Mutex<Vec<Notice>>>,
}

impl Handler for App {
    type Error = &'static str;

    async fn handle(&self, received: Received) -> Result<(), &'static str> {
        if self.failures.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err("the database is away");
        }
        self.handled.lock().unwrap().push(received);
        Ok(())
    }

    fn notice(&self, notice: Notice) {
        self.notices.lock().unwrap().push(notice);
    }
}

/// A server with this app, which sends message `seq` of the lobby.
async fn send(shared: &Shared, app: &App, seq: u64) -> (StatusCode, String) {
    let uri = format!("/any/path?{}", query_of("Group.CallbackAfterSendMsg"));
    ask(shared, app, Request::post(uri).body(Body::from(bytes(&message("lobby", seq)))).unwrap()).await
}

async fn ask(shared: &Shared, app: &App, request: Request<Body>) -> (StatusCode, String) {
    let answer = router(shared.clone(), app.clone()).oneshot(request).await.unwrap();
    let status = answer.status();
    (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn an_event_is_handled_once_and_acknowledged_twice() {
    let (shared, app) = (Shared::new(open()), App::default());
    let ok = (StatusCode::OK, r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#.to_owned());
    assert_eq!(send(&shared, &app, 1).await, ok);
    assert_eq!(send(&shared, &app, 1).await, ok);
    assert_eq!(app.handled.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_failed_handler_answers_500_and_gets_the_event_again() {
    let (shared, app) = (Shared::new(open()), App::default());
    app.failures.store(1, Ordering::SeqCst);
    assert_eq!(send(&shared, &app, 1).await, (StatusCode::INTERNAL_SERVER_ERROR, "the database is away".to_owned()));
    assert_eq!(shared.lock().rooms(), 0, "nothing was remembered");
    assert_eq!(send(&shared, &app, 1).await.0, StatusCode::OK);
    assert_eq!(app.handled.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_gap_is_told_to_the_app() {
    let (shared, app) = (Shared::new(open()), App::default());
    for seq in [1, 3, 2] {
        send(&shared, &app, seq).await;
    }
    let lobby = || Arc::from("lobby");
    assert_eq!(
        *app.notices.lock().unwrap(),
        [
            Notice::GapOpened { room: lobby(), seqs: 2..=2 },
            Notice::GapFilled { room: lobby(), seq: 2, still_missing: 0 },
        ]
    );
}

#[tokio::test]
async fn what_is_no_webhook_is_refused_before_the_app_hears_of_it() {
    let (shared, app) = (Shared::new(with_token()), App::default());
    assert_eq!(send(&shared, &app, 1).await.0, StatusCode::UNAUTHORIZED);
    let get = Request::get("/hook").body(Body::empty()).unwrap();
    assert_eq!(ask(&shared, &app, get).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let huge = Request::post("/hook").body(Body::from(vec![b'{'; BODY_BYTES_MAX + 1])).unwrap();
    assert_eq!(ask(&shared, &app, huge).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(app.handled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_header_that_is_there_twice_is_refused() {
    let (shared, app) = (Shared::new(open()), App::default());
    let uri = format!("/?{}", query_of("Group.CallbackAfterSendMsg"));
    let twice = Request::post(uri).header("webhook-id", "msg_1").header("webhook-id", "msg_2");
    let (status, told) = ask(&shared, &app, twice.body(Body::from(bytes(&message("lobby", 1)))).unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(told.contains("webhook-id"), "{told}");
    assert!(app.handled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_sender_that_hangs_up_while_the_app_works_leaves_the_event_new() {
    let shared = Shared::new(open());
    let never = |_: Received| std::future::pending::<Result<(), &'static str>>();
    let uri = format!("/?{}", query_of("Group.CallbackAfterSendMsg"));
    let request = Request::post(uri).body(Body::from(bytes(&message("lobby", 1)))).unwrap();
    let call = router(shared.clone(), never).oneshot(request);
    let hung_up = tokio::time::timeout(std::time::Duration::from_millis(50), call).await;
    assert!(hung_up.is_err());
    assert_eq!(shared.lock().rooms(), 0);
    let app = App::default();
    assert_eq!(send(&shared, &app, 1).await.0, StatusCode::OK);
    assert_eq!(app.handled.lock().unwrap().len(), 1);
}
