//! A request in the words of HTTP.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri, Version, header};
use http_body_util::Full;

use super::{Request, SendError};

pub(super) type Message = http::Request<Full<Bytes>>;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const ROOMHOOK_ATTEMPT: HeaderName = HeaderName::from_static("roomhook-attempt");

pub(super) fn message(request: &Request, version: Version) -> Result<Message, SendError> {
    let settings = |error: http::Error| SendError::Settings(error.to_string());
    let builder = http::Request::builder().method(Method::POST).version(version);
    // HTTP/2 names the host in the URI, HTTP/1.1 in a header.
    let host = &request.target.host_header;
    let builder = match version {
        Version::HTTP_2 => {
            let uri = Uri::builder().scheme("https").authority(host.as_bytes()).path_and_query(request.path.as_str());
            builder.uri(uri.build().map_err(settings)?)
        }
        _ => builder.uri(request.path.as_str()).header(header::HOST, host.clone()),
    };
    let mut message = builder.body(Full::new(request.body.clone())).map_err(settings)?;
    let headers = message.headers_mut();
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(WEBHOOK_ID, value(&request.webhook_id)?);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(request.timestamp));
    if let Some(signature) = &request.signature {
        headers.insert(WEBHOOK_SIGNATURE, value(signature)?);
    }
    headers.insert(ROOMHOOK_ATTEMPT, HeaderValue::from(request.attempt));
    Ok(message)
}

fn value(text: &str) -> Result<HeaderValue, SendError> {
    HeaderValue::from_str(text).map_err(|error| SendError::Settings(error.to_string()))
}
