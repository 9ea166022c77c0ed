//! The real transport: HTTP/1.1 over TCP or TLS, one kept connection per channel; HTTP/2 over TLS where the endpoint
//! offers it, with connections that channels share (`multiplex`).

use std::{fmt, pin::pin, sync::Arc};

use async_trait::async_trait;
use http::Version;
use tokio::time::Instant;

use super::{
    Channel, Guard, Phase, Phases, Report, Request, Resolve, SendError, Target, Transport,
    answer::{self, Answered, HEADERS_MAX, read},
    connection::Connection,
    message::message,
    multiplex::{Lease, Link, is_cut, is_untouched},
    reasons::broken,
};
use crate::alarm::Alarm;

/// Opens connections: resolves, checks the addresses, connects, encrypts.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) guard: Arc<Guard>,
}

impl HttpTransport {
    pub fn new(resolver: Arc<dyn Resolve>, guard: Guard) -> Self {
        Self { resolver, guard: Arc::new(guard) }
    }
}

impl Transport for HttpTransport {
    fn channel(&self) -> Box<dyn Channel> {
        Box::new(HttpChannel {
            transport: self.clone(),
            kept: None,
            alarm: Alarm::default(),
            phase: Phase::default(),
            phases: Phases::default(),
        })
    }
}

/// What a channel holds on to between two requests.
enum Kept {
    Own(Connection),
    Shared(Arc<Target>, Arc<Link>),
}

/// How one request gets there.
pub(super) enum Way {
    Own(Connection),
    Shared(Lease),
}

pub(super) struct HttpChannel {
    pub(super) transport: HttpTransport,
    kept: Option<Kept>,
    alarm: Alarm,
    pub(super) phase: Phase,
    pub(super) phases: Phases,
}

impl fmt::Debug for HttpChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpChannel").field("connected", &self.kept.is_some()).field("phase", &self.phase).finish()
    }
}

#[async_trait]
impl Channel for HttpChannel {
    async fn send(&mut self, request: &Request) -> Report {
        let start = Instant::now();
        (self.phase, self.phases) = (Phase::default(), Phases::default());
        let mut alarm = std::mem::take(&mut self.alarm);
        let result = alarm.bound(start + request.timeout, pin!(self.exchange(request))).await;
        self.alarm = alarm;
        let result = result.unwrap_or(Err(SendError::Timeout(self.phase)));
        self.phases.total = start.elapsed();
        match result {
            Ok(answered) => answer::report(&answered, self.phases, request.kept_bytes),
            Err(error) => {
                // A shared connection that was silent or broke may be dead for all: nobody begins anything new on it.
                if let (Some(Kept::Shared(_, link)), SendError::Timeout(_) | SendError::Broken(_)) =
                    (&self.kept, &error)
                {
                    link.retire();
                }
                self.close();
                Report { phases: self.phases, ..Report::failed(error) }
            }
        }
    }

    async fn closed(&mut self) {
        // Whether it ended well or not is of no interest: it was idle.
        match &mut self.kept {
            None => return std::future::pending().await,
            Some(Kept::Own(connection)) => connection.ended().await,
            Some(Kept::Shared(_, link)) => link.ended().await,
        }
        self.close();
    }

    fn close(&mut self) {
        self.kept = None;
    }
}

impl HttpChannel {
    async fn exchange(&mut self, request: &Request) -> Result<Answered, SendError> {
        // A kept connection may have been closed by the other side in the meantime, and one does not always know that
        // before the request is out. Then it goes out once more over another connection, within the same attempt.
        if let Some(way) = self.kept_way(&request.target).await {
            match self.post(way, request).await {
                Ok(answered) => return Ok(answered),
                Err(PostError::Lost(_)) => {}
                Err(PostError::Failed(error)) => return Err(error),
            }
        }
        // In a box of its own: connecting needs ten times the state of a request, which would be set up for each.
        Box::pin(self.exchange_anew(request)).await
    }

    async fn exchange_anew(&mut self, request: &Request) -> Result<Answered, SendError> {
        let mut lost = None;
        for _ in 0..WAYS_MAX {
            let way = self.new_way(&request.target).await?;
            match self.post(way, request).await {
                Ok(answered) => return Ok(answered),
                Err(PostError::Lost(reason)) => lost = Some(reason),
                Err(PostError::Failed(error)) => return Err(error),
            }
        }
        let reason = lost.map(|reason| broken(&reason).to_string()).unwrap_or_default();
        Err(SendError::Broken(format!("{WAYS_MAX} connections ended without an answer: {reason}")))
    }

