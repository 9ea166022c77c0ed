//! The URL of a webhook request: what may be configured, and what is added to it (protocol: webhooks §1.1, §1.6).

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
    str::FromStr,
};

use crate::sign::Signed;

/// The longest URL that may be configured, in bytes.
pub const URL_BYTES_MAX: usize = 1024;

/// `OptPlatform`: what the request came from. Reading accepts the spellings that documents disagree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Platform {
    /// `RESTAPI`.
    RestApi,
    /// `Web`.
    Web,
    /// `Android`.
    Android,
    /// `iOS`.
    Ios,
    /// `Windows`.
    Windows,
    /// `Mac`.
    Mac,
    /// `iPad`.
    Ipad,
    /// `Unknown`.
    #[default]
    Unknown,
}

impl Platform {
    /// The spelling on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RestApi => "RESTAPI",
            Self::Web => "Web",
            Self::Android => "Android",
            Self::Ios => "iOS",
            Self::Windows => "Windows",
            Self::Mac => "Mac",
            Self::Ipad => "iPad",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Platform {
    type Err = std::convert::Infallible;

    /// Never fails: what is not known is [`Platform::Unknown`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "restapi" => Self::RestApi,
            "web" => Self::Web,
            "android" => Self::Android,
            "ios" => Self::Ios,
            "windows" => Self::Windows,
            "mac" | "macos" => Self::Mac,
            "ipad" => Self::Ipad,
            _ => Self::Unknown,
        })
    }
}

/// What is added to the configured URL, in the documented order.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// `SdkAppid`.
    pub sdkappid: u32,
    /// The command word, e.g. [`crate::webhook::CommandWord::as_str`].
    pub command: &'a str,
    /// Left out for events that nobody's client caused.
    pub client_ip: Option<IpAddr>,
    /// Left out for events that nobody's client caused.
    pub platform: Option<Platform>,
    /// Set when token authentication is on.
    pub signed: Option<&'a Signed>,
}

/// The full URL of a webhook request: the configured URL, `?` or (when it has a query of its own) `&`, then the parameters.
/// A bare host gets no path, a fragment is dropped: it is not part of a request.
///
/// ```
/// use roomhook_protocol::{sign::Signed, webhook::{callback_url, Platform, Query}};
///
/// let signed = Signed::new("lantern-9f21", 1767225663);
/// let query = Query {
///     sdkappid: 1400555012,
///     command: "Group.CallbackAfterSendMsg",
///     client_ip: Some([203, 0, 113, 24].into()),
///     platform: Some(Platform::Web),
///     signed: Some(&signed),
/// };
/// assert_eq!(callback_url("https://hooks.example.com/tencent", &query), concat!(
///     "https://hooks.example.com/tencent?SdkAppid=1400555012&CallbackCommand=Group.CallbackAfterSendMsg&contenttype=json",
///     "&ClientIP=203.0.113.24&OptPlatform=Web",
///     "&Sign=32737a5c76449e88fd643090f61d848c64b887704d38f5e6a4b392f0b5252a6a&RequestTime=1767225663"));
/// ```
#[must_use]
pub fn callback_url(base: &str, query: &Query<'_>) -> String {
    let base = base.split_once('#').map_or(base, |(base, _)| base);
    let mut url = String::with_capacity(base.len() + 256);
    url.push_str(base);
    match base.split_once('?') {
        None => url.push('?'),
        Some((_, own)) if own.is_empty() || own.ends_with('&') => {}
        Some(_) => url.push('&'),
    }
    // Writing to a String cannot fail.
    let _ = write!(url, "SdkAppid={}&CallbackCommand=", query.sdkappid);
    push_encoded(&mut url, query.command);
    url.push_str("&contenttype=json");
    if let Some(ip) = query.client_ip {
        // A v4 client on a v6 socket is shown as the v4 client that it is.
        let _ = write!(url, "&ClientIP={}", ip.to_canonical());
    }
    if let Some(platform) = query.platform {
        url.extend(["&OptPlatform=", platform.as_str()]);
    }
    if let Some(signed) = query.signed {
        url.extend(["&Sign=", &signed.sign, "&RequestTime=", &signed.request_time]);
    }
    url
}

fn push_encoded(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

/// Checks a URL for `set_callback` and `update_callback` by form alone; whether its address may be called is another
/// question.
///
/// The vendor's console also refuses `?`, `&`, `!` and `$`. Here a URL may have a query of its own, which delivery keeps.
/// Refused are what no request could carry or what would mislead: white space, control characters, non-ASCII, user
/// information (`user@`), fragments, quotes and angle brackets.
///
/// # Errors
/// A [`UrlError`] that says what to change.
pub fn check_url(url: &str) -> Result<(), UrlError> {
    if url.len() > URL_BYTES_MAX {
        return Err(UrlError::TooLong { len: url.len() });
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).ok_or(UrlError::Scheme)?;
    let refused = |byte: &u8| {
        !byte.is_ascii_graphic() || matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    };
    if url.as_bytes().iter().any(refused) {
        return Err(UrlError::Character);
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    check_authority(authority)
}

fn check_authority(authority: &str) -> Result<(), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (v6, port) = v6.split_once(']').ok_or(UrlError::Host)?;
            v6.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
            (None, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(UrlError::Port)?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(authority), None),
        },
    };
    if let Some(port) = port {
        let plain = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse::<u16>().ok().filter(|number| *number != 0);
        number.filter(|_| plain).ok_or(UrlError::Port)?;
    }
    match host {
        Some(host) if !is_host(host) => Err(UrlError::Host),
        _ => Ok(()),
    }
}

/// A DNS name (with or without the root's dot) or an IPv4 address: labels of letters, digits and inner `-`.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    name.len() <= 253 && name.split('.').all(label)
}

/// Why a URL cannot be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    #[error("must start with http:// or https://")]
    Scheme,
    #[error("is {len} bytes long, at most {URL_BYTES_MAX} are allowed")]
    TooLong { len: usize },
    #[error("holds a character that must be percent-encoded, or a fragment")]
    Character,
    #[error("must not hold a user name or password")]
    UserInfo,
    #[error("has no valid host name or address")]
    Host,
    #[error("has no valid port")]
    Port,
}
