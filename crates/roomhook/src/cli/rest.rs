//! A small caller of the REST API, as an app backend would write one: for `demo`, for `doctor`, and to prepare a bench.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use roomhook_protocol::usersig;
use serde_json::Value;

use super::bench::load::{Connection, Target};

/// An app admin, as the server knows one.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) sdkappid: u32,
    pub(crate) userid: String,
    pub(crate) usersig: String,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Admin({} of {})", self.userid, self.sdkappid)
    }
}

impl Admin {
    /// Signs for `userid`, for one day.
    pub(crate) fn sign(sdkappid: u32, key: &str, userid: &str) -> Self {
        let usersig = usersig_now(sdkappid, key, userid, 86_400);
        Self { sdkappid, userid: userid.to_owned(), usersig }
    }

    /// Path and query of a call, without `random`.
    pub(crate) fn path(&self, command: &str) -> String {
        let Self { sdkappid, userid, usersig } = self;
        let identifier = percent_encoded(userid);
        format!("/v4/{command}?sdkappid={sdkappid}&identifier={identifier}&usersig={usersig}&contenttype=json")
    }
}

/// For a query: all but letters, digits and `-._~`.
fn percent_encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let encode = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

/// A UserSig that is valid from now on.
pub(crate) fn usersig_now(sdkappid: u32, key: &str, userid: &str, expire_secs: u64) -> String {
    let now_secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    usersig::mint(&usersig::Mint { sdkappid, key, userid, expire_secs, now_secs, userbuf: None })
}

/// A whole POST request with keep-alive.
pub(crate) fn request(target: &Target, path: &str, body: &str) -> Vec<u8> {
    let Target { host, .. } = target;
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// One connection of one admin.
#[derive(Debug)]
pub(crate) struct Caller {
    target: Target,
    admin: Admin,
    connection: Connection,
}

impl Caller {
    pub(crate) async fn connect(target: Target, admin: Admin) -> anyhow::Result<Self> {
        let connection = Connection::open(&target).await.with_context(|| format!("connect to {}", target.addr))?;
        Ok(Self { target, admin, connection })
    }

    /// Calls `service/command` and returns the answer, whatever its `ErrorCode`.
    pub(crate) async fn call(&mut self, command: &str, body: &Value) -> anyhow::Result<Value> {
        let path = format!("{}&random={}", self.admin.path(command), fastrand::u32(..));
        let request = request(&self.target, &path, &body.to_string());
        let answer = self.connection.exchange(&request).await.with_context(|| format!("call {command}"))?;
        serde_json::from_slice(answer).with_context(|| format!("answer of {command} is no JSON"))
    }

    /// As [`Caller::call`], for calls that must succeed.
    pub(crate) async fn must(&mut self, command: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.call(command, body).await?;
        anyhow::ensure!(answer["ErrorCode"] == 0, "{command} answered {answer}");
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::Admin;

    #[test]
    fn any_admin_fits_into_a_query() {
        let path = Admin::sign(7, "k", "a b&\u{e9}").path("im_open_login_svc/account_import");
        assert!(
            path.starts_with("/v4/im_open_login_svc/account_import?sdkappid=7&identifier=a%20b%26%C3%A9&usersig=eJ"),
            "{path}"
        );
    }
}
