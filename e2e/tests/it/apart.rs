//! One app's endpoint is dead, in each of the ways there are; another app of the same server notices nothing, and what the dead one
//! is owed is counted and paid when it is back.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use roomhook_e2e::receiver::{Options, Receiver};
use roomhook_e2e::rest::Client;
use roomhook_e2e::server::{Server, Setup};
use roomhook_e2e::{ADMIN, KEY, SDKAPPID};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::owed;

const NEIGHBOUR: u32 = SDKAPPID + 1;
const ROOMS: usize = 6;
const MESSAGES_PER_ROOM: u64 = 15;

/// How an endpoint can be dead.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dead {
    Refuses,
    IsSilent,
    Drips,
    Fails,
}

/// Something at an address that never acknowledges. Ends when dropped.
struct DeadEndpoint {
    port: u16,
    _tasks: JoinSet<()>,
    /// Bound and not listened on.
    _socket: Option<TcpSocket>,
}

impl DeadEndpoint {
    fn at(port: u16, dead: Dead) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
        let port = socket.local_addr()?.port();
        let mut tasks = JoinSet::new();
        if dead == Dead::Refuses {
            return Ok(Self { port, _tasks: tasks, _socket: Some(socket) });
        }
        let listener = socket.listen(128)?;
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(disappoint(stream, dead));
            }
        });
        Ok(Self { port, _tasks: tasks, _socket: None })
    }
}

async fn disappoint(mut stream: TcpStream, dead: Dead) {
    let mut buffer = vec![0; 16_384];
    while let Ok(1..) = stream.read(&mut buffer).await {
        let answer: &[u8] = match dead {
            Dead::Refuses | Dead::IsSilent => continue,
            Dead::Fails => b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
            Dead::Drips => b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n",
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
        if dead == Dead::Drips {
            return drip(stream).await;
        }
    }
}

/// A byte now and then, for ever.
async fn drip(mut stream: TcpStream) {
    while stream.write_all(b" ").await.is_ok() {
        sleep(Duration::from_millis(200)).await;
    }
}

fn setup(receiver: &Receiver, dead: u16) -> Setup {
    let neighbour = format!(
        "[[app]]\nsdkappid = {NEIGHBOUR}\nkey = \"{KEY}\"\nadmins = [\"{ADMIN}\"]\n\
         [app.webhook]\nurl = \"http://127.0.0.1:{dead}/\"\ncommands = [\"Group.CallbackAfterSendMsg\"]\n"
    );
    let quick = "retry_first = \"50ms\"\nretry_max = \"500ms\"";
    Setup { of_webhooks: quick.to_owned(), sections: neighbour, ..Setup::webhook(receiver.url()) }
}

/// Sends into rooms of the app, sender by sender; gives what was acknowledged.
async fn talk(server: &Server, app: u32) -> Result<owed::Acknowledged> {
    let mut setting_up = server.client_of(app).await?;
    setting_up.import("ana_k").await?;
    let mut senders = JoinSet::new();
    for room in 0..ROOMS {
        let (room, client) = (format!("room-{room}"), server.client_of(app).await?);
        setting_up.create_room(&room).await?;
        senders.spawn(say(client, room));
    }
    let mut acknowledged = owed::Acknowledged::new();
    while let Some(told) = senders.join_next().await {
        acknowledged.extend(told??);
    }
    Ok(acknowledged)
}

async fn say(mut client: Client, room: String) -> Result<owed::Acknowledged> {
    let mut told = owed::Acknowledged::new();
    for number in 0..MESSAGES_PER_ROOM {
        told.insert((room.clone(), client.text(&room, "ana_k", &format!("message {number}")).await?.seq));
    }
    Ok(told)
}

/// The five numbers of each app's endpoint.
async fn numbers(server: &Server) -> Result<BTreeMap<u32, [u64; 5]>> {
    let (_, metrics) = server.admin_get("/metrics").await?;
    [SDKAPPID, NEIGHBOUR].into_iter().map(|app| Ok((app, owed::numbers_of(&metrics, app)?))).collect()
}

async fn one_is_dead_and_the_other_does_not_notice(dead: Dead) -> Result<()> {
    let mut healthy = Receiver::start().await?;
    let endpoint = DeadEndpoint::at(0, dead)?;
    let port = endpoint.port;
    let server = setup(&healthy, port).start().await?;
    let (ours, theirs) = tokio::join!(talk(&server, SDKAPPID), talk(&server, NEIGHBOUR));
    let (ours, theirs) = (ours?, theirs?);

    // All of the healthy one's arrives while the other is dead.
    let seen = owed::take_all(&mut healthy, &ours).await?;
    owed::check(&ours, &seen, 1)?;
    let all = ours.len() as u64;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let now = numbers(&server).await?;
        ensure!(now[&NEIGHBOUR] == [all, 0, all, 0, 0], "the dead one's queue is counted: {now:?}");
        // The answer of the last webhook is read a moment after it was sent.
        if now[&SDKAPPID] == [all, all, 0, 0, 0] {
            break;
        }
        ensure!(Instant::now() < deadline, "{now:?}");
        sleep(Duration::from_millis(20)).await;
    }

    // And the dead one gets everything when it is back.
    drop(endpoint);
    let mut back = Receiver::start_with(Options { port, ..Options::default() }).await?;
    let seen = owed::take_all(&mut back, &theirs).await?;
    owed::check(&theirs, &seen, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_endpoint_that_refuses_connections() -> Result<()> {
    one_is_dead_and_the_other_does_not_notice(Dead::Refuses).await
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_endpoint_that_never_answers() -> Result<()> {
    one_is_dead_and_the_other_does_not_notice(Dead::IsSilent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_endpoint_that_drips() -> Result<()> {
    one_is_dead_and_the_other_does_not_notice(Dead::Drips).await
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_endpoint_that_fails_at_once() -> Result<()> {
    one_is_dead_and_the_other_does_not_notice(Dead::Fails).await
}
