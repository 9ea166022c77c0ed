//! Endpoints that misbehave, each in its own way. Whatever they do, the delivery fails with a reason that a person
//! understands, in bounded time and memory, and arrives once they have come to their senses.

use std::time::Duration;

use roomhook_hooks::{Attempt, EndpointName, Handle};
use roomhook_room::EndpointId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    receiver::{Receiver, Reply},
    world::{APP, World, config, endpoint},
};

pub(crate) fn default() -> EndpointName {
    EndpointName { app: APP, id: EndpointId(EndpointId::DEFAULT.into()) }
}

/// How long a test waits for what must come. Generous: it is only ever used up by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the endpoint's failures hold one, and tells its reason.
pub(crate) async fn first_failure(handle: &Handle) -> Attempt {
    let waiting = async {
        loop {
            if let Some(failure) =
                handle.attempts(&default(), true, 1).ok().and_then(|failures| failures.into_iter().next())
            {
                return failure;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("a failure in time")
}

pub(crate) async fn wait_for_status(handle: &Handle, done: impl Fn(&roomhook_hooks::Status) -> bool) {
    let waiting = async {
        while !handle.status_of(&default()).is_ok_and(|status| done(&status)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("waited in vain for a state; it is {:?}", handle.status());
    }
}

/// A server that reads a request's head and then writes what `act` writes.
async fn raw_server<F>(act: impl Fn(TcpStream) -> F + Send + 'static) -> (String, JoinHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}/", listener.local_addr().expect("address"));
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            connections.spawn(act(stream));
        }
    });
    (url, task)
}

async fn reason_of(url: &str) -> (String, Duration) {
    let mut world = World::new(vec![endpoint(url)]).await;
    world.say("r", "hello").await;
    let failure = first_failure(world.hooks()).await;
    world.stop().await;
    (failure.problem.as_deref().unwrap_or("?").to_owned(), failure.phases.total)
}

#[tokio::test]
async fn an_answer_that_never_comes_fails_after_the_timeout() {
    let (url, _server) = raw_server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let (reason, took) = reason_of(&url).await;
    assert_eq!(reason, "no full answer in time, while waiting for the answer");
    assert!(took >= config().timeout && took < config().timeout * 3, "{took:?}");
}

#[tokio::test]
async fn an_answer_that_drips_fails_after_the_same_timeout() {
    let (url, _server) = raw_server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 51\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let (reason, took) = reason_of(&url).await;
    assert_eq!(reason, "no full answer in time, while reading the answer");
    assert!(took < config().timeout * 3, "{took:?}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let (url, _server) = raw_server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    assert_eq!(reason_of(&url).await.0, "the answer's body is longer than 65536 bytes");
}

#[tokio::test]
async fn an_answer_that_announces_too_much_is_refused_unread() {
    let (url, _server) = raw_server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    let (reason, took) = reason_of(&url).await;
    assert_eq!(reason, "the answer's body is longer than 65536 bytes");
    assert!(took < config().timeout);
}

#[tokio::test]
async fn floods_of_headers_are_refused() {
    let (url, _server) = raw_server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        for number in 0_u64.. {
            if stream.write_all(format!("x-{number}: y\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let (reason, _) = reason_of(&url).await;
    assert!(reason.contains("message head is too large") || reason.contains("Header"), "{reason}");
}

#[tokio::test]
async fn a_reset_and_a_protocol_that_is_not_http_are_named() {
    let (url, _server) = raw_server(|stream| async move { drop(stream) }).await;
    let (reason, _) = reason_of(&url).await;
    assert!(reason.contains("connection"), "{reason}");
    let (url, _server) = raw_server(|mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    })
    .await;
    let (reason, _) = reason_of(&url).await;
    assert!(reason.contains("HTTP"), "{reason}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (elsewhere, here) = (Receiver::start().await, Receiver::start().await);
    let location = elsewhere.url("/stolen");
    here.rule(move |_| Reply { headers: vec![("location", location.clone())], ..Reply::status(307) });
    let (reason, _) = reason_of(&here.url("/")).await;
    assert_eq!(reason, "the endpoint answered with a redirect, which is not followed");
    assert!(elsewhere.got().is_empty());
}

#[tokio::test]
async fn a_compressed_bomb_stays_compressed() {
    // Claims to be gzip; nobody looks inside, so a 2xx acknowledges and the body counts as malformed.
    let (url, _server) = raw_server(|mut stream| async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1000\r\n\r\n";
        let _ = stream.write_all(&[head.as_slice(), &[0x1f; 1000]].concat()).await;
    })
    .await;
    let mut world = World::new(vec![endpoint(&url)]).await;
    world.say("r", "hello").await;
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 1).await;
    let attempt = world.hooks().attempts(&default(), false, 1).expect("endpoint").remove(0);
    assert_eq!(attempt.problem.as_deref(), Some("the answer is not the documented JSON (counted, not a failure)"));
    assert!(attempt.answer.len() <= 256);
    world.stop().await;
}

#[tokio::test]
async fn any_2xx_acknowledges_whatever_the_body_says() {
    let receiver = Receiver::start().await;
    receiver.rule(|got| match got.seq() {
        1 => Reply { body: r#"{"ActionStatus":"FAIL","ErrorInfo":"no","ErrorCode":1}"#.into(), ..Reply::ok() },
        2 => Reply { body: "<html>thanks</html>".into(), ..Reply::status(202) },
        _ => Reply { body: String::new(), ..Reply::status(204) },
    });
    let mut world = World::new(vec![endpoint(&receiver.url("/"))]).await;
    for _ in 0..3 {
        world.say("r", "hello").await;
    }
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 3).await;
    world.stop().await;
    assert_eq!(receiver.got().len(), 3);
}

#[tokio::test]
async fn an_endpoint_that_was_down_gets_everything_in_order_once_it_is_up() {
    let receiver = Receiver::start().await;
    let addr = receiver.stop();
    let mut world = World::new(vec![endpoint(&format!("http://{addr}/"))]).await;
    for _ in 0..20 {
        world.say("a", "x").await;
        world.say("b", "x").await;
    }
    let failure = first_failure(world.hooks()).await;
    assert!(failure.problem.as_deref().is_some_and(|problem| problem.contains("cannot connect")), "{failure:?}");
    wait_for_status(world.hooks(), |status| matches!(status.summary.mode, roomhook_hooks::engine::Mode::Paused { .. }))
        .await;
    let receiver = Receiver::start_on(addr).await;
    world.hooks().resume(&default()).expect("resume");
    let got = receiver.wait_for(40).await;
    for room in ["a", "b"] {
        let seqs: Vec<u64> = got.iter().filter(|got| got.room() == room).map(crate::receiver::Got::seq).collect();
        assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
    }
    world.stop().await;
}

#[tokio::test]
async fn a_dead_endpoint_keeps_no_other_waiting() {
    let (dead_url, _server) = raw_server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let receiver = Receiver::start().await;
    let mut dead = endpoint(&dead_url);
    dead.id = EndpointId("dead".into());
    let mut world = World::new(vec![dead, endpoint(&receiver.url("/"))]).await;
    for _ in 0..100 {
        world.say("r", "hello").await;
    }
    receiver.wait_for(100).await;
    wait_for_status(world.hooks(), |status| status.summary.totals.delivered == 100).await;
    world.stop().await;
}
