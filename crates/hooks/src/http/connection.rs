//! A connection over HTTP/1.1, which one channel has for itself. Whoever sends over it also drives it: no second task for
//! each connection, no wake-up between the two.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;

use super::{
    SendError, Target,
    answer::{Answered, HEAD_BYTES_MAX, HEADERS_MAX, read},
    channel::PostError,
    message::Message,
    meter::{Meter, Metered},
    reasons::broken,
    stream::{Stream, Wire},
};

/// What may come over HTTP/1.1 for one request: far more than an answer at its largest, in the smallest of chunks.
const UNASKED_BYTES_MAX: usize = 1 << 20;

type Driver<S> = Pin<Box<http1::Connection<TokioIo<Metered<S>>, Full<Bytes>>>>;

pub(super) struct Connection<S: Wire = Stream> {
    pub(super) target: Arc<Target>,
    sender: SendRequest<Full<Bytes>>,
    /// `None` when the connection has ended.
    driver: Option<Driver<S>>,
    meter: Arc<Meter>,
    /// A whole answer came over it: it was good once. If it ends at the next request, it was idle for too long for the
    /// other side, and nothing is wrong with the endpoint.
    has_answered: bool,
}

impl<S: Wire + 'static> Connection<S> {
    pub(super) async fn open(target: &Arc<Target>, stream: S) -> hyper::Result<Self> {
        let meter = Meter::new(UNASKED_BYTES_MAX);
        let (sender, driver) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(Metered::new(stream, meter.clone())))
            .await?;
        Ok(Self { target: target.clone(), sender, driver: Some(Box::pin(driver)), meter, has_answered: false })
    }

    /// Whether it takes one more request. Looks first whether the other side has closed it meanwhile, or sent what nobody
    /// asked for.
    pub(super) async fn is_good(&mut self) -> bool {
        let Self { sender, driver, meter, .. } = self;
        if poll_fn(|cx| Poll::Ready(poll_driver(driver, cx))).await {
            *driver = None;
            return false;
        }
        drive(driver, meter, pin!(sender.ready())).await.is_some_and(|ready| ready.is_ok())
    }

    /// Ends with the connection. Cancel safe.
    pub(super) async fn ended(&mut self) {
        poll_fn(|cx| if poll_driver(&mut self.driver, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        self.driver = None;
    }

    /// Sends a request and reads the answer's head.
    pub(super) async fn ask(&mut self, message: Message) -> Result<Response<Incoming>, PostError> {
        let Self { sender, driver, meter, has_answered, .. } = self;
        meter.answered();
        let mut asked = Box::pin(sender.try_send_request(message));
        let answer = match drive(driver, meter, asked.as_mut()).await {
            Some(answer) => answer,
            // With what is left of the connection goes the queue of its requests: hyper gives back one that is still in it.
            None => asked.await,
        };
        answer.map_err(|mut error| {
            let is_given_back = error.take_message().is_some();
            // The request and the end of an idle connection met on the way. Whether the other side looked at the request
            // nobody can tell, but whatever we send may be repeated: questions only ask, and for the rest receivers know
            // its `webhook-id`.
            let has_met_its_end = *has_answered && meter.is_silent();
            match is_given_back || has_met_its_end {
                true => PostError::Lost(error.into_error()),
                false => PostError::Failed(broken(error.error())),
            }
        })
    }

    /// Reads what the answer has beside its head, to the last byte.
    pub(super) async fn read(&mut self, response: Response<Incoming>) -> Result<Answered, SendError> {
        let answered = drive(&mut self.driver, &self.meter, Box::pin(read(response)).as_mut()).await;
        let ended = || Err(SendError::Broken("the connection ended within the answer".into()));
        let answered = answered.unwrap_or_else(ended)?;
        self.has_answered = true;
        Ok(answered)
    }
}

/// Drives the connection while `wanted` waits for something of it. `None` when the connection ended first.
async fn drive<S: Wire, F: Future>(
    driver: &mut Option<Driver<S>>,
    meter: &Meter,
    mut wanted: Pin<&mut F>,
) -> Option<F::Output> {
    poll_fn(|cx| {
        if let Poll::Ready(output) = wanted.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        loop {
            let has_ended = poll_driver(driver, cx);
            // The driver may just have delivered what is waited for; asking again now saves a round through the scheduler.
            let wanted = wanted.as_mut().poll(cx);
            if has_ended {
                // Not before: an answer whose end did not come must not look like one that is complete.
                *driver = None;
            }
            match wanted {
                Poll::Ready(output) => return Poll::Ready(Some(output)),
                Poll::Pending if has_ended => return Poll::Ready(None),
                Poll::Pending if meter.acknowledge() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Lets the connection read and write. Whether it has ended; how is told to whoever waits for an answer.
fn poll_driver<S: Wire>(driver: &mut Option<Driver<S>>, cx: &mut Context<'_>) -> bool {
    driver.as_mut().is_none_or(|driver| driver.as_mut().poll(cx).is_ready())
}
