//! Servers that do what they are told with each connection.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// A connection to the server under attack.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The attackers' threads. They live as long as the test program.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// Accepts connections on loopback and lets `act` have them.
pub(crate) fn listen<F>(act: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).expect("bind");
    let addr = listener.local_addr().expect("an address");
    runtime().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(act(stream));
        }
    });
    addr
}

/// The URL of a plain server that reads the request's head and then does `act`.
pub(crate) fn plain<F>(act: impl Fn(TcpStream) -> F + Clone + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let addr = listen(move |mut stream| {
        let act = act.clone();
        async move {
            if read_head(&mut stream).await.is_ok() {
                act(stream).await;
            }
        }
    });
    format!("http://{addr}/hook")
}

/// The URL of a plain server that answers with these bytes and then keeps the connection open, silent.
pub(crate) fn answering(bytes: impl AsRef<[u8]>) -> String {
    let bytes: Arc<[u8]> = bytes.as_ref().into();
    plain(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let _gone = stream.write_all(&bytes).await;
            hold(stream).await;
        }
    })
}

/// The URL of a plain server that answers with these bytes and closes.
pub(crate) fn closing(bytes: impl AsRef<[u8]>) -> String {
    let bytes: Arc<[u8]> = bytes.as_ref().into();
    plain(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let _gone = stream.write_all(&bytes).await;
            let _gone = stream.shutdown().await;
        }
    })
}

/// The URL of a plain server that answers with a beginning, and then with the same bytes again and again.
pub(crate) fn flooding(begin: impl AsRef<[u8]>, again: impl AsRef<[u8]>) -> String {
    let (begin, again): (Arc<[u8]>, Arc<[u8]>) = (begin.as_ref().into(), again.as_ref().into());
    plain(move |mut stream| {
        let (begin, again) = (begin.clone(), again.clone());
        async move {
            let _gone = stream.write_all(&begin).await;
            flood(&mut stream, &again).await;
        }
    })
}

/// Writes the same bytes as fast as they are taken, until nobody takes them.
pub(crate) async fn flood(wire: &mut (impl Wire + ?Sized), bytes: &[u8]) {
    // Few large writes, so that the attacker costs less than the attacked.
    let many = bytes.repeat((16_384 / bytes.len()).max(1));
    while wire.write_all(&many).await.is_ok() {}
}

/// Keeps the connection until the other side closes it.
pub(crate) async fn hold(mut wire: impl Wire) {
    let _closed = tokio::io::copy(&mut wire, &mut tokio::io::sink()).await;
}

/// One byte each tenth of a second, until nobody takes them.
pub(crate) async fn drip(wire: &mut (impl Wire + ?Sized), bytes: impl IntoIterator<Item = u8>) {
    for byte in bytes {
        if wire.write_all(&[byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) async fn read_head(wire: &mut (impl Wire + ?Sized)) -> io::Result<()> {
    let mut head = Vec::new();
    let mut some = [0; 4_096];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match wire.read(&mut some).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => head.extend_from_slice(&some[..read]),
        }
    }
    Ok(())
}

/// What a TLS server shows, and what it asks for.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: rcgen::KeyPair,
    /// The authority whose client certificates it wants to see.
    pub(crate) clients: Option<CertificateDer<'static>>,
    pub(crate) alpn: &'static [u8],
}

/// The URL (with `localhost`) of a TLS server that shakes hands and then does `act`.
pub(crate) fn encrypted<F>(
    identity: &Identity,
    act: impl Fn(tokio_rustls::server::TlsStream<TcpStream>) -> F + Clone + Send + 'static,
) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let builder = match &identity.clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).expect("a key");
    let mut config = builder.with_single_cert(vec![identity.certificate.clone()], key).expect("a certificate");
    config.alpn_protocols = vec![identity.alpn.to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let addr = listen(move |stream| {
        let (acceptor, act) = (acceptor.clone(), act.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                act(stream).await;
            }
        }
    });
    format!("https://localhost:{}/hook", addr.port())
}
