//! From an upgrade request to a connection's task.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade};
use roomhook_centrifuge::codes;
use roomhook_room::ClientId;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    Hub,
    conn::{Conn, ConnId},
    encode::Form,
    outbox::{self, Outbox},
    perform::Client,
    session::{self, Session},
    task::Task,
    wire::Socket,
    ws::{self, Decoder},
};
use crate::listener::Peer;

/// Upgrades whose task is not started yet.
pub(crate) const ARRIVALS_MAX: usize = 1024;

/// A request that is about to become a connection.
#[derive(Debug)]
pub(crate) struct Arrival {
    upgrade: OnUpgrade,
    form: Form,
    client: Client,
    place: Place,
}

/// A place under the limit of connections, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Hub>);

impl Place {
    fn take(hub: &Arc<Hub>) -> Option<Self> {
        let max = hub.config.connections_max;
        let one_more = |count: usize| (count < max).then_some(count + 1);
        let taken: Result<usize, usize> =
            AtomicUsize::fetch_update(&hub.connections, Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Self(Arc::clone(hub)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct Door {
    hub: Arc<Hub>,
    arrivals: mpsc::Sender<Arrival>,
}

pub(crate) fn router(hub: Arc<Hub>, arrivals: mpsc::Sender<Arrival>) -> Router {
    Router::new().route("/connection/websocket", any(connect)).with_state(Door { hub, arrivals })
}

async fn connect(State(door): State<Door>, request: Request) -> Response {
    let Door { hub, arrivals } = door;
    let (mut head, _body) = request.into_parts();
    let handshake = match ws::check(&head, &hub.config.origins, hub.config.deflate) {
        Ok(handshake) => handshake,
        Err(refusal) => {
            hub.metrics.refused.inc();
            let mut response = (refusal.status(), format!("{refusal}\n")).into_response();
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            return response;
        }
    };
    let Some(upgrade) = head.extensions.remove::<OnUpgrade>() else {
        return (StatusCode::UPGRADE_REQUIRED, "this connection cannot be upgraded\n").into_response();
    };
    let peer = head.extensions.get::<Peer>().cloned();
    // Without a listener's peer (a router under test) there is no address to tell.
    let ip = peer
        .as_ref()
        .map_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |peer| peer.client_ip(&head.headers));
    let in_rate = hub.arrivals.lock().take(hub.now()) == session::Verdict::Go;
    let place = if in_rate { Place::take(&hub) } else { None };
    let Some(place) = place else { return busy(&hub) };
    let deflate_bytes_min = handshake.deflate.then_some(hub.config.deflate_bytes_min);
    let form = Form { format: handshake.format, deflate_bytes_min };
    let arrival = Arrival { upgrade, form, client: Client { ip, _peer: peer }, place };
    if arrivals.try_send(arrival).is_err() {
        return busy(&hub);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(handshake.accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if handshake.deflate {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(ws::DEFLATE_AGREED));
    }
    if let Some(subprotocol) = handshake.subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    response
}

/// SDKs come back with a growing delay.
fn busy(hub: &Hub) -> Response {
    hub.metrics.refused.inc();
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "too many connections, try again later\n")
        .into_response()
}

/// Starts a task for each arrival until told to stop; then tells all clients to reconnect and waits for their tasks.
pub(crate) async fn receive(hub: Arc<Hub>, mut arrivals: mpsc::Receiver<Arrival>, mut stop: watch::Receiver<bool>) {
    let mut tasks: JoinSet<()> = JoinSet::new();
    let (closing, closed) = watch::channel(());
    loop {
        tokio::select! {
            _ = stop.changed() => break,
            Some(arrival) = arrivals.recv() => {
                let goodbye = closed.clone();
                tasks.spawn(serve(Arc::clone(&hub), arrival, goodbye));
            }
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => report(ended),
        }
    }
    arrivals.close();
    drop(closed);
    drop(closing);
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a client connection's task panicked; only that connection is lost");
    }
}

async fn serve(hub: Arc<Hub>, arrival: Arrival, mut goodbye: watch::Receiver<()>) {
    let Arrival { upgrade, form, client, place } = arrival;
    let Ok(upgraded) = upgrade.await else { return };
    let task = task_of(&hub, upgraded, form, client);
    let conn = Arc::clone(&task.conn);
    let spread = hub.config.shutdown_spread;
    let delay = spread.mul_f64(share_of(hub.services.entropy.draw()));
    hub.metrics.accepted.inc();
    let run = task.run();
    tokio::pin!(run);
    tokio::select! {
        () = &mut run => {}
        // The sender is dropped when the server stops.
        _ = goodbye.changed() => {
            tokio::select! {
                () = &mut run => {}
                () = tokio::time::sleep(delay) => {
                    let code = codes::disconnect::SHUTDOWN;
                    conn.outbox().close(code.code, code.reason);
                    run.await;
                }
            }
        }
    }
    drop(place);
}

/// A random number between 0 and 1.
fn share_of(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// The plain socket if it is one: then whoever has something to say writes to it directly.
fn take_over(upgraded: Upgraded) -> (Socket, bytes::Bytes) {
    match upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => (Socket::Plain(parts.io.into_inner()), parts.read_buf),
        Err(upgraded) => (Socket::Other(Box::new(TokioIo::new(upgraded))), bytes::Bytes::new()),
    }
}

fn task_of(hub: &Arc<Hub>, upgraded: Upgraded, form: Form, client: Client) -> Task {
    let (socket, first_bytes) = take_over(upgraded);
    let id = hub.connections_made.fetch_add(1, Ordering::Relaxed);
    let draw = || hub.services.entropy.draw();
    // Two draws and the number: unique here even if the source of randomness is poor.
    let client_id = ClientId(u128::from(draw()) << 64 | u128::from(draw() as u32) << 32 | u128::from(id as u32));
    let (plain, reader, writer) = socket.split();
    let limits = outbox::Limits { queue_bytes_max: hub.config.outbox_bytes_max };
    let outbox = Outbox::new(plain, limits, hub.metrics.outbox.clone());
    let lane = id as usize % hub.lanes;
    let conn = Conn::new(ConnId(id), client_id, form, lane, outbox, hub.metrics.clone());
    let mut decoder = Decoder::new(hub.config.ws_limits(form.deflate_bytes_min.is_some()));
    // Copied, because it is a part of the whole buffer that HTTP read into.
    decoder.push(&first_bytes);
    let session = Session::new(Arc::clone(&hub.settings), form.format, client_id, draw(), hub.now());
    Task { hub: Arc::clone(hub), conn: Arc::new(conn), session, decoder, reader, writer, client, commands: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_size<F: Future>(_: fn(Arc<Hub>, Arrival, watch::Receiver<()>) -> F) -> usize {
        size_of::<F>()
    }

    /// An idle connection is below 10 kB, its socket in the runtime included: what we add must stay small.
    #[test]
    fn an_idle_connection_is_small() {
        let own = future_size(serve) + size_of::<Conn>();
        assert!(own < 3_500, "{own} bytes");
    }
}
