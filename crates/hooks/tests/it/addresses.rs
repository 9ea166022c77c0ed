//! Where webhooks may go: the guard looks at the address that is connected to, whatever the name said before.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use roomhook_hooks::{
    Config,
    http::{Guard, HttpTransport, IpNet, Multiplex, Request, Resolve, SendError, SystemResolver, Target, Transport},
};

use crate::{
    misbehaving::{default, first_failure},
    receiver::Receiver,
    world::{World, config, endpoint},
};

fn request(host: &str, port: u16) -> Request {
    let host_header = format!("{host}:{port}").parse().expect("header");
    Request {
        target: Arc::new(Target { host: host.into(), port, host_header, tls: None, multiplex: Multiplex::default() }),
        path: "/".into(),
        webhook_id: "evt_test".into(),
        timestamp: 1,
        signature: None,
        attempt: 1,
        body: Bytes::from_static(b"{}"),
        timeout: Duration::from_secs(2),
        kept_bytes: 256,
    }
}

/// A name server that says something else every time.
#[derive(Debug)]
struct Rebinding {
    answers: Vec<Vec<SocketAddr>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Resolve for Rebinding {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.answers[asked.min(self.answers.len() - 1)].clone())
    }
}

async fn send(resolver: impl Resolve + 'static, allow: Vec<IpNet>, host: &str, port: u16) -> Result<u16, SendError> {
    let transport = HttpTransport::new(Arc::new(resolver), Guard::new(allow));
    transport.channel().send(&request(host, port)).await.result
}

#[tokio::test]
async fn loopback_is_refused_unless_allowed_and_the_reason_says_how() {
    let receiver = Receiver::start().await;
    let mut world = World::with(Config { allow: Vec::new(), ..config() }, vec![endpoint(&receiver.url("/"))]).await;
    world.say("r", "hello").await;
    let failure = first_failure(world.hooks()).await;
    assert_eq!(
        failure.problem.as_deref(),
        Some(
            "address 127.0.0.1 is a loopback address and not allowed for webhooks; list its range under webhooks.allow to permit it"
        )
    );
    world.stop().await;
    assert!(receiver.got().is_empty());
}

#[tokio::test]
async fn addresses_written_in_disguise_are_refused() {
    for host in ["[::ffff:127.0.0.1]", "[::1]", "169.254.169.254", "[64:ff9b::7f00:1]", "0.0.0.0"] {
        let refused = send(SystemResolver::default(), Vec::new(), host, 80).await;
        assert!(matches!(refused, Err(SendError::NotAllowed { .. })), "{host}: {refused:?}");
    }
}

#[tokio::test]
async fn a_name_that_turns_to_a_private_address_gets_no_connection() {
    let receiver = Receiver::start().await;
    let loopback = receiver.addr;
    // Only 127.0.0.1 is private here; 127.0.0.2 plays the public address.
    let allow: Vec<IpNet> = vec!["127.0.0.2".parse().expect("net")];
    let public = "127.0.0.2:1".parse().expect("address");
    let resolver = Rebinding { answers: vec![vec![public], vec![loopback]], asked: AtomicUsize::new(0) };
    let transport = HttpTransport::new(Arc::new(resolver), Guard::new(allow));
    let mut channel = transport.channel();
    let first = channel.send(&request("rebind.example", loopback.port())).await.result;
    assert!(matches!(first, Err(SendError::Connect(_))), "{first:?}");
    let second = channel.send(&request("rebind.example", loopback.port())).await.result;
    assert!(matches!(second, Err(SendError::NotAllowed { .. })), "{second:?}");
    assert!(receiver.got().is_empty());
}

#[tokio::test]
async fn of_a_mixed_answer_only_the_allowed_address_is_used() {
    let receiver = Receiver::start().await;
    let answers = vec![vec!["10.0.0.1:80".parse().expect("address"), receiver.addr]];
    let resolver = Rebinding { answers, asked: AtomicUsize::new(0) };
    let sent = send(resolver, vec!["127.0.0.1".parse().expect("net")], "mixed.example", receiver.addr.port()).await;
    assert_eq!(sent, Ok(200));
}

