//! Looks at all but the disk.

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, SystemTime},
};

use super::Finding::{self, Fine, Note, Wrong};
use crate::{app::limits, config::Config};

/// Descriptors besides the connections: segments of the store, webhooks, listeners.
const FILES_BESIDES: u64 = 2048;

pub(super) fn configuration(config: &Config) -> Finding {
    match config.app.len() {
        0 => Wrong("there is no app".to_owned(), "add an [[app]] block with sdkappid and key".to_owned()),
        count => {
            let hooks = config.app.iter().filter(|app| app.webhook.is_some()).count();
            Fine(format!("{count} app(s), {hooks} with a webhook in the file"))
        }
    }
}

/// A clock before this program was written, or before the store was last written to, is wrong.
pub(super) fn clock(store: &Path) -> Finding {
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_000_000);
    let now = SystemTime::now();
    let advice =
        || "set the clock, and keep it right with an NTP client; times go into messages and signatures".to_owned();
    if now < written {
        return Wrong("the clock is years behind".to_owned(), advice());
    }
    let newest = std::fs::metadata(store.join("LOCK")).and_then(|meta| meta.modified()).ok();
    match newest.and_then(|newest| newest.duration_since(now).ok()) {
        Some(behind) if behind > Duration::from_secs(60) => {
            Wrong(format!("the clock is {} s behind the store's last start", behind.as_secs()), advice())
        }
        _ => Fine(humantime::format_rfc3339_seconds(now).to_string()),
    }
}

pub(super) fn open_files(config: &Config) -> Finding {
    limits::raise_open_files();
    let (have, need) = (limits::open_files(), u64::from(config.limits.connections_max) + FILES_BESIDES);
    if have >= need {
        return Fine(format!("{have} allowed"));
    }
    Note(
        format!("{have} allowed, limits.connections_max = {} may need {need}", config.limits.connections_max),
        "raise the limit (systemd: LimitNOFILE=, shells: ulimit -n), or lower limits.connections_max".to_owned(),
    )
}

pub(super) fn addresses(config: &Config, runs: bool) -> Finding {
    for (key, addr) in [("server.listen", config.server.listen), ("server.admin_listen", config.server.admin_listen)] {
        if let Err(error) = TcpListener::bind(addr) {
            if runs && error.kind() == std::io::ErrorKind::AddrInUse {
                return Fine(format!("{addr} ({key}) is taken, and a server runs here"));
            }
            return Note(
                format!("cannot listen on {addr} ({key}): {error}"),
                "fine if roomhook runs already; else free the port or choose another address".to_owned(),
            );
        }
    }
    Fine(format!("{} and {} are free", config.server.listen, config.server.admin_listen))
}

pub(super) fn certificate(config: &Config) -> Finding {
    let Some(tls) = &config.server.tls else {
        return match config.server.listen.ip().is_loopback() {
            true => Fine("none: plain HTTP on this machine only".to_owned()),
            false => Note(
                "none: keys and messages travel unencrypted".to_owned(),
                "set server.tls, or put a proxy with HTTPS in front; most server SDKs insist on it".to_owned(),
            ),
        };
    };
    match crate::app::tls(tls) {
        Ok(_) => Fine(format!("{} can be used", tls.cert.display())),
        Err(error) => Wrong(error.to_string(), "write a PEM chain and its unencrypted key there".to_owned()),
    }
}

/// Resolves the endpoint and connects, as a delivery would.
pub(super) async fn endpoint(name: &str, url: &str, config: &Config) -> Finding {
    let Ok(uri) = url.parse::<http::Uri>() else {
        return Wrong(format!("{name}: {url} is no address"), "write http://host/path".to_owned());
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let place = format!("{host}:{port}");
    let addresses: Vec<_> = match tokio::net::lookup_host((host, port)).await {
        Ok(found) => found.collect(),
        Err(error) => {
            return Wrong(
                format!("{name}: {host} does not resolve: {error}"),
                "correct its URL, or the name server".to_owned(),
            );
        }
    };
    let guard = config.webhooks.guard();
    if let Some((ip, range)) = addresses.iter().find_map(|addr| Some((addr.ip(), guard.check(addr.ip()).err()?))) {
        return Wrong(
            format!("{name}: {place} is {ip}, which is {range}, and deliveries there are refused"),
            format!("if you mean it: webhooks.allow = [\"{ip}\"]"),
        );
    }
    let Some(addr) = addresses.first() else {
        return Wrong(format!("{name}: {host} has no address"), "correct its URL".to_owned());
    };
    match tokio::time::timeout(config.webhooks.timeout.0, tokio::net::TcpStream::connect(addr)).await {
        Ok(Ok(_)) => Fine(format!("{name}: {place} takes connections")),
        Ok(Err(error)) => Note(
            format!("{name}: {place} does not take connections: {error}"),
            "start the receiver; webhooks wait for it".to_owned(),
        ),
        Err(_late) => Note(
            format!("{name}: {place} did not answer in {}", config.webhooks.timeout),
            "look at firewalls between here and there".to_owned(),
        ),
    }
}
