//! What a bad receiver does, on purpose: for tests of a server's patience.

use std::{
    convert::Infallible,
    fmt, io,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, StatusCode, header};

use super::breakable::Fate;

/// One way to be a bad receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misbehavior {
    /// Answers well, but after this time.
    Slow(Duration),
    Status(StatusCode),
    /// Breaks the connection off in the middle of the answer, with a TCP reset.
    Reset,
    /// Sends the answer at one byte per second.
    Drip,
    /// Acknowledges with something that is not the documented JSON.
    WrongJson,
    Redirect(HeaderValue),
    /// An answer that never ends, as fast as it is taken.
    Endless,
}

impl FromStr for Misbehavior {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("slow", Some(time)) => humantime::parse_duration(time)
                .map(Self::Slow)
                .map_err(|error| format!("{error}; a time has a unit: slow=3s, slow=500ms")),
            ("status", Some(status)) => status.parse().map(Self::Status).map_err(|_| "status is 100 to 999".to_owned()),
            ("redirect", Some(url)) if !url.is_empty() => {
                url.parse().map(Self::Redirect).map_err(|_| "that is no URL".to_owned())
            }
            ("reset", None) => Ok(Self::Reset),
            ("drip", None) => Ok(Self::Drip),
            ("wrong-json", None) => Ok(Self::WrongJson),
            ("endless", None) => Ok(Self::Endless),
            _ => Err("write slow=3s, status=500, reset, drip, wrong-json, redirect=URL or endless".to_owned()),
        }
    }
}

impl fmt::Display for Misbehavior {
    /// As it was asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(time) => write!(f, "slow={}", humantime::format_duration(*time)),
            Self::Status(status) => write!(f, "status={}", status.as_u16()),
            Self::Redirect(url) => write!(f, "redirect={}", String::from_utf8_lossy(url.as_bytes())),
            Self::Reset => f.write_str("reset"),
            Self::Drip => f.write_str("drip"),
            Self::WrongJson => f.write_str("wrong-json"),
            Self::Endless => f.write_str("endless"),
        }
    }
}

impl Misbehavior {
    /// What it answers; `None`: what a good receiver would, after the time it takes.
    pub(crate) async fn answer(&self, connection: &Fate) -> Option<Response> {
        let mut response = match self {
            Self::Slow(time) => {
                tokio::time::sleep(*time).await;
                return None;
            }
            Self::Status(_) | Self::Redirect(_) => Response::new(Body::from("misbehaving as told\n")),
            Self::Reset => {
                connection.reset();
                let beginning = stream::iter([Ok(Bytes::from_static(b"{\"Action"))]);
                // What there is of an answer goes out while its next part is waited for.
                let end = stream::once(tokio::task::yield_now()).map(|()| Err(io::ErrorKind::ConnectionReset.into()));
                Response::new(Body::from_stream(beginning.chain(end).map(|part: io::Result<Bytes>| part)))
            }
            Self::Drip => Response::new(Body::from_stream(stream::unfold(0_usize, |sent| async move {
                let byte = GOOD.get(sent..sent + 1)?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, Infallible>(Bytes::from_static(byte)), sent + 1))
            }))),
            Self::WrongJson => Response::new(Body::from("{\"ActionStatus\": OK")),
            Self::Endless => Response::new(Body::from_stream(stream::repeat_with(|| {
                Ok::<_, Infallible>(Bytes::from_static(&[b' '; 4096]))
            }))),
        };
        match self {
            Self::Status(status) => *response.status_mut() = *status,
            Self::Redirect(url) => {
                *response.status_mut() = StatusCode::FOUND;
                response.headers_mut().insert(header::LOCATION, url.clone());
            }
            _ => {}
        }
        Some(response)
    }
}

const GOOD: &[u8] = br#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;

/// Which requests are treated badly, and how: every so many, in turn.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) ways: Vec<Misbehavior>,
    /// 1 = all requests.
    pub(crate) every: u64,
    seen: AtomicU64,
}

impl Plan {
    pub(crate) fn new(ways: Vec<Misbehavior>, every: u64) -> Self {
        Self { ways, every: every.max(1), seen: AtomicU64::new(0) }
    }

    /// What is due for the next request, if anything.
    pub(crate) fn next(&self) -> Option<&Misbehavior> {
        let ways = u64::try_from(self.ways.len()).ok().filter(|ways| *ways > 0)?;
        let number = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let due = number.is_multiple_of(self.every).then(|| (number / self.every - 1) % ways)?;
        self.ways.get(usize::try_from(due).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_misbehave_are_written_plainly() {
        assert_eq!("slow=3s".parse(), Ok(Misbehavior::Slow(Duration::from_secs(3))));
        assert_eq!("status=503".parse(), Ok(Misbehavior::Status(StatusCode::SERVICE_UNAVAILABLE)));
        assert_eq!("wrong-json".parse(), Ok(Misbehavior::WrongJson));
        for wrong in ["", "slow", "slow=3", "status=9", "reset=1", "redirect", "redirect=", "nicely"] {
            assert!(wrong.parse::<Misbehavior>().is_err(), "{wrong}");
        }
        assert!("slow=x".parse::<Misbehavior>().is_err_and(|told| told.contains("slow=3s")));
        for way in ["slow=3s", "status=503", "reset", "drip", "wrong-json", "redirect=http://a/", "endless"] {
            assert_eq!(way.parse::<Misbehavior>().map(|parsed| parsed.to_string()), Ok(way.to_owned()));
        }
    }

    #[test]
    fn every_third_request_is_treated_badly_each_in_another_way() {
        let plan = Plan::new(vec![Misbehavior::Reset, Misbehavior::Drip], 3);
        let due: Vec<_> = (0..9).map(|_| plan.next().cloned()).collect();
        let bad = [Some(Misbehavior::Reset), Some(Misbehavior::Drip), Some(Misbehavior::Reset)];
        assert_eq!([due[2].clone(), due[5].clone(), due[8].clone()], bad);
        assert_eq!(due.iter().flatten().count(), 3);
        assert_eq!(Plan::default().next(), None);
    }
}
