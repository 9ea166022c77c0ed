//! What the fuzz target `webhook_answer` runs, and an ordinary test besides.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Version};
use roomhook_protocol::{
    codes,
    message::{Limits, MsgBody},
};
use roomhook_room::{Draft, MsgId, Origin, Platform, Priority, UserId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    BODY_BYTES_MAX, KEPT_BYTES, Multiplex, Phases, Report, Request, SendError, Target,
    answer::{self, HEAD_BYTES_MAX},
    channel::PostError,
    connection::Connection,
    message::message,
    stream::Wire,
};
use crate::{
    engine::{Failed, Verdict},
    gate::{Decision, Failure, judge::judge},
    retry::RetryPolicy,
    shared::Outcome,
};

/// Requests over one connection.
const REQUESTS: usize = 3;

/// What an endpoint sends for a few requests over one connection, any bytes. The first one says in what pieces they come, and
/// whether some come before anybody asked.
pub fn answers(data: &[u8]) {
    let Some((&shape, bytes)) = data.split_first() else { return };
    let script = Script {
        rest: Bytes::copy_from_slice(bytes),
        piece: match shape >> 1 {
            0 => usize::MAX,
            piece => piece.into(),
        },
        is_asked: shape & 1 == 1,
        is_pausing: false,
    };
    for answered in exchange(script, bytes.len()) {
        let is_ok = answered.is_ok();
        let report = match answered {
            Ok(answered) => {
                assert!(answered.body.len() <= BODY_BYTES_MAX);
                let kept = answer::report(&answered, Phases::default(), KEPT_BYTES);
                assert!(kept.head.len() <= KEPT_BYTES.max(51));
                answer::report(&answered, Phases::default(), BODY_BYTES_MAX)
            }
            Err(error) => {
                assert!(!error.to_string().is_empty() && !error.is_connecting());
                Report::failed(error)
            }
        };
        judged(&report);
        settled(report, is_ok);
    }
}

/// The verdict of a before-send webhook.
fn judged(report: &Report) {
    let (limits, draft) = (Limits::default(), draft());
    match judge(report, &draft, &limits).map(|judged| judged.decision) {
        Ok(Decision::Replace { body, custom_data }) => {
            assert!(body.len() + custom_data.len() <= limits.size_bytes_max);
            assert_eq!(MsgBody::check_bytes(&body, &limits).as_ref(), Ok(&body));
            assert!(serde_json::from_slice::<String>(&custom_data).is_ok());
        }
        Ok(Decision::Refuse { code, info }) => {
            assert!(code == codes::WEBHOOK_REFUSED || codes::WEBHOOK_OWN.contains(&code));
            assert!(info.len() <= 1_024);
        }
        Ok(Decision::Allow | Decision::Discard) => {}
        Err(Failure::Overloaded) => panic!("nobody else is there"),
        Err(failure) => {
            let has_no_verdict = !matches!(report.result, Ok(200));
            assert!(has_no_verdict == matches!(failure, Failure::Send(_) | Failure::Status(_)), "{failure}");
        }
    }
}

/// What an after-send webhook's answer does to its delivery.
fn settled(report: Report, is_answered: bool) {
    let is_good = report.is_acknowledged();
    assert!(is_answered || !is_good);
    assert!(!report.malformed || is_good);
    match Outcome::Answered(report).verdict() {
        Verdict::Acknowledged => assert!(is_good),
        Verdict::Failed(Failed { retry_after_ms, .. }) => {
            assert!(!is_good);
            let retry = RetryPolicy::default();
            for failures in [1, 2, u32::MAX] {
                let wait_ms = retry.wait_ms(failures, retry_after_ms, &mut fastrand::Rng::with_seed(7));
                assert!((1_000..=retry.wait_max_ms()).contains(&wait_ms));
            }
        }
        Verdict::Gone | Verdict::Untried => panic!("it was asked"),
    }
}

/// Posts over one connection until it is no good any more. All that is needed for it is there, so it ends.
fn exchange(script: Script, bytes: usize) -> Vec<Result<answer::Answered, SendError>> {
    let target = target();
    let request = request(&target);
    let mut exchanging = pin!(async {
        let mut answered = Vec::new();
        let mut connection = Connection::open(&target, script).await.expect("no bytes are needed for it");
        while answered.len() < REQUESTS && connection.is_good().await {
            let message = message(&request, Version::HTTP_11).expect("a good request");
            let read = match connection.ask(message).await {
                Ok(response) => connection.read(response).await,
                Err(PostError::Lost(error)) => Err(SendError::Broken(error.to_string())),
                Err(PostError::Failed(error)) => Err(error),
            };
            let is_over = read.is_err();
            answered.push(read);
            if is_over {
                break;
            }
        }
        answered
    });
    // Each round takes a byte at least, or waits once.
    for _ in 0..4 * (bytes + HEAD_BYTES_MAX) {
        if let Poll::Ready(answered) = exchanging.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return answered;
        }
    }
    panic!("it waits for what never comes")
}

/// The other end of a connection: says what it has to say, in pieces, and hangs up.
struct Script {
    rest: Bytes,
    piece: usize,
    /// Whether a request came, without which it says nothing.
    is_asked: bool,
    is_pausing: bool,
}

impl Wire for Script {
    fn acknowledge(&self) {}
}

impl AsyncRead for Script {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_pausing = !this.is_pausing;
        if this.is_pausing || !this.is_asked {
            return Poll::Pending;
        }
        buf.put_slice(&this.rest.split_to(this.rest.len().min(this.piece).min(buf.remaining())));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().is_asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn target() -> Arc<Target> {
    Arc::new(Target {
        host: "backend.example".into(),
        port: 80,
        host_header: HeaderValue::from_static("backend.example"),
        tls: None,
        multiplex: Multiplex::default(),
    })
}

fn request(target: &Arc<Target>) -> Request {
    Request {
        target: target.clone(),
        path: "/hook".into(),
        webhook_id: "144115188075855873-1700000000-7".into(),
        timestamp: 1_700_000_000,
        signature: None,
        attempt: 1,
        body: Bytes::from_static(b"{}"),
        timeout: Duration::from_secs(5),
        kept_bytes: BODY_BYTES_MAX,
    }
}

fn draft() -> Draft {
    let user = UserId::new("bob").expect("a good id");
    Draft {
        from: user.clone(),
        operator: user,
        origin: Origin { platform: Platform::Web, client_ip: [203, 0, 113, 7].into(), client: None },
        random: 7,
        content: None,
        msg_id: MsgId { account: 1, secs: 2, random: 7 },
        priority: Priority::Normal,
        body: Bytes::from_static(br#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi"}}]"#),
        custom_data: Bytes::from_static(br#""""#),
        forbid_after_hook: false,
    }
}

#[cfg(test)]
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;

#[cfg(test)]
#[test]
fn the_fuzz_target_runs_over_its_corpus() {
    corpus::run(env!("CARGO_MANIFEST_DIR"), "answer", answers);
}
