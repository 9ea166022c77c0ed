//! HTTPS with certificates made on the spot: whom we trust, and whom we do not.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use roomhook_hooks::http::Roots;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::PrivateKeyDer;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

use crate::{
    misbehaving::first_failure,
    receiver::OK,
    world::{World, endpoint},
};

pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority"))
    }

    /// A certificate for a name, and its key.
    pub(crate) fn issue(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("params");
        change(&mut params);
        let key = KeyPair::generate().expect("key");
        (params.signed_by(&key, &self.0).expect("certificate"), key)
    }
}

struct Server {
    url: String,
    hits: mpsc::Receiver<serde_json::Value>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An HTTPS receiver with this certificate; with `clients`, one that demands a client certificate of that authority.
async fn serve(certificate: &rcgen::Certificate, key: &KeyPair, clients: Option<&Authority>) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().expect("tls");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).expect("root");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("verifier");
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).expect("certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("https://localhost:{}/hook", listener.local_addr().expect("address").port());
    let (hit, hits) = mpsc::channel(16);
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, hit) = (acceptor.clone(), hit.clone());
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let hit = hit.clone();
                    async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        let _ = hit.send(serde_json::from_slice(&body).unwrap_or_default()).await;
                        Ok::<_, hyper::Error>(http::Response::new(Full::new(bytes::Bytes::from_static(OK.as_bytes()))))
                    }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Server { url, hits, task }
}

async fn world_with(server: &Server, change: impl FnOnce(&mut roomhook_room::Endpoint)) -> World {
    let mut endpoint = endpoint(&server.url);
    change(&mut endpoint);
    let mut config = crate::world::config();
    config.allow.push("::1".parse().expect("net"));
    let mut world = World::with(config, vec![endpoint]).await;
    world.say("r", "hello").await;
    world
}

async fn refusal(server: &Server, change: impl FnOnce(&mut roomhook_room::Endpoint)) -> String {
    let mut world = world_with(server, change).await;
    let failure = first_failure(world.hooks()).await;
    world.stop().await;
    failure.problem.as_deref().unwrap_or("?").to_owned()
}

#[tokio::test]
async fn an_endpoint_with_its_own_authority_is_reached_over_https() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost", |_| {});
    let mut server = serve(&certificate, &key, None).await;
    let mut world = world_with(&server, |endpoint| endpoint.extra_roots_pem = authority.0.pem()).await;
    assert_eq!(server.hits.recv().await.expect("a hit")["MsgSeq"], 1);
    world.say("r", "over the kept connection").await;
    assert_eq!(server.hits.recv().await.expect("a hit")["MsgSeq"], 2);
    world.stop().await;
}

#[test]
fn endpoints_with_nothing_of_their_own_share_one_tls_configuration() {
    let authority = Authority::new();
    let roots = Roots::new(authority.0.pem());
    let plain = roots.client_config("", "", "").expect("a configuration");
    assert!(Arc::ptr_eq(&plain, &roots.client_config(" ", "", "\n").expect("a configuration")));
    let own = roots.client_config(&Authority::new().0.pem(), "", "").expect("a configuration");
    assert!(!Arc::ptr_eq(&plain, &own));
    let bad = Roots::new("no certificate at all".into());
    assert!(bad.client_config("", "", "").is_err(), "as each endpoint with the same roots tells");
}

#[tokio::test]
async fn an_authority_that_nobody_trusts_is_refused() {
    let (certificate, key) = Authority::new().issue("localhost", |_| {});
    let server = serve(&certificate, &key, None).await;
    let reason = refusal(&server, |_| {}).await;
    assert!(reason.contains("UnknownIssuer"), "{reason}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("other.example", |_| {});
    let server = serve(&certificate, &key, None).await;
    let reason = refusal(&server, |endpoint| endpoint.extra_roots_pem = authority.0.pem()).await;
    assert!(reason.contains("not valid for name"), "{reason}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let server = serve(&certificate, &key, None).await;
    let reason = refusal(&server, |endpoint| endpoint.extra_roots_pem = authority.0.pem()).await;
    assert!(reason.contains("expired"), "{reason}");
}

#[tokio::test]
async fn a_client_certificate_opens_the_door_and_its_absence_is_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost", |_| {});
    let mut server = serve(&certificate, &key, Some(&authority)).await;
    let reason = refusal(&server, |endpoint| endpoint.extra_roots_pem = authority.0.pem()).await;
    assert!(reason.contains("CertificateRequired"), "{reason}");
    let (client, client_key) = authority.issue("roomhook", |_| {});
    let mut world = world_with(&server, |endpoint| {
        endpoint.extra_roots_pem = authority.0.pem();
        endpoint.client_cert_pem = client.pem();
        endpoint.client_key_pem = client_key.serialize_pem();
    })
    .await;
    assert_eq!(server.hits.recv().await.expect("a hit")["MsgSeq"], 1);
    world.stop().await;
}

#[tokio::test]
async fn certificates_that_cannot_be_read_are_a_reason_not_a_crash() {
    let (certificate, key) = Authority::new().issue("localhost", |_| {});
    let server = serve(&certificate, &key, None).await;
    let reason = refusal(&server, |endpoint| endpoint.extra_roots_pem = "no certificate at all".into()).await;
    assert!(reason.contains("extra roots"), "{reason}");
    let reason = refusal(&server, |endpoint| endpoint.client_cert_pem = certificate.pem()).await;
    assert_eq!(reason, "a client certificate needs its key, and a key its certificate");
}
