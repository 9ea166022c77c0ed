//! Reading an answer: to a limit, without decoding, and only as far as it matters.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use roomhook_protocol::webhook::Answer;

use super::{Phases, Report, SendError, reasons::broken};

/// The longest body of an answer that is read. The documented one has 51 bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest head of an answer, and the most headers in it.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
pub(crate) const HEADERS_MAX: usize = 64;
/// Of an answer's body, this much is kept for people, where the answer decides nothing.
pub const KEPT_BYTES: usize = 256;

/// An answer that came to its end.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) retry_after: Option<Duration>,
}

/// The answer, to the last byte.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Answered, SendError> {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    match read_body(response.into_body()).await {
        Ok(body) => Ok(Answered { status, body, retry_after }),
        Err(BodyError::TooLong) => Err(SendError::AnswerTooLong { max: BODY_BYTES_MAX }),
        Err(BodyError::Broken(error)) => Err(broken(&error)),
    }
}

#[derive(Debug)]
enum BodyError {
    TooLong,
    Broken(hyper::Error),
}

/// The whole body, or the reason why not. Compressed bodies stay compressed, so a bomb has nothing to explode.
async fn read_body(mut body: Incoming) -> Result<Bytes, BodyError> {
    // An answer that announces more than we read is refused before a byte of it.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(BodyError::TooLong);
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        if first.len() + whole.len() + data.len() > BODY_BYTES_MAX {
            return Err(BodyError::TooLong);
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// What is said of it to whoever asked.
pub(crate) fn report(answered: &Answered, phases: Phases, kept_bytes: usize) -> Report {
    Report {
        malformed: (200..300).contains(&answered.status) && is_malformed(&answered.body),
        result: Ok(answered.status),
        phases,
        head: kept(&answered.body, kept_bytes),
        retry_after: answered.retry_after,
    }
}

/// Whether a 2xx answer's body is not the documented JSON.
fn is_malformed(body: &[u8]) -> bool {
    body != Answer::OK_JSON.as_bytes() && Answer::parse(body).is_err()
}

/// The first bytes, for people. A copy, so that no read buffer stays alive for it; the usual answer costs nothing.
fn kept(body: &[u8], max: usize) -> Bytes {
    if body == Answer::OK_JSON.as_bytes() {
        return Bytes::from_static(Answer::OK_JSON.as_bytes());
    }
    Bytes::copy_from_slice(body.get(..max).unwrap_or(body))
}

/// `Retry-After`, in seconds or as a date compared with the answer's own `Date`, or else with nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let date = headers.get(header::DATE)?.to_str().ok()?;
    Some(Duration::from_secs(unix_secs(text)?.saturating_sub(unix_secs(date)?)))
}

/// An HTTP date of the one form that is written today, `Sun, 06 Nov 1994 08:49:37 GMT`.
fn unix_secs(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = date.split_once(", ")?.1.split(' ');
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok().filter(|part| *part <= 60));
    let (hours, minutes, secs) = (clock.next()??, clock.next()??, clock.next()??);
    // Days since 1970 by counting years from March, so that the leap day comes last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = shifted_year * 365 + leap_days + (shifted_month * 153 + 2) / 5 + day - 1;
    Some((days.checked_sub(719_468)?) * 86_400 + hours * 3_600 + minutes * 60 + secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_unix_times() {
        assert_eq!(unix_secs("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(unix_secs("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix_secs("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for text in
            ["", "tomorrow", "Sun, 06 Nov", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999999 08:49:37 GMT"]
        {
            assert_eq!(unix_secs(text), None, "{text}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_beside_the_answers_own() {
        let headers = |retry: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", retry.parse().expect("header"));
            headers.insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().expect("header"));
            retry_after(&headers)
        };
        assert_eq!(headers("7"), Some(Duration::from_secs(7)));
        assert_eq!(headers("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(headers("soon"), None);
    }

    #[test]
    fn only_the_documented_answer_is_well_formed() {
        assert!(!is_malformed(br#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#));
        assert!(!is_malformed(br#"{"ErrorCode":0,"ErrorInfo":"","ActionStatus":"OK"}"#));
        for body in ["", "OK", "<html>", "[]", r#"{"ok":true}"#] {
            assert!(is_malformed(body.as_bytes()), "{body}");
        }
    }
}
