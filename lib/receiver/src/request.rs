//! One webhook request, as the parts that matter, independent of any HTTP library.

use std::borrow::Cow;

use roomhook_protocol::standard_webhooks::{HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP};

use crate::error::Error;

/// One webhook request. Borrowed: nothing is copied until it is known to be genuine.
///
/// ```
/// use roomhook_receiver::Request;
///
/// let request = Request::new("SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterSendMsg", b"{}")
///     .header("content-type", "application/json") // headers that do not matter are ignored
///     .header("Webhook-Id", "msg_2b7");
/// assert_eq!(request.webhook_id, Some("msg_2b7"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// What follows `?` in the URL, still percent-encoded.
    pub query: &'a str,
    /// The body, byte for byte as received: the signature is over these bytes.
    pub body: &'a [u8],
    /// Header `webhook-id`: names the delivery, the same over all attempts.
    pub webhook_id: Option<&'a str>,
    /// Header `webhook-timestamp`: Unix seconds of the attempt.
    pub webhook_timestamp: Option<&'a str>,
    /// Header `webhook-signature`: space-separated `v1,<base64>`.
    pub webhook_signature: Option<&'a str>,
    /// Header `roomhook-attempt`: number of the attempt, from 1.
    pub attempt: Option<&'a str>,
    /// The first of these headers that came more than once. Such a request is refused: whoever checks one value and uses
    /// the other can be fooled.
    pub repeated: Option<&'static str>,
}

impl<'a> Request<'a> {
    /// A request without headers.
    #[must_use]
    pub fn new(query: &'a str, body: &'a [u8]) -> Self {
        Self {
            query,
            body,
            webhook_id: None,
            webhook_timestamp: None,
            webhook_signature: None,
            attempt: None,
            repeated: None,
        }
    }

    /// Takes a header if it is one of those that matter; its name may be in any case. Call it for every header line, so
    /// that one that is there twice is noticed.
    #[must_use]
    pub fn header(mut self, name: &str, value: &'a str) -> Self {
        let known = [HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE, HEADER_ATTEMPT];
        let Some(name) = known.into_iter().find(|known| known.eq_ignore_ascii_case(name)) else { return self };
        let place = match name {
            HEADER_ID => &mut self.webhook_id,
            HEADER_TIMESTAMP => &mut self.webhook_timestamp,
            HEADER_SIGNATURE => &mut self.webhook_signature,
            _ => &mut self.attempt,
        };
        if place.replace(value).is_some() {
            self.repeated = self.repeated.or(Some(name));
        }
        self
    }
}

/// Name of the header with the number of the attempt.
const HEADER_ATTEMPT: &str = "roomhook-attempt";

/// The query parameters of a webhook. protocol: webhooks §1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    pub(crate) sdkappid: u32,
    pub(crate) command: Cow<'a, str>,
    pub(crate) client_ip: Option<Cow<'a, str>>,
    pub(crate) platform: Option<Cow<'a, str>>,
    pub(crate) sign: Option<Cow<'a, str>>,
    pub(crate) request_time: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    /// Reads the documented parameters, in any order; others are ignored, since the configured URL may carry its own.
    pub(crate) fn parse(query: &'a str) -> Result<Self, Error> {
        let mut sdkappid = None;
        let mut command = None;
        let mut client_ip = None;
        let mut platform = None;
        let mut sign = None;
        let mut request_time = None;
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (place, name) = match name {
                "SdkAppid" => (&mut sdkappid, "SdkAppid"),
                "CallbackCommand" => (&mut command, "CallbackCommand"),
                "ClientIP" => (&mut client_ip, "ClientIP"),
                "OptPlatform" => (&mut platform, "OptPlatform"),
                "Sign" => (&mut sign, "Sign"),
                "RequestTime" => (&mut request_time, "RequestTime"),
                _ => continue,
            };
            // Two values for one name: whoever checks one and uses the other can be fooled, so neither is used.
            if place.replace(percent_decode(value).ok_or(Error::BadQuery { name })?).is_some() {
                return Err(Error::RepeatedQuery { name });
            }
        }
        let sdkappid = sdkappid.ok_or(Error::MissingQuery { name: "SdkAppid" })?;
        Ok(Self {
            sdkappid: sdkappid.parse().map_err(|_| Error::BadQuery { name: "SdkAppid" })?,
            command: command.ok_or(Error::MissingQuery { name: "CallbackCommand" })?,
            client_ip,
            platform,
            sign,
            request_time,
        })
    }
}

/// Decodes `%XX` and `+`. `None` if an escape is cut off or wrong, or the result is not UTF-8.
fn percent_decode(value: &str) -> Option<Cow<'_, str>> {
    if !value.contains(['%', '+']) {
        return Some(Cow::Borrowed(value));
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = "SdkAppid=1400555012&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json&ClientIP=203.0.113.24&\
        OptPlatform=Web&Sign=32737a5c&RequestTime=1767225663";

    #[test]
    fn the_documented_query_is_read() {
        let query = Query::parse(DOCUMENTED).unwrap();
        assert_eq!(query.sdkappid, 1_400_555_012);
        assert_eq!(query.command, "Group.CallbackAfterSendMsg");
        assert_eq!(query.client_ip.as_deref(), Some("203.0.113.24"));
        assert_eq!(query.platform.as_deref(), Some("Web"));
        assert_eq!(query.sign.as_deref(), Some("32737a5c"));
        assert_eq!(query.request_time.as_deref(), Some("1767225663"));
    }

    #[test]
    fn order_own_parameters_and_escapes_do_not_matter() {
        let query = Query::parse("tenant=a&ClientIP=%3A%3a1&CallbackCommand=X+Y&SdkAppid=7&&flag").unwrap();
        assert_eq!((query.sdkappid, query.client_ip.as_deref()), (7, Some("::1")));
        assert_eq!(query.command, "X Y");
    }

    #[test]
    fn what_cannot_be_read_names_the_parameter() {
        let error = |query| Query::parse(query).unwrap_err();
        assert_eq!(error(""), Error::MissingQuery { name: "SdkAppid" });
        assert_eq!(error("SdkAppid=1"), Error::MissingQuery { name: "CallbackCommand" });
        assert_eq!(error("SdkAppid=-1&CallbackCommand=X"), Error::BadQuery { name: "SdkAppid" });
        assert_eq!(error("SdkAppid=1&SdkAppid=2&CallbackCommand=X"), Error::RepeatedQuery { name: "SdkAppid" });
        for broken in ["%", "%4", "%zz", "%+1", "%ff"] {
            let query = format!("SdkAppid=1&CallbackCommand={broken}");
            assert_eq!(Query::parse(&query).unwrap_err(), Error::BadQuery { name: "CallbackCommand" });
        }
    }
}