#[tokio::test]
async fn a_name_without_address_says_so() {
    let resolver = Rebinding { answers: vec![Vec::new()], asked: AtomicUsize::new(0) };
    let sent = send(resolver, Vec::new(), "nothing.example", 80).await;
    assert_eq!(
        sent,
        Err(SendError::Resolve { host: "nothing.example".into(), reason: "the name has no address".into() })
    );
}

/// The world of an endpoint whose name server is not to be trusted. 127.0.0.2 plays a public address.
async fn rebinding_world(answers: Vec<Vec<SocketAddr>>, allow: &[&str], url: &str) -> World {
    let allow: Vec<IpNet> = allow.iter().map(|net| net.parse().expect("net")).collect();
    let resolver = Rebinding { answers, asked: AtomicUsize::new(0) };
    let transport = HttpTransport::new(Arc::new(resolver), Guard::new(allow.clone()));
    let mut world = World::stopped(Config { allow, ..config() }, vec![endpoint(url)]).await;
    world.start_over(Arc::new(transport));
    world
}

#[tokio::test]
async fn a_name_that_changes_its_answer_fails_in_the_trail_and_reaches_nobody() {
    let inside = Receiver::start().await;
    let port = inside.addr.port();
    let public: SocketAddr = format!("127.0.0.2:{port}").parse().expect("address");
    // The first answer is public, and nobody listens there; all others are private.
    let answers = vec![vec![public], vec![inside.addr]];
    let mut world = rebinding_world(answers, &["127.0.0.2"], &format!("http://rebind.example:{port}/")).await;
    world.say("r", "hello").await;
    let second = || {
        // The endpoint may not run yet.
        let failures = world.hooks().attempts(&default(), true, 10).ok()?;
        failures.into_iter().find(|failure| failure.number == 2)
    };
    let waiting = async {
        loop {
            match second() {
                Some(second) => return second,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let second = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("a second attempt");
    let expected = "address 127.0.0.1 is a loopback address and not allowed for webhooks; list its range under webhooks.allow to permit it";
    assert_eq!(second.problem.as_deref(), Some(expected));
    world.stop().await;
    assert!(inside.got().is_empty());
}

#[tokio::test]
async fn of_an_answer_that_mixes_public_and_private_the_private_one_is_never_used() {
    // Both listen on the same port: only the address tells them apart.
    let inside = Receiver::start().await;
    let port = inside.addr.port();
    let public = Receiver::start_on(format!("127.0.0.2:{port}").parse().expect("address")).await;
    let answers = vec![vec![inside.addr, public.addr, "169.254.169.254:80".parse().expect("address")]];
    let mut world = rebinding_world(answers, &["127.0.0.2"], &format!("http://mixed.example:{port}/")).await;
    for _ in 0..5 {
        world.say("r", "hello").await;
    }
    public.wait_for(5).await;
    world.stop().await;
    assert!(inside.got().is_empty());
    assert!(public.got().iter().all(|got| got.header("host") == format!("mixed.example:{port}")));
}

#[tokio::test]
async fn a_url_with_an_address_in_brackets_a_path_in_escapes_and_a_query_of_its_own_arrives_as_it_was_set() {
    let receiver = Receiver::start_on("[::1]:0".parse().expect("address")).await;
    let port = receiver.addr.port();
    let url = format!("http://[::1]:{port}/a%20b/c;d='e'?own=1%262&empty=&flag");
    let mut world =
        World::with(Config { allow: vec!["::1".parse().expect("net")], ..config() }, vec![endpoint(&url)]).await;
    world
        .say_with(r#"ro"om/%2e?a=b#c&d\ e"#, "hello", |draft| {
            draft.origin.client_ip = "2001:db8::7".parse().expect("address")
        })
        .await;
    let got = receiver.wait_for(1).await.remove(0);
    let (path, query) = got.target.split_once('?').expect("a query");
    assert_eq!(
        query,
        "own=1%262&empty=&flag&SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json&ClientIP=2001:db8::7&OptPlatform=Web"
    );
    assert_eq!((path, got.header("host")), ("/a%20b/c;d='e'", format!("[::1]:{port}").as_str()));
    assert_eq!(got.room(), r#"ro"om/%2e?a=b#c&d\ e"#);
    world.stop().await;
}
