//! One Chromium for all pages of a test run (`peers/browser.js`).

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::peers;

/// How long a browser may take to come up, or to open a page: on a busy machine most of a minute, and it does so once.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(180);

/// Ends with this process, whose end closes its input.
static SHARED: OnceCell<Browser> = OnceCell::const_new();

#[derive(Debug)]
struct Browser {
    port: u16,
    _input: OwnedFd,
}

#[derive(Deserialize)]
struct Started {
    port: u16,
}

/// A connection to the browser that is to become a page; starts the browser if this is the first.
///
/// # Errors
/// If the browser does not come up; what it said then is on standard error.
pub(crate) async fn connect() -> Result<TcpStream> {
    let browser = SHARED.get_or_try_init(start).await?;
    TcpStream::connect(("127.0.0.1", browser.port)).await.context("the browser is gone")
}

async fn start() -> Result<Browser> {
    let mut child = Command::new(peers::node()?)
        .arg(peers::script("browser.js"))
        .arg(peers::packages()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the browser")?;
    let input = child.stdin.take().context("the browser has no input")?.into_owned_fd()?;
    let mut lines = BufReader::new(child.stdout.take().context("the browser has no output")?).lines();
    let line = timeout(START_PATIENCE, lines.next_line()).await.context("the browser does not come up")??;
    let started: Started = serde_json::from_str(&line.context("the browser ended instead of coming up")?)?;
    Ok(Browser { port: started.port, _input: input })
}
