//! Endpoints that are not who they should be, or do not get through a handshake.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    Attack, Expect, good, reason, run, settings,
    wire::{Identity, encrypted, flood, hold, listen, read_head},
};

pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    pub(crate) fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("params");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate").der().clone();
        Identity { certificate, key, clients: None, alpn: b"http/1.1" }
    }
}

const UNKNOWN: &str = "TLS: invalid peer certificate: UnknownIssuer; if you trust who issued it, add that authority to the endpoint's extra roots";

/// An endpoint that shows this identity and answers well.
fn well(identity: &Identity) -> String {
    encrypted(identity, |mut stream| async move {
        if read_head(&mut stream).await.is_ok() {
            let _gone = stream.write_all(good().as_bytes()).await;
            hold(stream).await;
        }
    })
}

/// Takes the hello, and hangs up.
async fn cut_off(mut stream: TcpStream) {
    let _hello = stream.read(&mut [0; 16_384]).await;
    let _gone = stream.shutdown().await;
}

/// A server that repeats itself from the first moment on.
fn blurting(bytes: &[u8]) -> String {
    let bytes: Arc<[u8]> = bytes.into();
    let addr = listen(move |mut stream| {
        let bytes = bytes.clone();
        async move { flood(&mut stream, &bytes).await }
    });
    format!("http://{addr}/")
}

#[test]
fn no_false_identity_gets_a_message_and_the_trail_says_what_was_wrong_with_it() {
    let authority = Authority::new();
    let trusting = |name: &str, url: String, expect: Expect| Attack {
        settings: json!({ "extra_roots_pem": authority.0.pem() }),
        ..Attack::new(name, url, expect)
    };
    let year = |year| rcgen::date_time_ymd(year, 1, 1);
    let expired =
        authority.issue("localhost", |params| (params.not_before, params.not_after) = (year(2020), year(2021)));
    let early = authority.issue("localhost", |params| (params.not_before, params.not_after) = (year(3000), year(3001)));
    let mutual = Identity { clients: Some(authority.0.der().clone()), ..authority.issue("localhost", |_| {}) };
    let own = {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("params");
        params.distinguished_name.push(DnType::CommonName, "nobody else");
        let certificate = params.self_signed(&key).expect("a certificate");
        Identity { certificate: certificate.der().clone(), key, clients: None, alpn: b"http/1.1" }
    };
    let https = |url: String| url.replacen("http:", "https:", 1).replacen("127.0.0.1", "localhost", 1);
    let attacks = vec![
        trusting("as it should be", well(&authority.issue("localhost", |_| {})), Expect::Delivered),
        trusting(
            "another name",
            well(&authority.issue("other.example", |_| {})),
            reason(
                "TLS: invalid peer certificate: certificate not valid for name \"localhost\"; certificate is only valid for DnsName(\"other.example\")",
            ),
        ),
        trusting("expired", well(&expired), Expect::Beginning("TLS: invalid peer certificate: certificate expired: ")),
        trusting(
            "not valid yet",
            well(&early),
            Expect::Beginning("TLS: invalid peer certificate: certificate not valid yet: "),
        ),
        trusting("its own authority", well(&own), reason(UNKNOWN)),
        Attack::new("an authority nobody knows", well(&authority.issue("localhost", |_| {})), reason(UNKNOWN)),
        trusting(
            "wants a client certificate",
            well(&mutual),
            reason(
                "TLS: received fatal alert: CertificateRequired; the endpoint wants a client certificate, give it one",
            ),
        ),
        trusting(
            "a handshake that hangs",
            https(format!("http://{}/", listen(hold))),
            reason("no full answer in time, while negotiating TLS"),
        ),
        trusting(
            "a handshake that is cut off",
            https(format!("http://{}/", listen(cut_off))),
            reason("TLS: tls handshake eof"),
        ),
        trusting(
            "no TLS at all",
            https(blurting(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            reason("TLS: received corrupt message of type InvalidContentType"),
        ),
        trusting(
            "a hello without end",
            https(blurting(&[[22, 3, 3, 0x40, 0, 2].as_slice(), &[0xff; 16_383]].concat())),
            reason("TLS: received corrupt message of type HandshakePayloadTooLarge"),
        ),
    ];
    run(&settings("\"127.0.0.1\", \"::1\""), attacks);
}