    /// What is kept, if it leads to the same place and is still good.
    async fn kept_way(&mut self, target: &Arc<Target>) -> Option<Way> {
        match self.kept.take()? {
            Kept::Own(mut connection) if Arc::ptr_eq(&connection.target, target) => {
                connection.is_good().await.then_some(Way::Own(connection))
            }
            Kept::Shared(kept, link) if Arc::ptr_eq(&kept, target) => {
                let lease = link.lease().or_else(|| target.multiplex.lease())?;
                Some(self.share(target, lease))
            }
            Kept::Own(_) | Kept::Shared(..) => None,
        }
    }

    /// A place on a connection that others opened, or a new connection.
    async fn new_way(&mut self, target: &Arc<Target>) -> Result<Way, SendError> {
        let multiplex = &target.multiplex;
        if target.tls.is_none() || multiplex.is_single() {
            return self.connect(target).await;
        }
        self.phase = Phase::Connecting;
        let waiting = multiplex.wait();
        loop {
            // Before looking, so that what happens in between is not missed.
            let mut connected = pin!(multiplex.connected());
            connected.as_mut().enable();
            if let Some(lease) = multiplex.lease() {
                return Ok(self.share(target, lease));
            }
            if multiplex.is_single() {
                return self.connect(target).await;
            }
            if let Some(turn) = waiting.turn() {
                let connected = self.connect(target).await;
                drop(turn);
                return connected;
            }
            connected.await;
        }
    }

    pub(super) fn share(&mut self, target: &Arc<Target>, lease: Lease) -> Way {
        self.kept = Some(Kept::Shared(target.clone(), lease.0.clone()));
        Way::Shared(lease)
    }

    async fn post(&mut self, way: Way, request: &Request) -> Result<Answered, PostError> {
        match way {
            Way::Own(mut connection) => {
                let answered = self.post_alone(&mut connection, request).await?;
                self.kept = Some(Kept::Own(connection));
                Ok(answered)
            }
            Way::Shared(lease) => {
                let answered = Box::pin(self.post_shared(&lease, request)).await;
                if matches!(answered, Err(PostError::Lost(_))) {
                    lease.0.retire();
                }
                answered
            }
        }
    }

    async fn post_alone(&mut self, connection: &mut Connection, request: &Request) -> Result<Answered, PostError> {
        let message = message(request, Version::HTTP_11).map_err(PostError::Failed)?;
        let sent = Instant::now();
        self.phase = Phase::Waiting;
        let response = connection.ask(message).await?;
        self.phases.first_byte = sent.elapsed();
        self.phase = Phase::Reading;
        connection.read(response).await.map_err(PostError::Failed)
    }

    async fn post_shared(&mut self, lease: &Lease, request: &Request) -> Result<Answered, PostError> {
        let message = message(request, Version::HTTP_2).map_err(PostError::Failed)?;
        let mut sender = lease.0.sender();
        let sent = Instant::now();
        self.phase = Phase::Waiting;
        let has_answered = lease.0.has_answered();
        sender.ready().await.map_err(PostError::Lost)?;
        let response = match sender.try_send_request(message).await {
            Ok(response) => response,
            Err(mut error) => {
                let is_given_back = error.take_message().is_some();
                // As over HTTP/1.1: a connection that was good once met its end while the request was on its way.
                let has_met_its_end = has_answered && is_cut(error.error());
                return Err(match is_given_back || is_untouched(error.error()) || has_met_its_end {
                    true => PostError::Lost(error.into_error()),
                    false => PostError::Failed(broken(error.error())),
                });
            }
        };
        self.phases.first_byte = sent.elapsed();
        self.phase = Phase::Reading;
        // The other version counts them while parsing.
        if response.headers().len() > HEADERS_MAX {
            return Err(PostError::Failed(SendError::Broken("the answer has too many headers".into())));
        }
        let answered = read(response).await.map_err(PostError::Failed)?;
        lease.0.answered();
        Ok(answered)
    }
}

/// Connections that one attempt tries, when one after the other ends before the request was looked at.
const WAYS_MAX: usize = 4;

/// Why a request has no answer over one connection.
pub(super) enum PostError {
    /// Another connection may have one: not a byte of the request went out, or the endpoint said that it did not look at it,
    /// or a connection that had answered before ended without a byte of this answer.
    Lost(hyper::Error),
    Failed(SendError),
}
