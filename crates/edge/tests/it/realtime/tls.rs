//! The same over TLS, where the connection's own task writes to the socket.

use std::sync::Arc;

use roomhook_centrifuge::{ConnectRequest, Format, Request};
use roomhook_edge::listener::{self, Tls, TlsFiles};
use roomhook_room::{Command, CreateRoom, Incarnation, RoomId, RoomInfo, RoomKey, UserId};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::client::Client;
use crate::world::{APP, KEY, Options, World, usersig};

/// The room by hand, because the test's REST client speaks no TLS.
fn create() -> CreateRoom {
    let owner = UserId::new("ann").unwrap();
    let info = RoomInfo { name: "lobby".into(), ..RoomInfo::bare("Live", owner.clone()) };
    CreateRoom { operator: owner, info, incarnation: Incarnation::from_random(7) }
}

#[tokio::test]
async fn clients_talk_over_tls_as_they_do_without() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["chat.test".to_owned()]).unwrap();
    let files = TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));

    let options = Options::default();
    let tls = Some(Arc::new(Tls::load(files).unwrap()));
    let world = World::with(Options { listener: listener::Config { tls, ..options.listener }, ..options }).await;
    let lobby = RoomKey { app: APP, room: RoomId::new("lobby").unwrap() };
    world.services.router.execute(lobby, Command::Create(create())).await.unwrap();
    let mut clients = Vec::new();
    for (user, format) in [("ann", Format::Json), ("bob", Format::Protobuf)] {
        let stream = TcpStream::connect(world.addr).await.unwrap();
        let stream = connector.connect(ServerName::try_from("chat.test").unwrap(), stream).await.unwrap();
        let mut client = Client::open_over(&world, Box::new(stream), format).await;
        let connect = ConnectRequest { token: usersig(user, KEY), ..ConnectRequest::default() };
        client.call(Request::Connect(connect)).await.unwrap();
        client.join("lobby").await;
        clients.push(client);
    }
    let text = "x".repeat(8_000);
    for number in 1..=20 {
        clients[0].say("lobby", &text).await;
        for client in &mut clients {
            assert_eq!(client.hears().await, format!("{number}:{text}"));
        }
    }
    let closed = tokio::spawn(async move { clients[1].closed().await });
    world.stop().await;
    assert_eq!(closed.await.unwrap().code, 3001);
}
