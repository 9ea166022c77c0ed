//! Reading a request's body within its limits.

use std::{pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::EXPECT};
use http_body_util::BodyExt;
use hyper::body::Body;

/// Limits of a request's body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    pub bytes_max: usize,
    /// From the request's head to the body's end.
    pub read_timeout: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes_max: 64 * 1024, read_timeout: Duration::from_secs(10) }
    }
}

/// How much of a refused body is still read, so that its sender finds the answer instead of a broken connection.
const DISCARD_BYTES_MAX: usize = 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a body could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body has more than {max} bytes")]
    TooLarge { max: usize },
    #[error("the body did not arrive in time")]
    Late,
    #[error("the body ended early or its framing is broken")]
    Broken,
}

/// The whole body; not copied when it came in one piece, as small ones do. Cancel safe in that nothing is kept.
pub(super) async fn read<B: Body<Data = Bytes>>(
    headers: &HeaderMap,
    body: B,
    limits: BodyLimits,
) -> Result<Bytes, BodyError> {
    let too_large = BodyError::TooLarge { max: limits.bytes_max };
    // A length that was announced is believed when it is too large; the frames are counted anyway.
    if body.size_hint().lower() > u64::try_from(limits.bytes_max).unwrap_or(u64::MAX) {
        turn_away(headers, body).await;
        return Err(too_large);
    }
    let mut body = pin!(body);
    let collect = async {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // Trailers are no data and mean nothing here.
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            if first.len() + rest.len() + data.len() > limits.bytes_max {
                return Err(too_large);
            }
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(first.len() + rest.len());
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&rest);
        Ok(whole.freeze())
    };
    let outcome = tokio::time::timeout(limits.read_timeout, collect).await.unwrap_or(Err(BodyError::Late));
    if outcome == Err(too_large) {
        discard(body).await;
    }
    outcome
}

/// Reads and forgets a part of a body that nobody wants. A client that waits for `100 Continue` is better told at once.
pub(super) async fn turn_away<B: Body<Data = Bytes>>(headers: &HeaderMap, body: B) {
    if !headers.contains_key(EXPECT) {
        discard(pin!(body)).await;
    }
}

async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let read = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > DISCARD_BYTES_MAX {
                return;
            }
        }
    };
    // Late or not, what counts is that it was bounded.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, read).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    fn pieces(pieces: &'static [&'static str]) -> impl Body<Data = Bytes> {
        let frames = pieces.iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from_static(piece.as_bytes()))));
        StreamBody::new(stream::iter(frames))
    }

    fn none() -> HeaderMap {
        HeaderMap::new()
    }

    const SMALL: BodyLimits = BodyLimits { bytes_max: 8, read_timeout: Duration::from_secs(10) };

    #[tokio::test]
    async fn a_body_is_put_together_up_to_the_limit() {
        assert_eq!(read(&none(), pieces(&[]), SMALL).await.unwrap(), "");
        assert_eq!(read(&none(), pieces(&["12345678"]), SMALL).await.unwrap(), "12345678");
        assert_eq!(read(&none(), pieces(&["", "123", "", "45", "678"]), SMALL).await.unwrap(), "12345678");
        let too_large = Err(BodyError::TooLarge { max: 8 });
        assert_eq!(read(&none(), pieces(&["123", "45", "6789"]), SMALL).await, too_large);
        assert_eq!(read(&none(), Full::new(Bytes::from_static(b"123456789")), SMALL).await, too_large);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(read(&none(), never, SMALL).await, Err(BodyError::Late));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_broken() {
        let broken = StreamBody::new(stream::iter([Ok(Frame::data(Bytes::from_static(b"1"))), Err("reset")]));
        assert_eq!(read(&none(), broken, SMALL).await, Err(BodyError::Broken));
    }
}
